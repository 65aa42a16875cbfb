"""The README says what the code does: stories and their proofs, targets, routes, keys and outputs."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from components.settings import Settings
from recording.evaluate import evaluate
from tools import readme

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
STORIES = [
    *(f"API-00{n}" for n in range(1, 6)), *(f"LAM-00{n}" for n in range(1, 6)), *(f"RED-00{n}" for n in range(1, 5)),
    *(f"EC2-00{n}" for n in range(1, 6)), *(f"OPS-00{n}" for n in range(1, 5)), *(f"CI-00{n}" for n in range(1, 6)),
]  # fmt: skip
STATES = {"done", "partly", "open"}
ROW = re.compile(r"^\| ([A-Z0-9]+-\d{3}) \| (\w+) \| (.*) \|$", re.MULTILINE)


def marked(path: Path) -> set[str]:
    """The stories that a test file's markers name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    marks = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "story"
    ]
    return {arg.value for call in marks for arg in call.args if isinstance(arg, ast.Constant)}


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


def test_the_readme_names_every_make_target() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    missing = [target for target in targets if not re.search(rf"make {target}\b", README)]
    assert not missing


def test_the_readme_names_every_route() -> None:
    paths = yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"]
    operations = [
        (verb, path)
        for path, verbs in paths.items()
        for verb in verbs
        if verb in ("get", "post", "delete")
    ]
    missing = [path for verb, path in operations if f"`{verb.upper()} {path}`" not in README]
    assert not missing


def test_the_readme_names_every_configuration_key_with_its_default() -> None:
    missing = []
    for group, field in Settings.model_fields.items():
        model = field.annotation
        for key, inner in getattr(model, "model_fields", {}).items():
            name = f"`{group}:{inner.alias or key}`"
            missing += [name] if name not in README else []
    assert not missing


def test_the_readme_names_every_stack_output() -> None:
    missing = [name for name in evaluate("dev").outputs if f"`{name}`" not in README]
    assert not missing


def test_the_generated_tables_are_up_to_date() -> None:
    assert readme.rendered(README) == README, "run make docs"
