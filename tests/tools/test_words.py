"""The words of ARGS: what a shell makes of its quotes, and nothing of what it would expand."""

import os
import sys
from typing import NoReturn

import pytest

from tools import words as of_args
from tools.words import __main__ as command
from tools.words import words


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("", []),
        ("  \n ", []),
        ("--posts 3 --every 3.2", ["--posts", "3", "--every", "3.2"]),
        ("-m 'not integration' -k \"a or b\"", ["-m", "not integration", "-k", "a or b"]),
        ('--set "TEST_ARGS=--no-check tests/tlfif"', ["--set", "TEST_ARGS=--no-check tests/tlfif"]),
        ("a\\ b '' ", ["a b", ""]),
        ("$HOME `x` $(x) * ; | > & #y", ["$HOME", "`x`", "$(x)", "*", ";", "|", ">", "&", "#y"]),
    ],
)
def test_words_are_those_of_a_shell_that_expands_nothing(text: str, split: list[str]) -> None:
    assert words(text) == split


@pytest.mark.parametrize("text", ["'", '-k "a', "a\\"])
def test_an_open_quote_is_refused_with_the_value_and_the_fix(text: str) -> None:
    with pytest.raises(of_args.WordsError, match=r"^ARGS = .*: no .*; give each word .*quotes"):
        words(text)


class Became(Exception):
    """The process would have become this."""


def run(monkeypatch: pytest.MonkeyPatch, *own: str, given: str) -> None:
    def execv(path: str, argv: list[str]) -> NoReturn:
        raise Became(argv[1:])

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["words", *own])
    monkeypatch.setenv("ARGS", given)
    command.main()


def test_the_module_gets_them_after_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Became) as became:
        run(monkeypatch, "pytest", "-n", "a b", given="-k 'c d'")
    assert became.value.args[0] == ["-m", "pytest", "-n", "a b", "-k", "c d"]


@pytest.mark.parametrize(("own", "given"), [([], ""), (["-x"], ""), (["pytest"], "'")])
def test_without_a_module_or_words_it_is_one_line(
    own: list[str], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"^tl-fif: [^\n]*$"):
        run(monkeypatch, *own, given=given)
