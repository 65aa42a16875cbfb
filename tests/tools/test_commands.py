"""Every command of ours with arguments that it does not know, or that are of another kind: a usage
error or one line, before anything begins, and never a traceback.
"""

import argparse
import re
import runpy
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("tools", "bench", "recording", "local", "components")
# Started by what starts them, with arguments of its own.
INTERNAL = {
    "bench.plain_client",
    "bench.vllm.convert",
    "local.aws.server.moto_server",
    "local.deployment.provider",
    "local.engine.language_host",
    "local.machine.reaper",
    "tools.bake_check.engine",
}
# What it does not know is another's: pytest's, or a module's.
HANDS_ON = {"tools.delivery.push_test", "tools.fronts.bridge", "tools.words"}
COMMANDS = sorted(
    {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    }
    - INTERNAL
)
# What asks for arguments before it begins.
ASKS = re.compile(r"parse_(known_)?args\(|stack_parser\(|how_many\(|\bparse\(\)|in SETS")
RUBBISH = ["x", "", " ", "nan", "inf", "-1", "1e999", "9" * 5000, "0x10", "\udcff", "\n"]

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")


def ended(module: str, *arguments: str) -> object:
    """How a command ends: its exit code, or its last words."""
    argv, sys.argv = sys.argv, [module, *arguments]
    try:
        with pytest.raises(SystemExit) as ending:
            runpy.run_module(module, run_name="__main__")
        return ending.value.code
    finally:
        sys.argv = argv


@pytest.mark.parametrize("module", sorted({*COMMANDS} - HANDS_ON))
def test_an_option_that_there_is_not_is_refused(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ROOT / Path(*module.split("."))
    text = (source / "__main__.py" if source.is_dir() else source.with_suffix(".py")).read_text()
    assert ASKS.search(text), f"{module} would begin"
    code = ended(module, "--no-such-option")
    assert code not in (0, None)
    last = code if isinstance(code, str) else capsys.readouterr().err.splitlines()[-1]
    assert "--no-such-option" in last or "required" in last


class Asked(Exception):
    """A command has its parser, and asks it."""


def parsers(module: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser that a command asks first, without asking it."""
    asked: list[argparse.ArgumentParser] = []

    def ask(self: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        asked.append(self)
        raise Asked

    for name in ("parse_args", "parse_known_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, ask)
    monkeypatch.setattr(sys, "argv", [module])
    with pytest.raises(Asked):
        runpy.run_module(module, run_name="__main__")
    return asked[0]


@pytest.mark.parametrize("module", sorted({*COMMANDS} - HANDS_ON - {"tools.setup"}))
def test_no_option_takes_a_number_that_is_none(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parser in every(parsers(module, monkeypatch)):
        for action in parser._actions:
            if action.type is None or action.type is Path:
                continue
            for text in RUBBISH:
                taken = _taken(parser, action, text)
                # A whole number below one is the command's to refuse.
                assert taken is None or (action.type is int and text == "-1"), (action.dest, text)


def every(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    below = [
        each
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action.choices.values()
    ]
    return [parser, *below]


def _taken(parser: argparse.ArgumentParser, action: argparse.Action, text: str) -> Any:
    try:
        return parser._get_value(action, text)
    except argparse.ArgumentError:
        return None
