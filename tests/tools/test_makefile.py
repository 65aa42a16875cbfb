"""What a person gives to make arrives at the commands byte for byte; no make and no shell reads it.

Every target is run with a stand-in for Python that notes its arguments and what it was told.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE)
GIVEN = re.search(r"^GIVEN := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
assert GIVEN
VARIABLES = GIVEN[1].replace("\\\n", " ").split()
RECIPES = "".join(re.findall(r"^\t.*\n(?:^ +.*\n)*", MAKEFILE, re.MULTILINE))
ON_OUTPUTS = "".join(re.findall("^ON_OUTPUTS := (.*)$", MAKEFILE, re.MULTILINE))
# The Makefile's own; what a recipe may expand.
OWN = {"RUN", "WITH_ARGS", "ON_OUTPUTS", "MAKEFILE_LIST"}
STAND_IN = """#!/bin/sh
printf '%s\\0' "$#" "$@" >> "$RECORDED"
"""
# What `make TARGET` needs besides: it is there, and does nothing.
PINNED = [
    "requirements.txt",
    "requirements-local.txt",
    "requirements-dev.txt",
    "functions/constraints.txt",
    "tools/posture/requirements.txt",
    "gpu_image/requirements.txt",
]
HOSTILE = {
    "dollars": "costs $5, $$5 and $",
    "make's": "$(shell touch pwned) ${HOME} $(PATH)$(error no)",
    "the shell's": "`touch pwned` $(touch pwned) ; touch pwned & touch pwned | cat > pwned",
    "quotes": """it's "quoted" \\"twice\\" 'so'""",
    "comment": "a # b \\# c",
    "lines": "one\ntwo\n\tthree",
    "ends with a break": "one\n",
    "option": "--help",
    "dash": "-x",
    "percent": "100 % of %s",
    "unicode": "ü 漢字 🦙 \u202e",
    "pattern": "* ? [a-z] ~ {a,b}",
    "assignment": "x=y:=z",
    "backslash": "\\",
    "not UTF-8": os.fsdecode(b"\xff\xfe"),
    "blank at the end": "x  ",
}


@dataclass(frozen=True)
class Place:
    """A folder with the Makefile and a stand-in for all that it calls."""

    folder: Path

    def make(
        self, target: str, given: Mapping[str, str], by_environment: bool = False
    ) -> list[list[str]]:
        """The arguments of every command that make starts for the target."""
        recorded = self.folder / "recorded"
        recorded.write_bytes(b"")
        words = [] if by_environment else [f"{name}={value}" for name, value in given.items()]
        environment = {"PATH": os.environ["PATH"], "RECORDED": str(recorded)}
        done = subprocess.run(
            ["make", "--no-print-directory", f"RUN={self.folder / 'stand-in'}", target, *words],
            cwd=self.folder,
            env=environment | (dict(given) if by_environment else {}),
            capture_output=True,
        )
        assert done.returncode == 0, (target, done.stderr)
        assert not list(self.folder.rglob("pwned*")), target
        return list(_calls(recorded.read_bytes()))


def _calls(recorded: bytes) -> Iterator[list[str]]:
    words = iter(os.fsdecode(recorded).split("\0")[:-1])
    for count in words:
        yield [next(words) for _ in range(int(count))]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("stand-in", "py thon", ".venv/bin/lint-imports"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)
    for name in PINNED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    return Place(tmp_path)


@pytest.mark.parametrize("by_environment", [False, True], ids=["by command line", "by environment"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_prompt_arrives_byte_for_byte(kind: str, by_environment: bool, place: Place) -> None:
    (call,) = [
        each
        for each in place.make("demo", {"PROMPT": HOSTILE[kind], "PYTHON": "true"}, by_environment)
        if "demo" in each
    ]
    assert call[-2:] == ["--", HOSTILE[kind]]


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_given_reaches_a_command_whole_or_not_at_all(target: str, place: Place) -> None:
    given = {
        name: f'{name}: it\'s $(shell touch pwned) `touch pwned` "$HOME" * #\\'
        for name in VARIABLES
    }
    plain = {"PYTHON": str(place.folder / "py thon"), "ARGS": "", "CONFIG": ""}
    for call in place.make(target, given | plain):
        for word in call:
            for name, value in given.items():
                whole = word == value or re.fullmatch("--[a-z-]+=", word.removesuffix(value))
                assert whole or f"{name}:" not in word, (target, word)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_given_is_no_empty_word(target: str, place: Place) -> None:
    positional = {"user"}
    calls = place.make(target, {"PYTHON": str(place.folder / "py thon")})
    empty = [call for call in calls if "" in call or any(each.endswith("=") for each in call)]
    assert not empty or target in positional


def test_several_keys_are_tried_in_one_preview(place: Place) -> None:
    config = "gpu:count=2  gpu:spot=true\ngateway:extraPingCidrs=[*,$(touch) `touch pwned`"
    *_, call = place.make("preview", {"CONFIG": config, "AGAINST": "a b", "PYTHON": "true"})
    assert call == [
        *("-m", "recording.preview", "--stack=dev", "--against=a b"),
        *(f"--config={each}" for each in config.split()),
    ]


# --- the rules that hold it


def test_a_recipe_expands_nothing_that_a_person_gives() -> None:
    assert set(re.findall(r"\$[({]([A-Za-z_]+)", RECIPES.replace("$$", ""))) <= OWN
    assert set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) <= {*VARIABLES}


def test_what_a_recipe_reads_from_its_environment_was_put_there_as_it_was_given() -> None:
    read = set(re.findall(r"\$\$\{?([A-Z_]{2,})", RECIPES + ON_OUTPUTS))
    assert read == {*VARIABLES}


def test_what_a_recipe_reads_from_its_environment_stands_in_quotes() -> None:
    unquoted = re.findall(r'(?<!")\$\$([A-Z_]{2,})', RECIPES + ON_OUTPUTS)
    assert unquoted == ["CONFIG"], "which is split by blanks, with patterns off"
