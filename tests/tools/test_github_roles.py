"""The roles that GitHub takes: by one repository, in one place of it, to read."""

import json
import re
from typing import Any

import pytest

from local.iam.policy import Policy
from recording.model import ROOT
from tools import github_roles

ACCOUNT = "123456789012"
AUD, SUB = f"{github_roles.ISSUER}:aud", f"{github_roles.ISSUER}:sub"
PAGE = (ROOT / "docs" / "github.md").read_text()


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert github_roles.main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def taken(trust: Any, subject: str, audience: str = "sts.amazonaws.com") -> bool:
    """Whether a workflow of which GitHub says this gets the role."""
    (statement,) = trust["Statement"]
    federated = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    assert statement["Principal"] == {"Federated": federated}
    # The evaluator knows policies with resources, and no other principal than everybody.
    rule = {key: value for key, value in statement.items() if key != "Principal"}
    policy = Policy.parse({"Statement": [{**rule, "Resource": "*"}]})
    context = {AUD: audience, SUB: subject}
    return policy.effect("sts:AssumeRoleWithWebIdentity", "role", context) == "Allow"


@pytest.mark.parametrize(
    ("subject", "preview", "pipeline"),
    [
        ("repo:example/tl-fif:environment:preview", True, False),
        ("repo:example/tl-fif:ref:refs/heads/main", False, True),
        ("repo:example/tl-fif:ref:refs/heads/other", False, False),
        ("repo:example/tl-fif:pull_request", False, False),
        ("repo:example/tl-fif:environment:other", False, False),
        ("repo:example/tl-fif-fork:environment:preview", False, False),
        ("repo:stranger/tl-fif:ref:refs/heads/main", False, False),
    ],
)
def test_a_role_is_taken_by_one_repository_in_one_place_of_it(
    subject: str, preview: bool, pipeline: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("trust", "--account", ACCOUNT, "--repository", "example/tl-fif")
    assert taken(document(capsys, "preview", *given), subject) is preview
    assert taken(document(capsys, "pipeline", *given, "--branch", "main"), subject) is pipeline


@pytest.mark.parametrize(
    ("subject", "preview", "pipeline"),
    [
        ("repo:example@12/tl-fif@345:environment:preview", True, False),
        ("repo:example@12/tl-fif@345:ref:refs/heads/main", False, True),
        # Somebody who has taken the names when they were free.
        ("repo:example@13/tl-fif@345:environment:preview", False, False),
        ("repo:example@12/tl-fif@346:ref:refs/heads/main", False, False),
        ("repo:example/tl-fif:environment:preview", False, False),
        ("repo:example/tl-fif:ref:refs/heads/main", False, False),
    ],
)
def test_a_repository_may_be_known_by_its_number(
    subject: str, preview: bool, pipeline: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("trust", "--account", ACCOUNT, "--repository", "example@12/tl-fif@345")
    assert taken(document(capsys, "preview", *given), subject) is preview
    assert taken(document(capsys, "pipeline", *given, "--branch", "main"), subject) is pipeline


def test_a_token_for_another_audience_takes_nothing() -> None:
    trust = github_roles.trust(ACCOUNT, "repo:example/tl-fif:ref:refs/heads/main")
    assert taken(trust, "repo:example/tl-fif:ref:refs/heads/main")
    assert not taken(trust, "repo:example/tl-fif:ref:refs/heads/main", audience="another")


def actions(document: Any) -> set[str]:
    return {action for each in document["Statement"] for action in each["Action"]}


def test_both_roles_read_and_no_more() -> None:
    preview = github_roles.preview_rights(ACCOUNT, "us-east-1", "state")
    pipeline = github_roles.pipeline_rights(ACCOUNT, "us-east-1", "tl-fif-prod")
    reading = re.compile(r"[a-z0-9]+:(Get|List|Describe)[A-Za-z]+")
    for action in actions(preview) | actions(pipeline):
        assert reading.fullmatch(action), action
    assert "kms:Decrypt" not in actions(preview)
    (statement,) = pipeline["Statement"]
    assert statement["Resource"] == f"arn:aws:codepipeline:us-east-1:{ACCOUNT}:tl-fif-prod"


def test_a_state_in_pulumis_cloud_needs_no_bucket() -> None:
    rights = github_roles.preview_rights(ACCOUNT, "us-east-1", "")
    assert not any(action.startswith("s3:") for action in actions(rights))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("preview", "trust", "--account", "12"), "--account = '12': must be twelve digits"),
        (
            ("pipeline", "trust", "--account", ACCOUNT),
            "--repository = '': must be OWNER/NAME or OWNER@ID/NAME@ID, as GitHub spells it",
        ),
        (
            ("preview", "trust", "--account", ACCOUNT, "--repository", "a/b:*"),
            "--repository = 'a/b:*': must be",
        ),
        (
            ("preview", "trust", "--account", ACCOUNT, "--repository", "a@1/b"),
            "--repository = 'a@1/b': must be",
        ),
        (
            ("preview", "trust", "--account", ACCOUNT, "--repository", "a@1/b@x"),
            "--repository = 'a@1/b@x': must be",
        ),
        (
            ("pipeline", "rights", "--account", ACCOUNT),
            "--pipeline = '': must be the stack's output pipeline_name",
        ),
        (
            ("preview", "rights", "--account", ACCOUNT, "--state-bucket", "s3://state"),
            "--state-bucket = 's3://state': must be a bucket's name, without s3://",
        ),
    ],
)
def test_a_value_of_another_form_is_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert github_roles.main(arguments) == 1
    assert said in capsys.readouterr().err


def test_the_pages_lines_are_what_the_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    line_of = r"^\.venv/bin/python -m tools\.github_roles (.+?) > \w+\.json$"
    lines = re.findall(line_of, PAGE, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        arguments = [word.replace('"$ACCOUNT"', ACCOUNT) for word in line.split()]
        assert document(capsys, *arguments)["Version"] == "2012-10-17"
