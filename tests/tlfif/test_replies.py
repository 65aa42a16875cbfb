"""Whose reply stands: the one judge that router, guardian and worker ask (EC2-003)."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from tlfif.replies import FINAL, Author, Failure, Verdict, judge, why_failed

pytestmark = pytest.mark.story("EC2-003")

ME, ROUTER = Author("a", 2, 3), Author("router/0")


def reply(
    status: str = "running", worker: str = "a", attempt: int | None = 2, sequence: int = 3
) -> dict[str, Any]:
    numbers = {} if attempt is None else {"attempt": attempt, "sequence": sequence}
    return {"status": status, "worker": worker, **numbers}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, Verdict.REPLACE),
        (reply(), Verdict.MINE),
        (reply("done"), Verdict.MINE),
        (reply(sequence=2), Verdict.REPLACE),
        (reply("done", sequence=2), Verdict.ENDED),
        (reply(worker="b", attempt=1), Verdict.REPLACE),
        (reply(worker="b", attempt=2), Verdict.IF_HELD),
        (reply(worker="b", attempt=3), Verdict.LOST),
        (reply(worker="a", attempt=1), Verdict.REPLACE),
        (reply(worker="a", attempt=3), Verdict.LOST),
        (reply(worker="b", attempt=None), Verdict.REPLACE),
    ],
)
def test_an_attempt_replaces_earlier_ones_and_yields_to_later_ones(
    found: dict[str, Any] | None, verdict: Verdict
) -> None:
    assert judge(ME, found) is verdict


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize("attempt", [None, 1, 2, 3])
def test_a_final_reply_stands_against_everybody(status: str, attempt: int | None) -> None:
    found = reply(status, "b", attempt)
    assert judge(ME, found) is Verdict.FINAL
    assert judge(ROUTER, found) is Verdict.FINAL


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_router_and_guardian_replace_any_partial_reply(attempt: int) -> None:
    assert judge(ROUTER, reply(attempt=attempt)) is Verdict.REPLACE
    assert judge(ROUTER, None) is Verdict.REPLACE


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (412, "PreconditionFailed", Failure.REFUSED),
        (404, "NoSuchKey", Failure.REFUSED),
        (409, "ConditionalRequestConflict", Failure.CONFLICT),
        (403, "AccessDenied", Failure.DENIED),
        (404, "NoSuchBucket", Failure.DENIED),
        (500, "InternalError", Failure.UNKNOWN),
        (503, "SlowDown", Failure.UNKNOWN),
    ],
)
def test_what_s3s_errors_say_about_a_write(status: int, code: str, failure: Failure) -> None:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert why_failed(ClientError(answer, "PutObject")) is failure


@pytest.mark.parametrize("error", [ConnectTimeoutError, ReadTimeoutError])
def test_a_write_without_an_answer_may_have_been_written(error: type[Exception]) -> None:
    assert why_failed(error(endpoint_url="s3")) is Failure.UNKNOWN
