"""A queue that came back with its data, but without what happened last: an AOF that was a second
behind, a replica that took over. Whatever reappears, or is forgotten, ends once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from support import lost
from support.jobs import new_job
from support.lost import UNLIMITED, ending, start
from support.world import World

from guardian import guardian
from guardian.search import REASON
from tlfif import names
from tlfif.queue import accepting, guarding, scripts, working
from tlfif.queue.working import ClaimedJob

pytestmark = [pytest.mark.integration, pytest.mark.story("RED-003")]

NOT_TAKEN, WORKER_LOST = "no worker took it in time", "its worker was lost"
Saved = dict[bytes, tuple[int, bytes]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is silent is lost, and whatever is pending is written."""
    monkeypatch.setattr(names, "SILENT_S", 0)
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0)


def save(world: World) -> Saved:
    with world.valkey.operator(protocol=2) as raw:
        keys: Any = raw.keys()
        values: Any = [(raw.pttl(key), raw.dump(key)) for key in keys]
        return dict(zip(keys, values, strict=True))


def come_back(world: World, saved: Saved) -> None:
    """The server runs again, as it was then; it has another run id."""
    with world.valkey.operator(protocol=2) as raw:
        raw.flushall()
        for key, (ttl_ms, value) in saved.items():
            raw.restore(key, max(0, ttl_ms), value)
    if world.queue.exists(names.SEARCH):
        world.queue.hset(names.SEARCH, "server", "the one before")


def accept(world: World) -> ClaimedJob:
    """A job that nobody has claimed; its entry and its reply's key are known all the same."""
    job = new_job()
    scripts.run(world.queue, accepting.accept(job, UNLIMITED))
    entry = str(world.queue.hget(names.job_key(job.id), "entry"))
    return ClaimedJob(entry, job.id, job.reply_key, 0, "", None)


async def delete(world: World, claimed: ClaimedJob) -> tuple[int, str]:
    answer = await world.send("DELETE", "/infer/{id}", job=claimed.id)
    return answer.status, answer.body.get("status", "")


# --- what is undone: each returns a job whose caller was promised something


async def a_final_acknowledgement(world: World) -> ClaimedJob:
    [claimed] = start(world)
    before = save(world)
    lost.write(world, claimed, "done", "42")
    lost.finish(world, claimed)
    come_back(world, before)
    assert await delete(world, claimed) == (202, "cancelling"), "which it is not: polling tells"
    return claimed


async def a_delivery(world: World) -> ClaimedJob:
    claimed = accept(world)
    before = save(world)
    [claimed] = world.claim()
    lost.write(world, claimed)
    come_back(world, before)
    [again] = world.claim("i-2:b1")
    assert (again.id, again.deliveries) == (claimed.id, 1), "somebody has it again"
    return again


async def an_acceptance(world: World) -> ClaimedJob:
    await world.guard()
    before = save(world)
    [claimed] = start(world)
    come_back(world, before)
    return claimed


async def an_acceptance_that_nobody_had_seen(world: World) -> ClaimedJob:
    await world.guard()
    before = save(world)
    claimed = accept(world)
    come_back(world, before)
    assert await delete(world, claimed) == (404, "")
    return claimed


async def a_cancellation(world: World) -> ClaimedJob:
    claimed = accept(world)
    before = save(world)
    assert await delete(world, claimed) == (200, "cancelled")
    come_back(world, before)
    return claimed


async def a_cancellation_that_its_worker_had_not_heard(world: World) -> ClaimedJob:
    [claimed] = start(world)
    before = save(world)
    assert await delete(world, claimed) == (202, "cancelling")
    come_back(world, before)
    assert await delete(world, claimed) == (202, "cancelling"), "the caller may say it again"
    return claimed


async def a_withdrawal(world: World) -> ClaimedJob:
    """Its caller was told 503; it may run all the same, as if the answer had been lost."""
    job = new_job(idempotency_key="one")
    scripts.run(world.queue, accepting.accept(job, UNLIMITED))
    before = save(world)
    assert scripts.run(world.queue, accepting.withdraw(job)) == "withdrawn"
    come_back(world, before)
    again: Any = scripts.run(
        world.queue, accepting.accept(new_job(idempotency_key="one"), UNLIMITED)
    )
    assert again.id == job.id, "the caller who tries again gets it"
    return ClaimedJob("", job.id, job.reply_key, 0, "", None)


async def a_promise_to_repeat_the_answer(world: World) -> ClaimedJob:
    world.heartbeat()
    before = save(world)
    first = await world.infer(**{"Idempotency-Key": "one"})
    come_back(world, before)
    second = await world.infer(**{"Idempotency-Key": "one"})
    assert first.body["id"] != second.body["id"], "one of the two nobody waits for"
    key = names.reply_key("ada", second.body["id"])
    return ClaimedJob("", second.body["id"], key, 0, "", None)


async def a_pending_reply_that_was_written(world: World) -> ClaimedJob:
    claimed = accept(world)
    scripts.run(world.queue, accepting.cancel(claimed.id, "ada"))
    before = save(world)
    await world.guard()
    assert not world.queue.exists(names.PENDING_REPLIES)
    come_back(world, before)
    return claimed


async def a_sweep(world: World) -> ClaimedJob:
    [claimed] = start(world)
    world.queue.delete(names.job_key(claimed.id))
    before = save(world)
    scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=-1))
    await world.guard()
    come_back(world, before)
    return claimed


UNDONE: dict[Callable[[World], Awaitable[ClaimedJob]], tuple[str, str]] = {
    a_final_acknowledgement: ("done", ""),
    a_delivery: ("expired", WORKER_LOST),
    an_acceptance: ("expired", REASON),
    # No reply: past `expires_at` clients say that it has expired.
    an_acceptance_that_nobody_had_seen: ("", ""),
    a_cancellation: ("cancelled", "user"),
    a_cancellation_that_its_worker_had_not_heard: ("cancelled", "user"),
    a_withdrawal: ("expired", NOT_TAKEN),
    a_promise_to_repeat_the_answer: ("expired", NOT_TAKEN),
    a_pending_reply_that_was_written: ("cancelled", "user"),
    a_sweep: ("expired", WORKER_LOST),
}


@pytest.mark.parametrize("undo", UNDONE)
async def test_whatever_is_undone_ends_once(
    world: World, undo: Callable[[World], Awaitable[ClaimedJob]]
) -> None:
    claimed = await undo(world)
    told = ending(world, claimed)
    # No worker comes any more.
    world.queue.delete(names.job_key(claimed.id))
    await asyncio.sleep(0.002)
    for _ in range(2):
        scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=-1))
        await world.guard()
    assert ending(world, claimed) == UNDONE[undo]
    assert told == UNDONE[undo] or told[0] in ("", "running"), "who was told an ending keeps it"
    assert (world.queue.xlen(names.STREAM), world.queue.exists(names.PENDING_REPLIES)) == (0, 0)


async def test_a_job_that_is_delivered_again_after_its_end_is_removed(world: World) -> None:
    claimed = await a_cancellation(world)
    [again] = world.claim()
    written = world.reply(claimed.reply_key)
    lost.finish(world, again)
    assert (world.queue.xlen(names.STREAM), world.reply(claimed.reply_key)) == (0, written)


async def test_a_wake_that_reappears_wears_off(world: World) -> None:
    node = world.add_node()
    accept(world)
    before = save(world)
    assert world.queue.exists(names.WAKE)
    world.heartbeat(node=node)
    assert not world.queue.exists(names.WAKE)
    come_back(world, before)
    assert 0 < world.queue.pttl(names.WAKE) <= names.WAKE_TTL_S * 1000 < names.JOB_TTL_S * 1000
    world.queue.delete(names.WAKE)
    await world.guard()
    await world.state(node, "running")


@pytest.mark.story("LAM-004")
async def test_a_latch_that_the_queue_forgot_still_holds(world: World) -> None:
    """The nodes bear it as a tag, which IAM reads too."""
    world.add_node(**{names.LATCH_TAG: "2026-11"})
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert world.queue.xlen(names.STREAM) == 0
    accept(world)
    world.queue.delete(names.WAKE)
    await world.guard()
    assert world.calls("StartInstances") == 0


async def test_a_wish_to_stop_that_reappears_stops_no_node_that_works(world: World) -> None:
    node = world.add_node()
    scripts.run(world.queue, accepting.stop())
    before = save(world)
    [claimed] = start(world)
    assert not world.queue.exists(names.STOP), "a later job was claimed"
    come_back(world, before)
    scripts.run(world.queue, accepting.accept(new_job(), UNLIMITED))
    world.heartbeat(node=node)
    found = scripts.run(world.queue, guarding.reconcile("t", 1, 8))
    assert (found.stop, found.depth) == (False, 1)
    world.claim(f"{node}:b1")
    assert not world.queue.exists(names.STOP)
    assert ending(world, claimed)[0] == "running"


async def test_a_run_that_reappears_keeps_others_out_for_less_than_a_minute(world: World) -> None:
    assert scripts.run(world.queue, guarding.begin_run(names.GUARDIAN, "t"))
    before = save(world)
    scripts.run(world.queue, guarding.end_run(names.GUARDIAN, "t", done=True))
    come_back(world, before)
    assert 0 < world.queue.ttl(names.run_key(names.GUARDIAN)) < 60


async def test_a_consumer_whose_group_is_gone_gets_its_jobs_again(world: World) -> None:
    [claimed] = start(world)
    world.queue.xgroup_destroy(names.STREAM, names.GROUP)
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        scripts.run(world.queue, working.claim("i-1:b1", [claimed.entry], 1))
    assert [each.id for each in world.claim()] == [claimed.id]
