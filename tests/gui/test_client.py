"""The headless client's judgement: what it believes, how long it tries, and when it calls a job
expired.
"""

import json
from collections.abc import Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.headless import Scripted

from gui import client as client_module
from gui.client import AnswerError, ApiError, Client, Job, UnreachableError

NOW_S = 1_800_000_000
DATE = {"Date": formatdate(NOW_S, usegmt=True)}
JOB = Job("id", "queued", (NOW_S + 300) * 1000, {})
LATE = Job("id", "queued", (NOW_S - 6) * 1000, {})


def reply(status: str, sequence: int = 1, ago_s: int = 0) -> httpx.Response:
    body = {
        "status": status,
        "text": "",
        "sequence": sequence,
        "updated_at": (NOW_S - ago_s) * 1000,
    }
    return httpx.Response(200, json=body, headers=DATE)


def refusal(status: int, retry_after: str = "") -> httpx.Response:
    headers = DATE | ({"Retry-After": retry_after} if retry_after else {})
    return httpx.Response(status, json={"error": "no", "message": "not now"}, headers=headers)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client paused; only that passes. Nobody can ask for the clock on the wall."""
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(client_module, "time", clock)
    return slept


def connected(api: Scripted) -> Client:
    return Client("http://api", "token", transport=httpx.MockTransport(api))


def follow(job: Job, *answers: httpx.Response | Exception) -> Iterator[dict[str, Any]]:
    """Follows a job on a server with these answers."""
    script = iter(answers)

    def said(_: httpx.Request) -> httpx.Response:
        each = next(script)
        if isinstance(each, Exception):
            raise each
        # One that is sent twice is read twice.
        return httpx.Response(each.status_code, headers=each.headers, content=each.content)

    with Client("http://api", "token", transport=httpx.MockTransport(said)) as client:
        yield from client.follow(job, every_s=0.5)


def statuses(job: Job, *answers: Any) -> list[str]:
    return [each["status"] for each in follow(job, *answers)]


@pytest.mark.usefixtures("slept")
def test_a_reply_is_yielded_when_it_has_changed_and_the_final_one_ends_it(
    slept: list[float],
) -> None:
    answers = [
        refusal(404),
        reply("running"),
        reply("running"),
        reply("running", 2),
        reply("done", 3),
    ]
    assert statuses(JOB, *answers) == ["running", "running", "done"]
    assert slept == [0.5] * 4


def test_a_throttled_client_waits_as_long_as_it_is_told_and_goes_on(slept: list[float]) -> None:
    assert statuses(JOB, *[refusal(429, "1")] * 5, reply("done")) == ["done"]
    assert slept == [1] * 5


@pytest.mark.parametrize(("wait", "answers"), [("3600", 1), ("1", 200), ("²", 400)])
def test_a_quota_is_not_waited_for_nor_a_throttle_without_end(
    slept: list[float], wait: str, answers: int
) -> None:
    headers = httpx.Headers(DATE | {"Retry-After": wait}, "latin-1")
    throttled = httpx.Response(429, content=b'{"error": "no"}', headers=headers)
    with pytest.raises(ApiError, match=r"^429"):
        statuses(JOB, *[throttled] * answers)
    assert sum(slept) <= 120


@pytest.mark.usefixtures("slept")
def test_failures_are_borne_for_30_s_in_a_row_and_then_raised(slept: list[float]) -> None:
    answers = [*[*[refusal(503), refusal(502)] * 25, reply("running")] * 3, reply("done", 2)]
    assert statuses(JOB, *answers)[-1] == "done"
    slept.clear()
    with pytest.raises(ApiError, match=r"^503 no: not now"):
        statuses(JOB, *[refusal(503)] * 62)
    assert sum(slept) == 30.5


@pytest.mark.usefixtures("slept")
def test_a_refusal_for_good_is_raised_at_once() -> None:
    with pytest.raises(ApiError):
        statuses(JOB, refusal(403))


@pytest.mark.usefixtures("slept")
def test_a_job_nobody_took_has_expired_but_not_because_the_server_failed() -> None:
    assert statuses(LATE, refusal(404)) == ["expired"]
    assert statuses(LATE, refusal(503), reply("done")) == ["done"]


@pytest.mark.usefixtures("slept")
def test_a_reply_that_fell_silent_has_expired() -> None:
    silent = [reply("running")] * 243
    assert statuses(JOB, *silent) == ["running", "expired"]
    assert statuses(JOB, *silent[:240], reply("done", 2)) == ["running", "done"]


@pytest.mark.usefixtures("slept")
def test_a_running_job_is_no_matter_of_clocks() -> None:
    """Neither of the node's, which stamps replies, nor of the client's, which nobody asks."""
    for off_s in (-3600, 121, 3600):
        answers = [reply("running", 1, off_s), reply("running", 2, off_s), reply("done", 3, off_s)]
        assert statuses(JOB, *answers) == ["running", "running", "done"]


def test_without_a_date_a_job_nobody_took_is_waited_for_longer_than_any_waits(
    slept: list[float],
) -> None:
    nothing = httpx.Response(404, json={"error": "not_found", "message": "not yet"})
    assert statuses(LATE, *[nothing] * 10, reply("done")) == ["done"]
    slept.clear()
    assert statuses(LATE, *[nothing] * 1300) == ["expired"]
    assert 600 < sum(slept) < 610


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.ConnectError("no route"), UnreachableError),
        (httpx.Response(200, text="<h1>Welcome to the hotel</h1>"), AnswerError),
        (httpx.Response(302, headers={"Location": "http://portal/"}), AnswerError),
        (httpx.Response(200, json={"text": "no status"}), AnswerError),
    ],
)
def test_a_network_that_fails_says_nothing_about_the_job(failure: Any, error: Any) -> None:
    assert statuses(LATE, failure, failure, reply("done")) == ["done"]
    with pytest.raises(error):
        statuses(LATE, *[failure] * 62)


@pytest.mark.usefixtures("slept")
def test_a_first_reply_that_a_boot_was_waited_for_is_not_silent() -> None:
    boot = [refusal(404)] * 300
    assert statuses(JOB, *boot, reply("running"), reply("done", 2)) == ["running", "done"]


def test_each_pause_is_told_of(slept: list[float]) -> None:
    told: list[float] = []
    api = Scripted(replies=[refusal(404), refusal(503), reply("running"), reply("done", 2)])
    with connected(api) as client:
        list(client.follow(JOB, waiting=lambda: told.append(sum(slept))))
    assert told == [0, 0.5, 1.0]


def test_a_prompt_and_a_conversation_are_posted_with_their_options() -> None:
    api = Scripted()
    said = [{"role": "user", "content": "Hello \ud800"}]
    with connected(api) as client:
        assert client.infer("Hello", idempotency_key="k", seed=1).expires_at == 4e12
        client.infer(said)
    assert api.bodies() == [{"prompt": "Hello", "seed": 1}, {"messages": said}]
    first, second = api.asked
    assert first.headers["Idempotency-Key"] == "k"
    assert "Idempotency-Key" not in second.headers


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"id": "../stop", "status": "queued", "expires_at": 1},
        {"id": "1", "status": None, "expires_at": 1},
        {"id": "1", "status": "queued", "expires_at": float("nan")},
        {"id": "1", "status": "queued", "expires_at": "soon"},
    ],
)
def test_an_acceptance_that_names_no_job_is_none(said: dict[str, Any]) -> None:
    content = json.dumps(said).encode()
    api = Scripted(posts=[httpx.Response(202, content=content)])
    with connected(api) as client, pytest.raises(AnswerError, match="without id, status or exp"):
        client.infer("Hello")
