"""The guardian's minute, on a real queue and the AWS endpoint: nodes for live jobs, answers for
dead ones.
"""

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
import redis
from support.world import BUCKET, World

from guardian import guardian
from local.aws.faults import Fault
from tlfif import names, nodes, replies, waking
from tlfif.queue import accepting, guarding, scripts, working

pytestmark = pytest.mark.integration

UNLIMITED = accepting.Limits(backlog_cap=10**9, burst=10**6, sustained=10**6, slots=8)


def accept(world: World, count: int = 1, sub: str = "ada") -> list[accepting.NewJob]:
    """Jobs that nobody woke a node for: as if their router had died at once."""
    jobs = [
        accepting.NewJob(id=str(uuid.uuid4()), sub=sub, prompt="Hello", idle_minutes=5)
        for _ in range(count)
    ]
    for job in jobs:
        scripts.run(world.queue, accepting.accept(job, UNLIMITED))
    world.queue.delete(names.WAKE)
    return jobs


def expire(world: World, jobs: list[accepting.NewJob], ago_s: int = 400) -> None:
    """Makes jobs as old as if they had been accepted that long ago: an entry's date is its id, so
    it is made again.
    """
    world.queue.delete(*(names.job_key(job.id) for job in jobs))
    gone = {job.id for job in jobs}
    entries: Any = world.queue.xrange(names.STREAM)
    long_ago = int(time.time() * 1000) - ago_s * 1000
    world.queue.delete(names.STREAM)
    for number, (entry, fields) in enumerate(entries):
        world.queue.xadd(
            names.STREAM, fields, f"{long_ago}-{number + 1}" if fields["id"] in gone else entry
        )


def silent(world: World, claimed: working.ClaimedJob, seconds: int, worker: str = "i-1:b1") -> None:
    """Makes a lease as old as if its worker had been silent that long."""
    world.queue.execute_command(
        "XCLAIM",
        names.STREAM,
        names.GROUP,
        worker,
        0,
        claimed.entry,
        "IDLE",
        seconds * 1000,
        "JUSTID",
    )


def ending(world: World, job: accepting.NewJob) -> tuple[str, str]:
    reply = world.reply(job.reply_key) or {}
    return reply.get("status", ""), reply.get("reason", "")


# --- the sweep


async def test_jobs_that_expired_are_answered_and_leave_no_trace(world: World) -> None:
    dead, alive = accept(world, 3), accept(world)
    expire(world, dead)
    await world.guard()
    assert [ending(world, job) for job in dead] == [("expired", "no worker took it in time")] * 3
    assert [fields["id"] for _, fields in world.queue.xrange(names.STREAM)] == [alive[0].id]
    assert world.queue.exists(names.PENDING_REPLIES) == 0
    await world.guard()
    assert world.calls("PutObject") == 3, "nothing is answered twice"


async def test_an_expired_job_belongs_to_its_worker_until_that_is_lost(world: World) -> None:
    [job] = accept(world)
    expire(world, [job])
    [claimed] = world.claim()
    await world.guard()
    assert world.queue.xlen(names.STREAM) == 1
    silent(world, claimed, names.LOST_S + 1)
    await world.guard()
    assert ending(world, job) == ("expired", "its worker was lost")
    assert (
        world.queue.xlen(names.STREAM),
        world.queue.xpending(names.STREAM, names.GROUP)["pending"],
    ) == (0, 0)


async def test_a_cancelled_job_whose_worker_died_ends_as_cancelled(world: World) -> None:
    [job] = accept(world)
    [claimed] = world.claim()
    assert scripts.run(world.queue, accepting.cancel(job.id, "ada"))[0] == "running"
    world.queue.delete(names.job_key(job.id))
    _, [pending] = scripts.run(world.queue, sweep_now(claimed, world))
    assert (pending.status, pending.reason) == ("cancelled", "user")


def sweep_now(claimed: working.ClaimedJob, world: World) -> scripts.Call[guarding.Page]:
    """A sweep for which everything is old."""
    silent(world, claimed, 1)
    time.sleep(0.002)
    return guarding.sweep(ttl_s=0, lost_s=0)


async def test_what_a_worker_wrote_before_it_was_lost_is_kept(world: World) -> None:
    [job] = accept(world)
    partial = b'{"status":"running","text":"Once upon","worker":"i-1:b1","sequence":3}'
    world.moto.client("s3").put_object(Bucket=BUCKET, Key=job.reply_key, Body=partial)
    expire(world, [job])
    await world.guard()
    reply = world.reply(job.reply_key) or {}
    assert (reply["status"], reply["text"], reply["worker"]) == (
        "expired",
        "Once upon",
        "guardian/1",
    )


async def test_an_answer_that_was_given_stands(world: World) -> None:
    [job] = accept(world)
    done = b'{"status":"done","text":"42"}'
    world.moto.client("s3").put_object(Bucket=BUCKET, Key=job.reply_key, Body=done)
    expire(world, [job])
    await world.guard()
    assert world.reply(job.reply_key) == {"status": "done", "text": "42"}
    assert world.queue.xlen(names.STREAM) == 0


@pytest.mark.story("LAM-003")
async def test_an_answer_that_is_gone_when_it_is_looked_at_is_written(world: World) -> None:
    """S3 refuses to write over something, and then has nothing: who may list sees a 404 there."""
    (job,) = accept(world)
    expire(world, [job])
    refused = Fault("s3", "PutObject", status=412, code="PreconditionFailed")
    with world.endpoint.faults.injected(refused):
        await world.guard()
    assert ending(world, job)[0] == "expired"


def test_a_sweep_is_done_in_pages(world: World) -> None:
    jobs = accept(world, 25)
    expire(world, jobs[:20])
    cursor, swept = "", list[str]()
    pages = 0
    while pages == 0 or cursor:
        cursor, pending = scripts.run(world.queue, guarding.sweep(cursor, 8))
        assert len(pending) <= 8
        swept += [each.id for each in pending]
        pages += 1
    assert (sorted(swept), pages) == (sorted(job.id for job in jobs[:20]), 3)
    assert set(world.queue.hkeys(names.PENDING_REPLIES)) == set(swept)


def test_consumers_of_nodes_that_are_gone_are_removed(world: World) -> None:
    accept(world)
    world.claim("i-gone:b1")
    world.claim("i-idle:b1")
    scripts.run(world.queue, working.heartbeat("i-here", "b1", "ready", 0, {}))
    world.claim("i-here:b1")
    time.sleep(0.01)
    scripts.run(world.queue, guarding.sweep(lost_s=0))
    consumers: Any = world.queue.xinfo_consumers(names.STREAM, names.GROUP)
    assert {consumer["name"] for consumer in consumers} == {"i-gone:b1", "i-here:b1"}, (
        "one holds a job, one is here"
    )


def test_an_empty_queue_can_be_swept(world: World) -> None:
    assert scripts.run(world.queue, guarding.sweep()) == ("", [])
    assert scripts.run(world.queue, guarding.pending(older_than_s=0)) == ("", [])
    assert scripts.run(world.queue, guarding.reconcile("t", 1, 8)) == guarding.Reconciliation(
        0, False, 0
    )
    assert world.queue.keys("*") == []


# --- half-done cancels


async def test_a_reply_that_a_dead_router_left_pending_is_written(world: World) -> None:
    old, new = accept(world, 2)
    for job in (old, new):
        scripts.run(world.queue, accepting.cancel(job.id, "ada"))
    pending = json.loads(world.queue.hget(names.PENDING_REPLIES, old.id) or "")
    world.queue.hset(
        names.PENDING_REPLIES, old.id, json.dumps(pending | {"at": pending["at"] - 11_000})
    )
    await world.guard()
    assert ending(world, old) == ("cancelled", "user")
    assert ending(world, new) == ("", ""), "its router may be about to write it"
    assert world.queue.hkeys(names.PENDING_REPLIES) == [new.id]


async def test_while_replies_cannot_be_written_nothing_is_swept(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0)
    first, second = accept(world, 2)
    expire(world, [first])
    with world.endpoint.faults.injected(
        Fault(service="s3", times=None, status=503, code="SlowDown")
    ):
        await world.guard()
        expire(world, [second])
        await world.guard()
    assert world.queue.hkeys(names.PENDING_REPLIES) == [first.id]
    assert world.queue.xlen(names.STREAM) == 1
    assert "SlowDown" in capsys.readouterr().out
    await world.guard()
    assert [ending(world, job)[0] for job in (first, second)] == ["expired", "expired"]


def test_writing_ends_in_time(world: World) -> None:
    pending = [
        guarding.PendingReply(job.id, job.reply_key, "expired", "") for job in accept(world, 3)
    ]
    written, why = replies.write_all(object(), BUCKET, pending, "guardian", time.monotonic() - 1)
    assert (written, why) == ([], "out of time")


# --- nodes


async def test_a_live_job_that_nobody_is_up_for_wakes_a_node(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    node = world.add_node()
    accept(world)
    await world.guard()
    await world.state(node, "running")
    assert world.queue.exists(names.WAKE)
    await world.guard()
    assert world.calls("StartInstances") == 1
    out = capsys.readouterr().out
    assert out.count(f'"{names.METRIC_EC2_STARTS}":1') == 1
    assert out.count(f'"{names.METRIC_QUEUE_DEPTH}":1') == 2


async def test_a_job_that_came_while_the_node_was_stopping_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "RETRY_S", 0.1)
    world.endpoint.instances.delays.stopping_s = 1.0
    node = world.add_node()
    await world.infer()
    await world.state(node, "running")
    await world.send("POST", "/stop")
    assert (await world.infer()).status == 202
    assert await world.endpoint.instances.state(node) == "stopping"
    await world.guard()
    await world.state(node, "running")
    assert world.calls("StartInstances") == 2


async def test_a_job_that_came_while_the_node_was_draining_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 says `running` until the node's own StopInstances: nobody may wait for that node."""
    monkeypatch.setattr(guardian, "RETRY_S", 0.1)
    node = world.add_node()
    world.moto.client("ec2").start_instances(InstanceIds=[node])
    await world.state(node, "running")
    scripts.run(world.queue, working.heartbeat(node, "b1", "ready", 0, {}))
    assert scripts.run(world.queue, working.drain(node, "b1")) == "draining"
    answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert world.queue.exists(names.WAKE) == 0, "the guardian may try"
    guarded = asyncio.create_task(world.guard())
    await asyncio.sleep(0.3)
    world.moto.client("ec2").stop_instances(InstanceIds=[node])
    await guarded
    await world.state(node, "running")
    assert world.calls("StartInstances") == 1


@pytest.mark.story("LAM-004")
async def test_the_first_of_two_nodes_to_come_does_not_wake_a_third(world: World) -> None:
    first, *_ = sorted(world.add_node() for _ in range(3))
    accept(world, 16)
    found = scripts.run(world.queue, guarding.reconcile("a", 3, 8))
    assert (found.wake, found.phases) == (2, {})
    await asyncio.to_thread(
        waking.start, world.caller(), "a", found.wake, found.phases, nodes.client(2.0)
    )
    assert world.calls("StartInstances") == 2
    scripts.run(world.queue, working.heartbeat(first, "b1", "booting", 0, {}))
    found = scripts.run(world.queue, guarding.reconcile("b", 3, 8))
    assert (found.wake, found.phases) == (1, {first: "booting"})
    outcome, _ = await asyncio.to_thread(
        waking.start, world.caller(), "b", found.wake, found.phases, nodes.client(2.0)
    )
    assert outcome is nodes.Outcome.COMING
    assert world.calls("StartInstances") == 2


@pytest.mark.parametrize("phase", ["booting", "loading", "ready"])
async def test_a_node_that_is_here_or_coming_is_enough(world: World, phase: str) -> None:
    world.add_node()
    accept(world)
    scripts.run(world.queue, working.heartbeat("i-1", "b1", phase, 0, {}))
    await world.guard()
    assert world.calls("StartInstances") == 0


async def test_nobody_is_woken_for_the_dead_or_under_a_latch_or_twice(world: World) -> None:
    world.add_node()
    jobs = accept(world, 2)
    expire(world, jobs)
    assert scripts.run(world.queue, guarding.reconcile("t", 1, 8)) == guarding.Reconciliation(
        0, False, 2
    )
    accept(world)
    world.queue.set(names.LATCH, "{}")
    assert scripts.run(world.queue, guarding.reconcile("t", 1, 8)).wake == 0
    await world.guard()
    assert world.calls("StartInstances") == 0
    world.queue.delete(names.LATCH)
    assert scripts.run(world.queue, guarding.reconcile("a", 1, 8)).wake == 1
    assert scripts.run(world.queue, guarding.reconcile("b", 1, 8)).wake == 0


def test_as_many_nodes_as_the_live_jobs_need(world: World) -> None:
    accept(world, 20)
    assert scripts.run(world.queue, guarding.reconcile("a", 4, 8)).wake == 3
    assert scripts.run(world.queue, guarding.reconcile("a", 2, 8)).wake == 2


async def test_without_capacity_the_job_waits_for_the_next_minute(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    node = world.add_node()
    [job] = accept(world)
    fault = Fault(
        service="ec2", operation="StartInstances", status=500, code="InsufficientInstanceCapacity"
    )
    with world.endpoint.faults.injected(fault):
        await world.guard()
    assert world.queue.exists(names.job_key(job.id))
    assert world.queue.exists(names.WAKE) == 0
    assert f'"{names.METRIC_EC2_CAPACITY_ERRORS}":1' in capsys.readouterr().out
    await world.guard()
    await world.state(node, "running")


async def test_a_throttled_ec2_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "RETRY_S", 0.05)
    node = world.add_node()
    accept(world)
    world.endpoint.faults.add(
        Fault(
            service="ec2",
            operation="DescribeInstances",
            status=503,
            code="RequestLimitExceeded",
            times=2,
        )
    )
    await world.guard()
    await world.state(node, "running")


async def test_a_node_that_was_starting_when_it_was_told_to_stop_is_stopped(world: World) -> None:
    world.endpoint.instances.delays.pending_s = 2.0
    node = world.add_node()
    await world.infer()
    assert (await world.send("POST", "/stop")).body == {"status": "stopping", "jobs": 1, "nodes": 0}
    await world.guard()
    await world.state(node, "running")
    with world.endpoint.faults.injected(
        Fault(service="ec2", operation="StopInstances", status=503, code="Down")
    ):
        await world.guard()
    assert await world.endpoint.instances.state(node) == "running"
    await world.guard()
    await world.state(node, "stopped")
    assert world.calls("StartInstances") == 1


async def test_a_queue_that_does_not_answer_fails_the_run(world: World) -> None:
    await world.valkey.stop()
    with pytest.raises(redis.ConnectionError):
        await world.guard()
    await world.valkey.start()
    await asyncio.sleep(0)
    await world.guard()
