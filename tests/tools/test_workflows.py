"""The workflows: well-formed, with named rights, and every action pinned by its commit."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recording.model import ROOT
from recording.shipped import stacks
from tools import github_roles
from tools.workflows import __main__ as judges

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PREVIEW = ROOT / ".github" / "workflows" / "preview.yml"
TEST = ROOT / ".github" / "workflows" / "test.yml"
PIPELINE = ROOT / ".github" / "workflows" / "pipeline.yml"
DEPENDABOT = ROOT / ".github" / "dependabot.yml"


def jobs(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["jobs"]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    return (step for job in jobs(path).values() for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert [
        line
        for line in lines
        if not re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)
    ] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_read_only_unless_a_job_names_more(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert {"group", "cancel-in-progress"} == workflow["concurrency"].keys()
    assert all("timeout-minutes" in job for job in jobs(path).values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_checkout_leaves_its_credentials_to_what_runs_next(path: Path) -> None:
    taken = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert taken
    assert {step["with"]["persist-credentials"] for step in taken} == {False}


@pytest.mark.story("RED-001")
def test_the_first_failure_ends_the_runs_with_other_versions() -> None:
    assert jobs(TEST)["test"]["strategy"]["fail-fast"] is True


def test_the_tests_run_with_the_oldest_and_the_newest_python_that_the_readme_names() -> None:
    job = jobs(TEST)["test"]
    said = re.search(r"Python (3\.\d+) to (3\.\d+)", (ROOT / "README.md").read_text())
    assert said is not None
    assert job["strategy"]["matrix"] == {"python": list(said.groups())}
    assert f'requires-python = ">={said[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_tests_run_with_the_python_that_was_set_up() -> None:
    """Under sudo, python3 would be the system's: its PATH is not the job's."""
    listed = jobs(TEST)["test"]["steps"]
    (setup,) = [step for step in listed if step.get("uses", "").startswith("actions/setup-python@")]
    assert setup["with"] == {"python-version": "${{ matrix.python }}"}
    assert listed[-1]["run"] == ".ci/run"


def test_the_preview_shows_every_stack_and_comments() -> None:
    recorded = jobs(PREVIEW)["recorded"]
    script = "\n".join(step.get("run", "") for step in recorded["steps"])
    assert (
        f"for stack in {' '.join(sorted(stacks(), key=['dev', 'prod', 'literal'].index))}; do"
        in script
    )
    assert '-m recording.preview --stack "$stack" --against "$BASE" --markdown' in script
    # What the pull request says runs in the one job, what may write in the other.
    assert recorded["permissions"] == {"contents": "read"}
    comment = jobs(PREVIEW)["comment"]
    assert comment["permissions"] == {"pull-requests": "write"}
    assert comment["needs"] == "recorded"
    assert [step for step in comment["steps"] if "run" in step or "checkout" in step["uses"]] == []


def test_the_real_preview_takes_a_role_by_oidc_and_no_key() -> None:
    deployed = jobs(PREVIEW)["deployed"]
    assert deployed["permissions"]["id-token"] == "write"
    used = {step["uses"].partition("@")[0]: step for step in deployed["steps"] if "uses" in step}
    assert used["pulumi/actions"]["with"]["command"] == "preview"
    assert "role-to-assume" in used["aws-actions/configure-aws-credentials"]["with"]
    assert deployed["environment"] == github_roles.PREVIEW_ENVIRONMENT


def test_no_workflow_has_a_key_of_aws() -> None:
    for path in WORKFLOWS:
        assert not re.search(r"AWS_SECRET|aws-secret|ACCESS_KEY|access-key", path.read_text())


@pytest.mark.story("CI-001")
def test_a_commit_on_main_is_followed_through_the_pipeline() -> None:
    assert yaml.safe_load(PIPELINE.read_text())[True] == {"push": {"branches": ["main"]}}
    follow = jobs(PIPELINE)["follow"]
    assert follow["permissions"] == {"contents": "read", "id-token": "write"}
    assert follow["if"] == "vars.AWS_PIPELINE_ROLE != ''"
    last = follow["steps"][-1]
    assert last["run"].endswith('tools.delivery.follow --commit "$GITHUB_SHA" --name "$PIPELINE"')
    assert last["env"] == {"PIPELINE": "${{ vars.AWS_PIPELINE }}"}
    # As long as the role's credentials last, and no longer than the job.
    (role,) = [each["with"] for each in follow["steps"] if "configure-aws" in each.get("uses", "")]
    assert role["role-duration-seconds"] >= follow["timeout-minutes"] * 60


def test_no_workflow_puts_what_a_pull_request_says_into_a_script() -> None:
    for path in WORKFLOWS:
        for step in steps(path):
            assert "${{" not in step.get("run", ""), path.name


# --- Dependabot


# Its pins are those of the day on which vLLM's release was current.
NOT_PROPOSED = {"/bench/vllm"}


def test_dependabot_looks_at_every_folder_with_pins(tracked: list[str]) -> None:
    kinds = {"pip": ("requirements*.txt", "constraints.txt"), "gomod": ("go.mod",)}
    updates = {each["package-ecosystem"]: each for each in updated()}
    assert updates.keys() == {"github-actions", *kinds}
    for kind, patterns in kinds.items():
        found = {
            f"/{path.parent.as_posix()}".removesuffix(".")
            for path in map(Path, tracked)
            if any(path.match(pattern) for pattern in patterns)
            and (kind == "gomod" or "==" in (ROOT / path).read_text())
        }
        assert set(updates[kind]["directories"]) == found - NOT_PROPOSED


def test_dependabot_waits_and_groups() -> None:
    for update in updated():
        assert update["cooldown"]["default-days"] >= 7
        assert update["schedule"] == {"interval": "weekly"}
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def updated() -> list[dict[str, Any]]:
    return yaml.safe_load(DEPENDABOT.read_text())["updates"]


# --- actionlint and zizmor

BAD = """\
name: bad
on: pull_request
permissions: write-all
jobs:
  bad:
    runs-on: ubuntu-24.O4
    steps:
      - uses: actions/checkout@v4
      - run: echo ${{ github.event.pull_request.title }}
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "bad.yml").write_text(BAD)
    return tmp_path


@pytest.mark.integration
def test_actionlint_finds_nothing_here_and_what_is_wrong_elsewhere(bad: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("actionlint is built from its Go module, and there is no Go here")
    try:
        command = judges.actionlint()
    except judges.WorkflowsError as error:
        pytest.skip(str(error))
    assert judges.found(command) == ""
    said = judges.found(command, str(bad / ".github" / "workflows" / "bad.yml"))
    assert 'label "ubuntu-24.O4" is unknown' in said
    assert '"github.event.pull_request.title" is potentially untrusted' in said


@pytest.mark.integration
def test_zizmor_finds_nothing_here_and_what_is_wrong_elsewhere(bad: Path) -> None:
    command = judges.zizmor()
    assert judges.found(command, ".github") == ""
    said = judges.found(command, ".github", folder=bad)
    for audit in ("artipacked", "template-injection", "unpinned-uses", "excessive-permissions"):
        assert audit in said


def test_a_judge_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judges.shutil, "which", lambda name: None)
    assert judges.main() == 1
    assert "there is no Go here" in capsys.readouterr().err
