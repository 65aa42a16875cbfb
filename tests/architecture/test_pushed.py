"""The split of the tests: what a push is held against, and the rest, which `make test` runs too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pushed import LATER, later

ROOT = Path(__file__).resolve().parents[2]
# Stories whose every proof drives more than a push has time for; and why.
ONLY_LATER: dict[str, str] = {}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def marked(nodes: list[ast.expr]) -> set[str]:
    """The stories that markers name."""
    calls = [each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call)]
    stories = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "story"
    ]
    return {arg.value for call in stories for arg in call.args if isinstance(arg, ast.Constant)}


def functions() -> Iterator[tuple[str, set[str]]]:
    """Every test function's id, without parameters, and the stories that it or its file proves."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
        of_all = [
            each.value
            for each in tree.body
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "pytestmark"
        ]
        for each in ast.walk(tree):
            if isinstance(each, Function) and each.name.startswith("test_"):
                yield f"{file}::{each.name}", marked([*of_all, *each.decorator_list])


TESTS = dict(functions())


@pytest.mark.story("CI-002")
def test_every_story_that_can_be_is_proved_before_a_push_goes_on() -> None:
    stories = set().union(*TESTS.values())
    pushed = set().union(*(of for test, of in TESTS.items() if later(test) is None))
    assert stories - pushed == ONLY_LATER.keys()


@pytest.mark.story("CI-002")
@pytest.mark.parametrize("start", LATER)
def test_what_comes_later_is_there_and_says_why(start: str) -> None:
    without_parameters = start.partition("[")[0]
    assert [test for test in TESTS if test.startswith(without_parameters)], (
        "it is gone: take it off the list"
    )
    assert LATER[start]


@pytest.mark.story("CI-002")
def test_make_test_leaves_nothing_out() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^test: .*\n\t@(.*)$", makefile, re.MULTILINE)
    assert recipe
    assert recipe[1] == (
        '$(WITH_ARGS) pytest -n "$$WORKERS" --cov --cov-report=term:skip-covered '
        "$${ARGS:+--cov-fail-under=0}"
    )


def test_pytest_gives_each_test_its_mark(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        assert bool(item.get_closest_marker("push")) is (later(item.nodeid) is None), item.nodeid
