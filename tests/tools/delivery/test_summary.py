"""What a deployment says when it is over."""

import pytest
from support.recordings import evaluate

from recording.model import ROOT
from tools.delivery import summary
from tools.delivery.shifting import Outcome

pytestmark = pytest.mark.story("CI-004")
TRACE = "1-68000000-0123456789abcdef01234567"


def test_a_summary_names_versions_commits_a_trace_and_the_cost() -> None:
    outcome = Outcome("7", "6", "b" * 40, TRACE, notes=["it gets all of the traffic"])
    lines = summary.written("dev", "a" * 40, outcome, "eu-west-1", ["cost: +0.00 $/month"])
    assert lines.splitlines() == [
        "tl-fif dev: version 7 serves, after version 6",
        f"- commit {'a' * 40} after {'b' * 12}",
        "- it gets all of the traffic",
        "- a call of version 7: https://eu-west-1.console.aws.amazon.com/cloudwatch/home"
        f"?region=eu-west-1#xray:traces/{TRACE}",
        "- cost: +0.00 $/month",
    ]


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome("7", "7"), "tl-fif dev: version 7 serves; nothing to deploy"),
        (
            Outcome("7", "6", failure="api-errors rings"),
            "tl-fif dev: deployment FAILED: api-errors rings",
        ),
    ],
)
def test_it_begins_with_what_came_of_it(outcome: Outcome, line: str) -> None:
    assert summary.written("dev", "a", outcome, "us-east-1", []).splitlines()[0] == line


def test_the_cost_is_held_against_the_commit_that_served_before() -> None:
    head, _ = summary.commit()
    cost, *due = summary.cost_lines("dev", head)
    # Of this checkout whatever was not committed yet is due.
    assert cost.startswith("cost: dev: "), cost
    assert cost.endswith(" €)")
    assert all(each.startswith("`pulumi up` is due, unless ") for each in due)


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("", "cost: nobody knows which commit served before"),
        ("0" * 40, "cost: unknown against 000000000000 (git archive: "),
    ],
)
def test_where_it_cannot_be_compared_it_says_so(before: str, line: str) -> None:
    (said,) = summary.cost_lines("dev", before)
    assert said.startswith(line)
    assert "\n" not in said


def test_only_the_routers_code_is_no_reason_for_pulumi() -> None:
    from recording.differences import Change, Property

    dev = evaluate("dev")
    function = "aws:lambda/function:Function"
    hash_ = Property("sourceCodeHash", "a", "b")
    memory = Property("memorySize", 512, 1024)
    router, meter = (dev.one(function, name) for name in ("router-function", "meter-function"))
    changes = [
        Change("changed", router, [hash_]),
        Change("changed", router, [hash_, memory]),
        Change("changed", meter, [hash_]),
        Change("added", meter),
    ]
    assert [summary._is_ours(each) for each in changes] == [True, False, False, False]


def test_a_webhook_that_fails_is_not_named() -> None:
    said = summary._posted("http://127.0.0.1:9/secret", {"text": "x"})
    assert said.startswith("Slack was not told: ")
    assert "secret" not in said
    assert "begin with https" in summary._posted("http://example.com/secret", {})


def test_a_version_says_of_which_commit_it_is() -> None:
    commit, description = summary.commit()
    assert description.startswith(commit)
    assert len(description) <= 256
    assert (ROOT / ".git").exists() == (commit != "unknown")
