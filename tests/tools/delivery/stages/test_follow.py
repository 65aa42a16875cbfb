"""What a workflow runs that is the pipeline's badge: it ends as the commit's execution ends."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tools.bake.pipeline import Clock
from tools.delivery.follow import Follower
from tools.stage import StageError

pytestmark = pytest.mark.story("CI-001")

COMMIT, OTHER = "a" * 40, "b" * 40


def execution(status: str, commit: str = COMMIT, number: int = 1, **more: Any) -> dict[str, Any]:
    revision = {"actionName": "Source", "revisionId": commit}
    name = f"00000000-0000-4000-8000-{number:012}"
    return {"pipelineExecutionId": name, "status": status, "sourceRevisions": [revision], **more}


def follow(*answers: list[dict[str, Any]] | str) -> tuple[list[str], float]:
    """What was said, and how many minutes it took; answers are lists of executions, or errors."""
    client = boto3.client(
        "codepipeline",
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    now, said = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with Stubber(client) as stubber:
        asked = {"pipelineName": "tl-fif-prod", "maxResults": 100}
        for each in answers:
            if isinstance(each, str):
                stubber.add_client_error("list_pipeline_executions", each)
            else:
                found = {"pipelineExecutionSummaries": each}
                stubber.add_response("list_pipeline_executions", found, asked)
        follower = Follower(
            codepipeline=client,
            name="tl-fif-prod",
            commit=COMMIT,
            region="eu-west-1",
            clock=Clock(now=lambda: now[0], sleep=sleep),
            say=said.append,
        )
        follower.follow(begins_minutes=1, ends_minutes=2)
        stubber.assert_no_pending_responses()
    return said, now[0] / 60


def test_it_waits_for_the_commits_execution_and_its_success() -> None:
    other, ours = execution("Succeeded", OTHER, 2), execution("InProgress")
    said, minutes = follow(
        [other], "ThrottlingException", [other, ours], [ours], [execution("Succeeded")]
    )
    assert [line.split("  ")[-2].split()[-1] for line in said] == ["InProgress", "Succeeded"]
    assert "https://eu-west-1.console.aws.amazon.com/codesuite/codepipeline" in said[0]
    assert minutes == 1


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("Failed", "its page says why"),
        ("Superseded", "a later commit took its place"),
        ("Stopped", "somebody stopped it"),
        ("Cancelled", "the pipeline was changed meanwhile"),
    ],
)
def test_what_did_not_succeed_is_one_line(status: str, why: str) -> None:
    with pytest.raises(StageError, match=f"^tl-fif-prod: {'a' * 12} {status}: {why}: https://"):
        follow([execution(status)])


def test_one_that_runs_again_is_the_one_that_counts() -> None:
    said, _ = follow([execution("Succeeded", number=2), execution("Failed")])
    assert len(said) == 1


def test_one_that_never_begins_or_ends_is_given_up() -> None:
    with pytest.raises(StageError, match="has not begun: does it watch this branch"):
        follow(*[[]] * 5)
    with pytest.raises(StageError, match=r"after 2 min .* has not ended"):
        follow(*[[execution("InProgress")]] * 9)


def test_a_pipeline_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StageError, match="there is no pipeline tl-fif-prod in eu-west-1"):
        follow("PipelineNotFoundException")
