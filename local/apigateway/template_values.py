"""What a mapping template can touch: Java's methods on values, AWS's `$input` and `$util`."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus, unquote_plus

SHORT_ESCAPES = dict(zip("\"'\\/\b\n\t\f\r", "\"'\\/bntfr", strict=True))


class VtlError(Exception):
    """A template that API Gateway would not accept or not render; the message says where and why."""


class JsonBodyError(VtlError):
    """The body that `$input.json` or `$input.path` reads is not JSON."""


class Input:
    """`$input`: the body and the parameters of the request (in a response template: the
    integration's body).
    """

    VTL = frozenset({"body", "json", "path", "params"})

    def __init__(self, body: str, params: Mapping[str, Mapping[str, str]]) -> None:
        """`params` has the maps `path`, `querystring` and `header`, searched in that order."""
        self.body = body
        self._params = {
            kind: dict(params.get(kind, {})) for kind in ("path", "querystring", "header")
        }

    def json(self, path: str = "$") -> str:
        """The part that a JSONPath names, as JSON; a part that is not there is `""`."""
        value = _at(self.body, path)
        return json.dumps("" if value is None else value, ensure_ascii=False, separators=(",", ":"))

    def path(self, path: str = "$") -> object:
        """The part that a JSONPath names, as a value; null when it is not there."""
        return _at(self.body, path)

    def params(self, name: str | None = None) -> object:
        """One parameter (empty when absent, names are case-sensitive), or all of them as maps."""
        if name is None:
            return {kind: dict(values) for kind, values in self._params.items()}
        return next((values[name] for values in self._params.values() if name in values), "")


class Util:
    """`$util`."""

    VTL = frozenset(
        {"escapeJavaScript", "parseJson", "urlEncode", "urlDecode", "base64Encode", "base64Decode"}
    )

    def escapeJavaScript(self, text: str) -> str:
        """Escaped as by Apache Commons' escapeJavaScript: also `'` and `/`, and everything outside
        ASCII.
        """
        return "".join(map(_escaped, as_text(text)))

    def parseJson(self, text: str) -> object:
        """The value that a JSON text stands for."""
        try:
            return json.loads(as_text(text))
        except ValueError as error:
            raise VtlError(f"$util.parseJson: {error}") from error

    def urlEncode(self, text: str) -> str:
        """As application/x-www-form-urlencoded, by Java's URLEncoder."""
        return quote_plus(as_text(text), safe="*").replace("~", "%7E")

    def urlDecode(self, text: str) -> str:
        """The reverse of `urlEncode`."""
        return unquote_plus(as_text(text))

    def base64Encode(self, text: str) -> str:
        """The UTF-8 bytes of a text in Base64."""
        return base64.b64encode(as_text(text).encode()).decode()

    def base64Decode(self, text: str) -> str:
        """The UTF-8 text within a Base64 one."""
        try:
            return base64.b64decode(as_text(text), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise VtlError(f"$util.base64Decode: {error}") from error


def member(value: Any, name: str, arguments: Sequence[Any] | None) -> Any:
    """`value.name` (arguments None) or `value.name(arguments)`; of null, null; an unknown name is
    an error.
    """
    if value is None:
        return None
    if isinstance(value, (Input, Util)):
        return _own(value, name, arguments)
    if arguments is None:
        if isinstance(value, dict):
            return value.get(name)
        raise VtlError(f"a {_java(value)} has no property {name!r}")
    method = METHODS.get(_java(value), {}).get(name)
    if method is None:
        raise VtlError(f"{name}() is not supported on a {_java(value)}")
    try:
        return method(value, *arguments)
    except (TypeError, IndexError) as error:
        raise VtlError(f"{name}{tuple(arguments)!r} on a {_java(value)}: {error}") from error


def _own(value: Input | Util, name: str, arguments: Sequence[Any] | None) -> Any:
    scope = f"${type(value).__name__.lower()}.{name}"
    if name not in value.VTL:
        raise VtlError(f"{scope} does not exist in API Gateway's mapping templates")
    found = getattr(value, name)
    if callable(found) != (arguments is not None):
        raise VtlError(f"{scope} {'needs' if callable(found) else 'takes no'} arguments")
    try:
        return found if arguments is None else found(*arguments)
    except TypeError as error:
        raise VtlError(f"{scope}: {error}") from error


def _java(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", dict: "map", list: "list", int: "number", float: "number"}
    return next(
        (kind for python, kind in kinds.items() if isinstance(value, python)), type(value).__name__
    )


def as_text(value: object) -> str:
    """A value as Java prints it; VtlError for a map or list, which Java and Python print
    differently.
    """
    if value is None or isinstance(value, (dict, list)):
        raise VtlError(
            f"a {_java(value)} where text is needed; take $input.json(...) or its single values"
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(char: str) -> str:
    if short := SHORT_ESCAPES.get(char):
        return f"\\{short}"
    if " " <= char <= "~":
        return char
    units = char.encode("utf-16-be").hex().upper()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def json_part(body: str, path: str) -> str | None:
    """The text of the part of a JSON body that a path names, None when it is not there; VtlError
    when it is no JSON.
    """
    value = _at(body, path)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _at(body: str, path: str) -> Any:
    try:
        value = json.loads(body or "{}")
    except ValueError as error:
        raise JsonBodyError(f"Could not parse request body into json: {error}") from error
    for key in _json_path(path):
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


@lru_cache(maxsize=256)
def _json_path(path: str) -> tuple[str | int, ...]:
    """The keys of a plain JSONPath: `$`, `$.a.b`, `$['a'][0]`; wildcards and filters are not
    supported.
    """
    steps = re.compile(r"\.([\w-]+)|\['([^']+)'\]|\[(\d+)\]")
    keys, at = list[str | int](), 1
    while at < len(path):
        step = steps.match(path, at)
        if step is None:
            break
        keys.append(int(step[3]) if step[3] else step[1] or step[2])
        at = step.end()
    if not path.startswith("$") or at != len(path):
        raise VtlError(f"JSONPath {path!r} is not supported; name one value, as in $.a.b[0]")
    return tuple(keys)


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    """A Java regular expression, as far as Python's means the same."""
    if "&&" in pattern or "[[" in pattern:
        raise VtlError(f"regular expression {pattern!r} uses Java's class operators")
    try:
        return re.compile(pattern, re.ASCII)
    except re.error as error:
        raise VtlError(f"regular expression {pattern!r}: {error}") from error


def _replacement(text: str) -> Callable[[re.Match[str]], str]:
    """Java's replacement text: `$1` is a group, a backslash quotes what follows."""
    parts = re.findall(r"\\(.)|\$(\d)|([^\\$]+)", text, re.S)

    def replace(match: re.Match[str]) -> str:
        return "".join(
            (match[int(group)] or "") if group else quoted or plain
            for quoted, group, plain in parts
        )

    return replace


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise IndexError(f"outside of {len(text)} characters")
    return text[start:stop]


def _put(mapping: dict[Any, Any], key: Any, value: Any) -> Any:
    before = mapping.get(key)
    mapping[key] = value
    return before


def _add(items: list[Any], value: Any) -> bool:
    items.append(value)
    return True


METHODS: dict[str, dict[str, Callable[..., Any]]] = {
    "string": {
        "length": len,
        "isEmpty": lambda s: s == "",
        "equals": lambda s, other: s == other,
        "equalsIgnoreCase": lambda s, other: s.lower() == other.lower(),
        "startsWith": str.startswith,
        "endsWith": str.endswith,
        "contains": str.__contains__,
        "indexOf": str.find,
        "lastIndexOf": str.rfind,
        "substring": _substring,
        "concat": str.__add__,
        "trim": str.strip,
        "toLowerCase": str.lower,
        "toUpperCase": str.upper,
        "toString": str,
        "matches": lambda s, pattern: _pattern(pattern).fullmatch(s) is not None,
        "replace": str.replace,
        "replaceAll": lambda s, pattern, by: _pattern(pattern).sub(_replacement(by), s),
        "replaceFirst": lambda s, pattern, by: _pattern(pattern).sub(_replacement(by), s, count=1),
    },
    "list": {
        "size": len,
        "isEmpty": lambda items: not items,
        "get": list.__getitem__,
        "contains": list.__contains__,
        "add": _add,
    },
    "map": {
        "size": len,
        "isEmpty": lambda m: not m,
        "get": dict.get,
        "put": _put,
        "containsKey": dict.__contains__,
        "keySet": list,
        "values": lambda m: list(m.values()),
        "entrySet": lambda m: [{"key": key, "value": value} for key, value in m.items()],
    },
    "number": {"toString": str, "equals": lambda n, other: n == other},
    "boolean": {"toString": as_text, "equals": lambda b, other: b is other},
}
