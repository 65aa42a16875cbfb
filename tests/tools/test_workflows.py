"""The workflows: well-formed, with named rights, and every action pinned by its commit."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recording.evaluate import stacks
from recording.model import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PREVIEW = ROOT / ".github" / "workflows" / "preview.yml"
TEST = ROOT / ".github" / "workflows" / "test.yml"


def jobs(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["jobs"]


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
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in jobs(path).values())


def test_the_tests_run_with_the_oldest_and_the_newest_python_that_the_readme_names() -> None:
    job = jobs(TEST)["test"]
    said = re.search(r"Python (3\.\d+) to (3\.\d+)", (ROOT / "README.md").read_text())
    assert said is not None
    assert job["strategy"]["matrix"] == {"python": list(said.groups())}
    assert f'requires-python = ">={said[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_tests_run_with_the_python_that_was_set_up() -> None:
    """Under sudo, python3 would be the system's: its PATH is not the job's."""
    steps = jobs(TEST)["test"]["steps"]
    (setup,) = [step for step in steps if step.get("uses", "").startswith("actions/setup-python@")]
    assert setup["with"] == {"python-version": "${{ matrix.python }}"}
    assert steps[-1]["run"] == ".ci/run"


def test_the_preview_shows_every_stack_and_comments() -> None:
    recorded = jobs(PREVIEW)["recorded"]
    script = "\n".join(step.get("run", "") for step in recorded["steps"])
    assert (
        f"for stack in {' '.join(sorted(stacks(), key=['dev', 'prod', 'literal'].index))}; do"
        in script
    )
    assert '-m recording.preview --stack "$stack" --against "$BASE" --markdown' in script
    assert recorded["permissions"] == {"contents": "read", "pull-requests": "write"}


def test_the_real_preview_takes_a_role_by_oidc_and_no_key() -> None:
    deployed = jobs(PREVIEW)["deployed"]
    assert deployed["permissions"]["id-token"] == "write"
    steps = {step["uses"].partition("@")[0]: step for step in deployed["steps"] if "uses" in step}
    assert steps["pulumi/actions"]["with"]["command"] == "preview"
    assert "role-to-assume" in steps["aws-actions/configure-aws-credentials"]["with"]
    assert not re.search(r"AWS_SECRET|aws-secret|ACCESS_KEY", PREVIEW.read_text())


def test_no_workflow_puts_what_a_pull_request_says_into_a_script() -> None:
    for path in WORKFLOWS:
        for job in jobs(path).values():
            for step in job["steps"]:
                assert "${{ github.event" not in step.get("run", ""), path.name
