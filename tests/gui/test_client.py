"""The headless client's judgement: what it believes, how long it tries, and when it calls a job
expired.
"""

from collections.abc import Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gui import client as client_module
from gui.client import ApiError, Client, Job, post

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


def _said(answer: httpx.Response | Exception) -> httpx.Response:
    if isinstance(answer, Exception):
        raise answer
    return answer


def follow(
    monkeypatch: pytest.MonkeyPatch, job: Job, *answers: httpx.Response | Exception
) -> Iterator[dict[str, Any]]:
    """Follows a job on a server with these answers."""
    script = iter(answers)
    with Client("http://api", "token") as client:
        monkeypatch.setattr(client._http, "request", lambda *_, **__: _said(next(script)))
        yield from client.follow(job, every_s=0.5)


def statuses(monkeypatch: pytest.MonkeyPatch, job: Job, *answers: Any) -> list[str]:
    return [each["status"] for each in follow(monkeypatch, job, *answers)]


def test_a_reply_is_yielded_when_it_has_changed_and_the_final_one_ends_it(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    answers = [
        refusal(404),
        reply("running"),
        reply("running"),
        reply("running", 2),
        reply("done", 3),
    ]
    assert statuses(monkeypatch, JOB, *answers) == ["running", "running", "done"]
    assert slept == [0.5] * 4


def test_a_throttled_client_waits_as_long_as_it_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    assert statuses(monkeypatch, JOB, *[refusal(429, "1")] * 5, reply("done")) == ["done"]
    assert slept == [1] * 5


def test_two_failures_in_a_row_are_borne_and_a_third_is_raised(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    assert (
        statuses(
            monkeypatch, JOB, *[refusal(503), refusal(502), reply("running")] * 3, reply("done", 2)
        )[-1]
        == "done"
    )
    with pytest.raises(ApiError, match=r"^503 no: not now"):
        statuses(monkeypatch, JOB, *[refusal(503)] * 3)


def test_a_refusal_for_good_is_raised_at_once(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    with pytest.raises(ApiError):
        statuses(monkeypatch, JOB, refusal(403))


def test_a_job_nobody_took_has_expired_but_not_because_the_server_failed(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    assert statuses(monkeypatch, LATE, refusal(404)) == ["expired"]
    assert statuses(monkeypatch, LATE, refusal(503), reply("done")) == ["done"]


def test_a_reply_that_fell_silent_has_expired(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    silent = [reply("running")] * 243
    assert statuses(monkeypatch, JOB, *silent) == ["running", "expired"]
    assert statuses(monkeypatch, JOB, *silent[:240], reply("done", 2)) == ["running", "done"]


def test_a_running_job_is_no_matter_of_clocks(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    """Neither of the node's, which stamps replies, nor of the client's, which nobody asks."""
    for off_s in (-3600, 121, 3600):
        answers = [reply("running", 1, off_s), reply("running", 2, off_s), reply("done", 3, off_s)]
        assert statuses(monkeypatch, JOB, *answers) == ["running", "running", "done"]


def test_without_a_date_a_job_nobody_took_is_waited_for_longer_than_any_waits(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    nothing = httpx.Response(404, json={"error": "not_found", "message": "not yet"})
    assert statuses(monkeypatch, LATE, *[nothing] * 10, reply("done")) == ["done"]
    slept.clear()
    assert statuses(monkeypatch, LATE, *[nothing] * 1300) == ["expired"]
    assert 600 < sum(slept) < 610


def test_a_network_that_fails_says_nothing_about_the_job(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    gone = httpx.ConnectError("no route")
    assert statuses(monkeypatch, LATE, gone, gone, reply("done")) == ["done"]
    with pytest.raises(httpx.ConnectError):
        statuses(monkeypatch, LATE, gone, gone, gone)


def test_a_first_reply_that_a_boot_was_waited_for_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    boot = [refusal(404)] * 300
    assert statuses(monkeypatch, JOB, *boot, reply("running"), reply("done", 2)) == [
        "running",
        "done",
    ]


@pytest.mark.story("CI-005")
@pytest.mark.parametrize("errors", [0, 1, 2, 3])
def test_a_script_bears_two_errors_of_the_server_and_posts_one_job(
    monkeypatch: pytest.MonkeyPatch, slept: list[float], errors: int
) -> None:
    accepted = {"id": "1", "status": "queued", "expires_at": 1}
    answers = iter([refusal(503)] * errors + [httpx.Response(202, json=accepted)])
    keys: list[str] = []

    def answer(*_: object, headers: dict[str, str], **__: object) -> httpx.Response:
        keys.append(headers["Idempotency-Key"])
        return next(answers)

    with Client("http://api", "token") as client:
        monkeypatch.setattr(client._http, "request", answer)
        if errors == 3:
            with pytest.raises(ApiError, match="503"):
                post(client, "Hello", key="k", tries=3)
        else:
            assert post(client, "Hello", key="k", tries=3).id == "1"
    assert keys == ["k"] * min(errors + 1, 3)
    assert slept == [1.0] * min(errors, 2)


@pytest.mark.story("CI-005")
def test_a_script_does_not_repeat_what_is_refused(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    answers = iter([refusal(402)])
    with Client("http://api", "token") as client:
        monkeypatch.setattr(client._http, "request", lambda *_, **__: next(answers))
        with pytest.raises(ApiError, match="402"):
            post(client, "Hello", key="k", tries=3)
    assert slept == []
