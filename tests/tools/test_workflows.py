"""The workflows: well-formed, with named rights, and every action pinned by its commit."""

import json
import os
import re
import shutil
import subprocess
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
PAGE = (ROOT / "docs" / "github.md").read_text()
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


def checks() -> set[str]:
    """The names by which GitHub knows this workflow's checks."""
    found = set[str]()
    for job in jobs(TEST).values():
        pythons = job.get("strategy", {}).get("matrix", {}).get("python", [""])
        found |= {job["name"].replace("${{ matrix.python }}", python) for python in pythons}
    return found


def test_the_page_names_the_checks_that_main_wants() -> None:
    [rule] = re.findall(r"wants the\s+checks (.+?), and a\s+review", PAGE, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", rule)) == checks()
    assert len(checks()) == 4


def test_the_preview_shows_every_stack() -> None:
    recorded = jobs(PREVIEW)["recorded"]
    script = "\n".join(step.get("run", "") for step in recorded["steps"])
    assert (
        f"for stack in {' '.join(sorted(stacks(), key=['dev', 'prod', 'literal'].index))}; do"
        in script
    )
    assert '-m recording.preview --stack "$stack" --against "$BASE" --markdown' in script
    assert recorded["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_who_checks_a_commit_out_may_write_nothing(path: Path) -> None:
    """What a pull request says runs there; an OIDC token alone is asked for by a right to write."""
    for name, job in jobs(path).items():
        rights = job.get("permissions", yaml.safe_load(path.read_text())["permissions"])
        writing = {right for right, extent in rights.items() if extent != "read"}
        taken = [step for step in job["steps"] if "actions/checkout@" in step.get("uses", "")]
        assert writing <= {"id-token"} or not taken, name
        # And who may write runs nothing that was handed to it.
        assert writing <= {"id-token"} or not [step for step in job["steps"] if "run" in step], name


COMMENTS = {"comment": "recorded", "comment-deployed": "deployed"}


@pytest.mark.parametrize(("job", "before"), COMMENTS.items())
def test_a_comment_is_its_own_jobs(job: str, before: str) -> None:
    comment = jobs(PREVIEW)[job]
    assert comment["permissions"] == {"pull-requests": "write"}
    assert comment["needs"] == before
    # Neither a fork's token nor Dependabot's may write.
    assert "head.repo.full_name == github.repository" in comment["if"]
    assert "github.actor != 'dependabot[bot]'" in comment["if"]
    fetched, commented = comment["steps"]
    handed = jobs(PREVIEW)[before]["steps"][-1]
    assert handed["with"]["name"] == fetched["with"]["name"]
    assert handed["with"]["path"] == "preview.md"
    # It stands here: what the pull request's own code hands on cannot say which comment it is.
    assert re.fullmatch(r"<!-- tl-fif \w+ -->", commented["env"]["MARK"])


def test_both_comments_are_kept_apart_and_made_alike() -> None:
    first, second = (jobs(PREVIEW)[job]["steps"][-1] for job in COMMENTS)
    assert first["env"]["MARK"] != second["env"]["MARK"]
    assert first["with"] == second["with"]


BOT, SOMEBODY = "github-actions[bot]", "mallory"
MARK = "<!-- tl-fif preview -->"


@pytest.mark.skipif(not shutil.which("node"), reason="github-script runs on Node")
@pytest.mark.parametrize(
    ("there", "call"),
    [
        ([], ["createComment", 7, None]),
        ([(1, BOT, f"{MARK}\nold"), (2, BOT, "other")], ["updateComment", None, 1]),
        ([(1, SOMEBODY, f"{MARK}\nmine")], ["createComment", 7, None]),
        ([(1, SOMEBODY, f"{MARK}\nmine"), (2, BOT, f"{MARK}\nold")], ["updateComment", None, 2]),
        ([(1, None, None), (2, BOT, "<!-- tl-fif deployed -->")], ["createComment", 7, None]),
    ],
)
def test_a_comment_is_written_anew_where_it_is_the_workflows_own(
    there: list[tuple[int, str | None, str | None]], call: list[Any], tmp_path: Path
) -> None:
    step = jobs(PREVIEW)["comment"]["steps"][-1]
    # What the pull request hands on: a mark of its own choice, and more than GitHub takes.
    (tmp_path / "preview.md").write_text("<!-- another -->\n" + "x" * 100_000)
    comments = [
        {"id": number, "user": user and {"login": user}, "body": body}
        for number, user, body in there
    ]
    called = "say => async asked => console.log(JSON.stringify([say, asked]))"
    script = f"""
    const call = {called};
    const context = {{repo: {{owner: 'o', repo: 'r'}}, issue: {{number: 7}}}};
    const issues = {{updateComment: call('updateComment'), createComment: call('createComment')}};
    const github = {{rest: {{issues}}, paginate: async () => {json.dumps(comments)}}};
    (async () => {{ {step["with"]["script"]} }})();
    """
    done = subprocess.run(
        ["node", "-e", script],
        cwd=tmp_path,
        env={**os.environ, **step["env"]},
        capture_output=True,
        text=True,
        check=True,
    )
    said, asked = json.loads(done.stdout)
    assert [said, asked.get("issue_number"), asked.get("comment_id")] == call
    assert asked["body"].startswith(f"{MARK}\n<!-- another -->")
    assert len(asked["body"]) == 65_000


# --- Pulumi's own preview


def test_the_real_preview_takes_a_role_by_oidc_and_no_key() -> None:
    deployed = jobs(PREVIEW)["deployed"]
    assert deployed["permissions"] == {"contents": "read", "id-token": "write"}
    assert deployed["environment"] == github_roles.PREVIEW_ENVIRONMENT
    for needed in (
        "vars.AWS_PREVIEW_ROLE != ''",
        "github.event.pull_request.head.repo.full_name == github.repository",
        # It gets neither variables' roles nor secrets.
        "github.actor != 'dependabot[bot]'",
    ):
        assert needed in deployed["if"]
    used = {step["uses"].partition("@")[0]: step for step in deployed["steps"] if "uses" in step}
    assert "role-to-assume" in used["aws-actions/configure-aws-credentials"]["with"]
    # The CLI that tests/engine builds; Pulumi's action does nothing but to install it.
    cli = re.search(r"pulumi/pkg/v3 v(\S+)", (ROOT / "tools" / "engine" / "go.mod").read_text())
    assert cli is not None
    assert used["pulumi/actions"]["with"] == {"pulumi-version": cli[1], "comment-on-pr": False}


PULUMI = """#!/bin/sh
echo "asked: $*" >> asked.txt
[ "$1" != preview ] || echo '```+ aws:lambda:Function'
[ "$1" != "$FAILS" ]
"""


@pytest.mark.parametrize("fails", ["", "login", "preview"])
def test_what_pulumi_says_is_handed_on_as_a_block_of_text(fails: str, tmp_path: Path) -> None:
    (step,) = [each for each in jobs(PREVIEW)["deployed"]["steps"] if "env" in each]
    assert step["env"]["STACK"] == "${{ vars.PULUMI_STACK || 'prod' }}"
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STACK": "prod",
        "BACKEND": "s3://state",
        "FAILS": fails,
        "GITHUB_STEP_SUMMARY": "summary.md",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    if fails:
        assert done.returncode == 1
        assert not (tmp_path / "preview.md").exists()
        assert ("aws:lambda" in done.stdout) is (fails == "preview")
        return
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked.txt").read_text().splitlines() == [
        "asked: login s3://state",
        "asked: preview --stack prod --diff --color never --non-interactive",
    ]
    heading, _, *block = (tmp_path / "preview.md").read_text().splitlines()
    assert heading == "### What the next deployment would do to the stack prod"
    assert block == ["    ```+ aws:lambda:Function"]
    assert (tmp_path / "summary.md").read_text() == (tmp_path / "preview.md").read_text()


def test_each_variable_and_secret_is_among_the_pages_settings() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    used = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", text))
    settings = PAGE.partition("## The repository's settings")[2]
    assert used == set(re.findall(r"`((?:AWS|PULUMI)_\w+)`", settings))


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
