"""The instant lane beside nodes: what is handed over, left alone, or looked after (LAM-004)."""

import dataclasses

import pytest
import redis
from support.jobs import (
    BOOT,
    LANE,
    LONG,
    NODE,
    SHORT,
    WORKER,
    accept,
    beat,
    break_lane,
    enter,
    heartbeat,
    laned,
    leave,
    new_job,
    read,
    reconcile,
    refuse,
    take,
)

from tlfif import names
from tlfif.queue import accepting, guarding, lane, scripts, working

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

# --- the node


def test_a_node_that_becomes_ready_gets_all_that_is_not_begun(client: "redis.Redis") -> None:
    enter(client)
    begun, waiting, on_its_way = (new_job() for _ in range(3))
    accept(client, begun, laned())
    [held] = take(client)
    accept(client, on_its_way, laned())
    name = lane.consumer_name("lane-1")
    [[_, [(entry, _)]]] = client.xreadgroup(names.GROUP, name, {names.STREAM: ">"})  # type: ignore
    heartbeat(client)
    accept(client, waiting, laned())
    assert beat(client) == "node"
    assert scripts.run(client, working.claim(name, [entry], 10)) == []
    assert take(client) == [], "read, and left alone"
    adopted = scripts.run(client, working.claim(WORKER, [], 10))
    assert [(each.id, each.deliveries) for each in adopted] == [
        (on_its_way.id, 1), (waiting.id, 1),
    ]  # fmt: skip
    assert scripts.run(client, working.renew(name, [(held.entry, held.id)])) == ["held"]
    assert leave(client) == "left"


def test_what_the_lane_left_to_the_node_is_its_first_delivery(client: "redis.Redis") -> None:
    long, short = new_job(prompt=LONG), new_job()
    heartbeat(client, "loading")
    accept(client, long, laned())
    accept(client, short, laned())
    enter(client)
    assert [each.id for each in take(client)] == [short.id]
    heartbeat(client)
    [claimed] = scripts.run(client, working.claim(WORKER, [], 10))
    assert (claimed.id, claimed.deliveries) == (long.id, 1)


def test_a_node_may_sleep_while_the_lane_works_and_not_when_it_is_gone(
    client: "redis.Redis",
) -> None:
    enter(client)
    accept(client, new_job(), laned())
    take(client)
    heartbeat(client)
    assert scripts.run(client, working.drain(NODE, BOOT)) == "draining"
    client.delete(names.LANE)
    assert scripts.run(client, working.drain(NODE, BOOT)) == "a job is abandoned"


@pytest.mark.parametrize("state", ["called", "loading", "working", "broken"])
def test_what_the_lane_will_answer_is_not_withdrawn(client: "redis.Redis", state: str) -> None:
    job = new_job()
    if state == "broken":
        break_lane(client)
    accept(client, job, laned())
    if state in ("loading", "working"):
        enter(client, phase=state)
    expected = "withdrawn" if state == "broken" else "kept"
    assert scripts.run(client, accepting.withdraw(job)) == expected
    assert scripts.run(client, accepting.withdraw(job, laned=False)) == "withdrawn"


@pytest.mark.parametrize(("works_ms", "alone"), [((), 7), ((20_000,) * 9 + (90_000,), 3)])
def test_by_backlog_a_node_is_woken_for_what_the_lane_would_not_finish_in_time(
    client: "redis.Redis", works_ms: tuple[int, ...], alone: int
) -> None:
    for ms in works_ms:
        scripts.run(client, lane.answered(None, ms))
    enter(client)
    answers = [accept(client, new_job(), laned("backlog")).wake for _ in range(alone + 1)]
    assert answers == [0] * alone + [1]
    client.delete(names.WAKE)
    assert reconcile(client, "backlog").wake == 1
    client.delete(names.WAKE)
    assert scripts.run(client, guarding.reconcile("g", 1, 1, laned("backlog").lane)).wake == 1
    client.delete(names.WAKE)
    client.xtrim(names.STREAM, maxlen=alone, approximate=False)
    assert reconcile(client, "backlog").wake == 0


# --- the guardian


@pytest.mark.parametrize(
    ("wakes", "prompt", "calls", "starts"),
    [
        ("always", SHORT, True, 1),
        ("always", LONG, False, 1),
        ("backlog", SHORT, True, 0),
        ("backlog", LONG, False, 1),
        ("never", SHORT, True, 0),
        ("never", LONG, True, 0),
    ],
)
def test_the_guardian_calls_or_wakes_for_what_nobody_has(
    client: "redis.Redis", wakes: str, prompt: str, calls: bool, starts: int
) -> None:
    accept(client, new_job(prompt=prompt), laned(wakes))
    client.delete(names.WAKE, names.LANE_WAKE)
    found = reconcile(client, wakes)
    assert (found.call, found.wake) == (calls, starts)
    client.delete(names.WAKE, names.LANE_WAKE)
    client.set(names.LATCH, "{}")
    found = reconcile(client, wakes)
    assert (found.call, found.wake) == (False, 0)


def test_the_guardian_calls_nobody_for_what_somebody_has_or_nobody_wants(
    client: "redis.Redis",
) -> None:
    held, long, cancelled, dead = new_job(), new_job(prompt=LONG), new_job(), new_job()
    accept(client, held, laned("backlog"))
    enter(client)
    [claimed] = take(client)
    client.delete(names.LANE)
    heartbeat(client, "loading")
    for job in (long, cancelled, dead):
        accept(client, job, laned("backlog"))
    client.delete(names.LANE_WAKE, names.job_key(dead.id))
    client.set(names.cancelled_key(cancelled.id), "user")
    assert not reconcile(client, "backlog").call
    age = ["XCLAIM", names.STREAM, names.GROUP, lane.consumer_name("lane-1"), 0, claimed.entry]
    client.execute_command(*age, "IDLE", names.LET_GO_S * 1000, "JUSTID")
    assert reconcile(client, "backlog").call, "its worker is dead"


def test_many_held_or_unsuited_jobs_do_not_hide_the_one_that_waits(client: "redis.Redis") -> None:
    enter(client)
    many = [new_job(prompt=LONG) for _ in range(250)]
    waiting = new_job()
    accept(client, waiting, laned())
    [claimed] = take(client)
    heartbeat(client, "loading")
    for job in many:
        accept(client, job, laned())
    for _ in range(13):
        assert take(client, count=20) == []
    assert leave(client) == "left"
    enter(client)
    name = lane.consumer_name("lane-1")
    scripts.run(client, working.hand_back(name, claimed.entry, claimed.id))
    assert leave(client) == "work"
    client.delete(names.LANE)
    assert reconcile(client).call


def test_a_latch_closes_the_lane(client: "redis.Redis") -> None:
    job = new_job(idempotency_key="k")
    enter(client)
    accept(client, job, laned())
    client.set(names.LATCH, '{"reason": "cap"}')
    assert refuse(client, new_job(), laned()).why == "latched"
    assert accept(client, dataclasses.replace(job, id=new_job().id), laned()).id == job.id
    assert (beat(client), take(client), leave(client)) == ("latched", [], "left")
    assert enter(client, "b") == "latched"
    assert not scripts.run(client, lane.call("t"))


def test_whose_job_expires_for_lack_of_the_lane_is_told_why(client: "redis.Redis") -> None:
    accept(client, new_job(), laned())
    long = new_job(prompt=LONG)
    accept(client, long, laned())
    enter(client)
    [claimed] = take(client)
    scripts.run(client, working.finish(claimed.entry, claimed.id))
    break_lane(client, "no weights; run make model")
    scripts.run(client, accepting.woken("t", failure=("code", "EC2 has no GPU now.")))
    client.delete(names.job_key(long.id))
    beyond = guarding.sweep(ttl_s=-1)
    _, [pending] = scripts.run(client, beyond)
    assert (pending.id, pending.status) == (long.id, "expired")
    assert pending.reason == (
        "no worker took it in time: EC2 has no GPU now. no weights; run make model"
    )


def test_refused_for_lack_of_a_lane_leaves_nothing_behind(client: "redis.Redis") -> None:
    break_lane(client, "no weights")
    assert refuse(client, new_job(idempotency_key="k"), laned("never")).detail == "no weights"
    enter(client, "late")
    assert accept(client, new_job(idempotency_key="k"), laned("never")).state == "queued"


# --- what it says of itself


def test_the_estimate_is_that_of_whoever_will_answer(client: "redis.Redis") -> None:
    for ms in (40_000, 61_000):
        scripts.run(client, working.heartbeat(NODE, BOOT, "draining", 0, {}, ms))
    short, long = new_job(), new_job(prompt=LONG)
    assert accept(client, short, laned()).estimate_ms == names.LANE_FIRST_MS
    for ms in (*range(900, 1_800, 100), 9_000):
        scripts.run(client, lane.answered(ms, 2_000))
    assert accept(client, short, laned()).estimate_ms == 1_700
    assert accept(client, long, laned()).estimate_ms == 61_000
    now = scripts.run(client, accepting.status())
    assert (now.estimate_ms, now.lane["estimate_ms"]) == (61_000, 1_700)
    break_lane(client)
    assert accept(client, new_job(), laned()).estimate_ms == 61_000


def test_a_cancelled_or_stopped_job_is_heard_of_by_the_lane(client: "redis.Redis") -> None:
    enter(client)
    for end in (
        lambda job: scripts.run(client, accepting.cancel(job.id, job.sub))[0] == "running",
        lambda job: scripts.run(client, accepting.stop())[0].entry,
    ):
        job = new_job()
        accept(client, job, laned())
        [claimed] = take(client)
        assert end(job)
        name = lane.consumer_name("lane-1")
        [why] = scripts.run(client, working.renew(name, [(claimed.entry, claimed.id)]))
        assert why in ("user", "stopped")
        scripts.run(client, working.finish(claimed.entry, claimed.id))
    accept(client, new_job(), laned())
    assert leave(client) == "work", "a later job is served"
    assert LANE.wakes == "always"
    assert read(client) != []
