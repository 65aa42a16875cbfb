"""What the tests and the pages show are the stacks as the project came with them, whatever stacks
an operator has beside the program and whoever reviews there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.repositories import committed, git

from recording import shipped
from recording.model import ROOT

FOLDER = ROOT / shipped.SHIPPED
# As docs/first-deployment.md leaves the file.
DEPLOYED = {
    "encryptionsalt": f"v1:AAAAAAAAAAA=:v1:{'A' * 16}:{'A' * 32}",
    "config": {
        "aws:region": "us-east-1",
        "tl-fif:gpu": {"slots": 8},
        "tl-fif:alerts": {"email": "you@example.com"},
        "tl-fif:budget": {"capEur": 20},
        "tl-fif:delivery": {
            "connectionArn": "arn:aws:codeconnections:us-east-1:111122223333:connection/"
            "11111111-2222-4333-8444-555555555555",
            "repository": "you/tl-fif",
        },
    },
}
# Each failed once a stack of the operator's own was committed; and the cheapest of all tables.
SELECTED = (
    "tests/tools/test_docs.py::test_the_generated_tables_are_up_to_date[docs/fleet.md]",
    "tests/components/test_costs.py::test_the_frugal_stacks_fit_under_the_cap_with_hours_to_spare",
    "tests/components/test_gpu_node.py::test_the_bucket_is_private_encrypted_tls_only_and_emptied",
    "tests/components/test_delivery.py::test_without_a_connection_there_is_none_of_it",
    "tests/tools/test_workflows.py::test_the_preview_shows_every_stack",
    "tests/tools/test_codeowners.py",
)


def is_somebodys(file: Path) -> bool:
    """Whether a stack's file has been deployed from: it has secrets, or says who is warned."""
    told = yaml.safe_load(file.read_text())
    config = told.pop("config")
    return bool(told) or "tl-fif:alerts" in config


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_a_stack_that_nobody_has_deployed_is_the_shipped_one(name: str) -> None:
    own = ROOT / name
    if not own.exists() or is_somebodys(own):
        pytest.skip(f"{name} is an operator's own")
    assert own.read_text() == (FOLDER / name).read_text(), f"change {shipped.SHIPPED}/{name}, too"


def test_a_deployed_stack_is_told_from_a_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump(DEPLOYED))
    assert is_somebodys(file)
    assert [path.name for path in FOLDER.iterdir() if is_somebodys(path)] == []


def test_who_does_not_ask_for_the_shipped_ones_has_the_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shipped.stack_file("dev") == FOLDER / "Pulumi.dev.yaml"
    monkeypatch.delenv(shipped.STACKS)
    assert shipped.stack_file("dev") == ROOT / "Pulumi.dev.yaml"


def test_another_project_has_its_own_stacks_alone(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.mine.yaml").touch()
    shutil.copytree(FOLDER, tmp_path / shipped.SHIPPED)
    assert shipped.stacks(tmp_path) == ["mine"]


@pytest.fixture
def operated(tmp_path: Path) -> Path:
    """The project as an operator has it: two stacks of the own, and reviewers of the own."""
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump(DEPLOYED))
    (tmp_path / "Pulumi.mine.yaml").write_text("config: {aws:region: eu-west-1}\n")
    owners = tmp_path / ".github" / "CODEOWNERS"
    owners.write_text(re.sub(r"@tl-fif/[\w-]+", "@you", owners.read_text()))
    return committed(tmp_path)


@pytest.mark.integration
@pytest.mark.story("CI-002")
def test_an_operators_own_stacks_and_reviewers_break_no_test(operated: Path) -> None:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV", "PYTEST", shipped.STACKS))
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SELECTED]
    done = subprocess.run(command, cwd=operated, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE)
