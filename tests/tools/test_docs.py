"""README and docs/ say what the code does: stories with proofs, targets, routes, keys, outputs."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from support import recordings

from recording.model import ROOT
from tools import readme

README = (ROOT / "README.md").read_text()
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text() for page in readme.pages()}
EVERYTHING = "\n".join(PAGES.values())
API = yaml.safe_load((ROOT / "openapi.yaml").read_text())
STORIES_OF_EPIC = {"API": 5, "LAM": 5, "RED": 4, "EC2": 5, "OPS": 4, "CI": 5}
STORIES = [f"{epic}-00{n}" for epic, last in STORIES_OF_EPIC.items() for n in range(1, last + 1)]
STATES = {"done", "partly", "open"}
ROW = re.compile(r"^\| ([A-Z0-9]+-\d{3}) \| (\w+) \| (.*) \|$", re.MULTILINE)
README_LINES = 180


@pytest.fixture(scope="module", autouse=True)
def evaluated_once() -> Iterator[None]:
    """The tables of many pages are of the same stacks."""
    with recordings.shared():
        yield


# --- stories


def marked(path: Path) -> set[str]:
    """The stories that a test file's markers name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    marks = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "story"
    ]
    return {arg.value for call in marks for arg in call.args if isinstance(arg, ast.Constant)}


@cache
def proofs() -> dict[str, set[str]]:
    """Story to the test files that carry it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for story in marked(path):
            found.setdefault(story, set()).add(path.name)
    return found


def test_every_story_has_one_row_and_no_row_is_invented() -> None:
    assert [story for story, _, _ in ROW.findall(README)] == STORIES


@pytest.mark.parametrize("row", ROW.findall(README), ids=lambda row: row[0])
def test_a_storys_proof_is_a_test_that_carries_it(row: tuple[str, str, str]) -> None:
    story, state, proof = row
    assert state in STATES
    named = set(re.findall(r"test_\w+\.py", proof))
    assert named <= proofs().get(story, set()), (
        f"{story}: not every test named carries @pytest.mark.story"
    )
    assert named or state == "open", f"{story} is {state}, but its row names no test"


def test_markers_name_only_stories_of_the_backlog() -> None:
    assert set(proofs()) <= set(STORIES)


# --- what a person can run, call and set


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.splitlines()) <= README_LINES


def test_the_pages_name_every_make_target() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = PAGES["docs/developing.md"]
    missing = [target for target in targets if not re.search(rf"make {target}\b", commands)]
    assert not missing


def test_no_page_names_a_make_target_that_does_not_exist() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", EVERYTHING, re.MULTILINE)
    assert set(named) <= set(targets)


def test_the_pages_name_every_route() -> None:
    operations = [
        (verb, path)
        for path, verbs in API["paths"].items()
        for verb in verbs
        if verb in ("get", "post", "delete")
    ]
    page = PAGES["docs/api.md"]
    missing = [path for verb, path in operations if f"`{verb.upper()} {path}`" not in page]
    assert not missing


def test_the_pages_name_every_field_of_a_prompt() -> None:
    fields = API["components"]["schemas"]["InferRequest"]["properties"]
    assert [name for name in fields if f"| `{name}` |" not in PAGES["docs/api.md"]] == []


def refusals() -> Iterator[str]:
    """Every `error` that an answer can bear: the functions' and API Gateway's."""
    for folder in ("functions", "tlfif"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem":
                    yield ast.literal_eval(node.args[1])
    yield from re.findall(r'"error":"(\w+)"', (ROOT / "openapi.yaml").read_text())


def test_the_pages_name_every_error_and_no_other() -> None:
    table = PAGES["docs/api.md"].partition("## Errors")[2].partition("\n## ")[0]
    rows = [row.split("|")[2] for row in table.splitlines() if re.match(r"\| \d{3}", row)]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(refusals())


def test_the_pages_name_every_configuration_key_with_its_default() -> None:
    page = PAGES["docs/configuration.md"]
    missing = [key for key, _ in readme.configuration_keys() if f"| `{key}` |" not in page]
    assert not missing


def test_the_pages_name_every_stack_output_and_explain_no_other() -> None:
    page = PAGES["docs/configuration.md"]
    missing = [name for name in readme.output_names() if f"| `{name}` |" not in page]
    assert not missing
    assert set(readme.OUTPUTS) == set(readme.output_names())
    assert "tls_host" in readme.output_names()


@pytest.mark.parametrize("page", PAGES)
def test_the_generated_tables_are_up_to_date(page: str) -> None:
    assert readme.rendered(PAGES[page]) == PAGES[page], "run make docs"


def test_every_generated_table_has_one_home() -> None:
    homes = {
        name: [p for p, text in PAGES.items() if f"<!-- {name} -->" in text]
        for name in readme.BLOCKS
    }
    assert {name: len(found) for name, found in homes.items()} == dict.fromkeys(readme.BLOCKS, 1)


# --- what lives where


def test_the_readme_and_the_architecture_name_every_folder(tracked: list[str]) -> None:
    folders = {f"`{path.partition('/')[0]}/`" for path in tracked if "/" in path}
    folders = {folder for folder in folders if not folder.startswith("`.")}
    assert {folder for folder in folders if folder not in README} == set()
    assert {folder for folder in folders if folder not in PAGES["docs/architecture.md"]} == set()


def test_the_architecture_names_every_wing_of_the_local_cloud(tracked: list[str]) -> None:
    wings = {path.split("/")[1] for path in tracked if re.match(r"local/\w+/", path)}
    page = PAGES["docs/architecture.md"]
    assert [wing for wing in sorted(wings) if f"`local/{wing}/`" not in page] == []
