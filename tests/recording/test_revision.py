"""Another revision is evaluated by its own code, wherever that revision kept it."""

import subprocess
from pathlib import Path

import pytest
from support.repositories import committed, git

from recording.model import ROOT
from recording.preview import preview
from recording.revision import RevisionError, evaluating

pytestmark = pytest.mark.integration

# The last commit with everything in local/.
OLD_HOUSE = "01fefec"
# As recordings were then: `evaluate` in local/recording.py, the bill among the stack's outputs.
OLD_RECORDER = """
from dataclasses import dataclass, field


@dataclass
class Resource:
    urn: str = "urn:pulumi:dev::tl-fif::aws:sns/topic:Topic::alerts-old"
    type: str = "aws:sns/topic:Topic"
    name: str = "alerts-old"
    parent: str = ""
    inputs: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    id: str = "old"
    dependencies: list = field(default_factory=list)
    custom: bool = True
    note: str = "a field that is no more"


@dataclass
class Recording:
    stack: str
    resources: list
    outputs: dict


def evaluate(stack):
    line = {"what": "an old line", "usd": 1.5, "per": "month"}
    return Recording(stack, [Resource()], {"cost_lines": [line], "old_output": "yes"})
"""


@pytest.fixture(scope="module")
def old_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    (folder / "Pulumi.dev.yaml").touch()
    (folder / "local").mkdir()
    (folder / "local" / "recording.py").write_text(OLD_RECORDER)
    return committed(folder)


def test_a_revision_from_before_the_move_is_evaluated_by_its_own_code(old_layout: Path) -> None:
    with evaluating("dev", "HEAD", old_layout) as evaluation:
        old = evaluation.result()
    assert [(each.name, each.id) for each in old.resources] == [("alerts-old", "old")]
    assert old.outputs == {"old_output": "yes"}
    assert old.bill == [{"what": "an old line", "usd": 1.5, "per": "month"}]


def test_the_preview_compares_with_a_revision_from_before_the_move(old_layout: Path) -> None:
    said = preview("dev", against="HEAD", root=old_layout).splitlines()
    assert "- alerts-old  sns:Topic" in said
    assert "  output old_output: yes → (none)" in said
    assert "    -1.50 $/month  an old line" in said
    assert " 1 removed; +" in said[-1]


def test_the_old_house_itself_is_evaluated() -> None:
    commit = f"{OLD_HOUSE}^{{commit}}"
    found = subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, capture_output=True)
    if found.returncode:
        pytest.skip(f"this clone's history has no {OLD_HOUSE}")
    with evaluating("dev", OLD_HOUSE) as evaluation:
        old = evaluation.result()
    assert len([each for each in old.resources if each.custom]) == 104
    assert "cost_lines" not in old.outputs
    assert len(old.bill) == 44


def test_a_stack_that_did_not_exist_is_empty(old_layout: Path) -> None:
    with evaluating("prod", "HEAD", old_layout) as evaluation:
        assert evaluation.result().resources == []


def test_a_program_that_fails_there_is_named(old_layout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(old_layout), str(copy))
    (copy / "local" / "recording.py").write_text("raise OSError('no such room')")
    committed(copy, "broken")
    with (
        pytest.raises(RevisionError, match="dev at HEAD cannot be evaluated: OSError: no such"),
        evaluating("dev", "HEAD", copy) as evaluation,
    ):
        evaluation.result()


def test_a_revision_without_recordings_is_named(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").touch()
    committed(tmp_path, "old")
    with pytest.raises(RevisionError, match="HEAD is older than recordings"):
        preview("dev", against="HEAD", root=tmp_path)
