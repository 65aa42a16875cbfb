"""One YAML document as Pulumi's CLI reads it (YAML 1.2, by Go's yaml.v3): PyYAML itself takes `yes`
for a switch, `1:30` for a number, the second of two equal keys, and a structure without an end.
"""

import codecs
import math
import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from components.settings_errors import LONGEST

# More values than a stack's file could need, and fewer than take time to look at.
MOST_VALUES = 20_000
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"
_WRONG_TAG = "a tag names another kind than its value is of; remove it"


class DocumentError(ValueError):
    """This is no such document; the message says where, what is wrong and what to do, in a line."""


def parse(content: bytes) -> Any:
    """The document's value: maps with keys of text, lists, text, numbers, switches and None.

    Raises DocumentError.
    """
    text = _text(content)
    try:
        value = _Loader(text).get_single_data()
    except ReaderError as error:
        raise DocumentError(f"{error.reason}: #x{error.character:04x}; remove it") from None
    except yaml.MarkedYAMLError as error:
        raise DocumentError(_where(error)) from None
    except RecursionError:
        raise DocumentError("it is nested too deeply") from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise DocumentError(_WRONG_TAG) from None
    if _is_endless(value):
        raise DocumentError("it holds itself, or too many values; write out what is an alias")
    return value


def _text(content: bytes) -> str:
    """The text, whatever mark of its encoding an editor has left before it."""
    try:
        return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = f"byte {content[error.start]:#04x}"
        raise DocumentError(f"line {line}: {byte} is not UTF-8; save the file as UTF-8") from None


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    said = " ".join((error.problem or error.context or "it is not YAML").split())
    fixes = {"'\\t'": "; indent by spaces", "constructor for the tag": "; remove it"}
    fix = next((fix for sign, fix in fixes.items() if sign in said), "")
    return f"{_place(mark)}: {said[:LONGEST]}{fix}" if mark else f"{said}{fix}"


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _is_endless(value: Any) -> bool:
    """Whether there are more values than MOST_VALUES, each counted as often as it is named."""
    left, count = [value], 0
    while left and count <= MOST_VALUES:
        each = left.pop()
        count += 1
        left.extend(each.values() if isinstance(each, dict) else ())
        left.extend(each if isinstance(each, list) else ())
    return count > MOST_VALUES


class _Loader(Reader, Scanner, Parser, Composer, SafeConstructor, BaseResolver):
    """PyYAML's own loader without its rules for what is no text, which are those of YAML 1.1."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        BaseResolver.__init__(self)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A map whose keys are text, and different ones; by what is written, before any merge."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            self._require_text(key)
            if key.value in first:
                before = f"first in line {first[key.value]}"
                said = f"the key {_shown(key)} is there twice, {before}; keep one of them"
                raise yaml.MarkedYAMLError(problem=said, problem_mark=key.start_mark)
            first[key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The node's value."""
        try:
            return super().construct_object(node, deep)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise yaml.MarkedYAMLError(problem=_WRONG_TAG, problem_mark=node.start_mark) from None

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        """A part of a text in quotes, with its escapes."""
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (OverflowError, ValueError):
            said = "the escape names no character; write the character itself"
            raise yaml.MarkedYAMLError(problem=said, problem_mark=self.get_mark()) from None

    def _require_text(self, key: yaml.Node) -> None:
        wanted = (f"{_TAG}str", f"{_TAG}merge")
        if key.tag not in wanted or not isinstance(key, yaml.ScalarNode):
            said = f"the key {_shown(key)} is no text; put it in quotes, or remove it"
            raise yaml.MarkedYAMLError(problem=said, problem_mark=key.start_mark)


def _shown(key: yaml.Node) -> str:
    text = repr(key.value) if isinstance(key, yaml.ScalarNode) else "that is a list or a map"
    return text[:80]


def _number(_: Any, node: yaml.ScalarNode) -> int | float | str:
    text = node.value.replace("_", "")
    if len(text) > _LONGEST_NUMBER:
        return node.value
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.removeprefix("+"))
    if re.fullmatch("0[0-7]+", digits):
        return sign * int(digits, 8)
    try:
        return sign * int(digits, 0)
    except ValueError:
        return sign * float(digits)


def _fraction(_: Any, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    if text.endswith((".inf", ".nan")):
        return math.nan if text == ".nan" else float(text.replace(".", ""))
    return float(text)


def _undefined(loader: Any, node: yaml.Node) -> Any:
    return loader.construct_undefined(node)


def _implied(name: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"{_TAG}{name}", re.compile(f"(?:{pattern})$"), list(first))


for _name in ("binary", "omap", "pairs", "set", "timestamp"):
    _Loader.add_constructor(f"{_TAG}{_name}", _undefined)
_implied("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_implied("null", "~|null|Null|NULL", "~nN")
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile("$"), [""])
_implied("merge", "<<", "<")
_implied(
    "int",
    "[-+]?(?:[0-9][0-9_]*|0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[oO]_*[0-7][0-7_]*|0[bB]_*[01][01_]*)",
    "-+0123456789",
)
_implied(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)
_Loader.add_constructor(f"{_TAG}int", _number)
_Loader.add_constructor(f"{_TAG}float", _fraction)
