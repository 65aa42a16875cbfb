"""The instant lane while queue, S3 or engine do not answer."""

import asyncio
import contextlib

import pytest
from support import calm, jobs
from support.lanes import Site, offered
from support.watchers import until

from cpu_worker import lane as lane_module
from cpu_worker.failure import LaneInterrupted
from local.aws.faults import Fault
from tlfif import names
from tlfif.queue import lane, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


async def test_without_a_queue_the_call_fails(site: Site):
    await site.bench.valkey.stop()
    with pytest.raises(LaneInterrupted, match="queue does not answer"):
        await site.invoke()
    assert not site.engine.started
    # What it took is told by the next call.
    assert site.container.used.owed() > 0.5


async def test_a_queue_that_goes_for_good_ends_the_call(site: Site):
    site.bench.submit("tokens=400 every=0.05")
    site.limits = lane_module.Limits(beat_s=0.1, over_s=3.0, last_s=0.2, silence_s=3.0)
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    await site.bench.valkey.stop()
    began = calm.now()
    with pytest.raises(LaneInterrupted, match="queue does not answer"):
        await called
    assert calm.now() - began < 10
    assert site.container.used.owed() > 0.5


async def test_a_queue_that_comes_back_empty_is_survived(site: Site):
    job = site.bench.submit("tokens=60 every=0.05")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    await site.bench.valkey.stop()
    await site.bench.valkey.start()
    assert await called == "left"
    await until(lambda: (site.bench.reply(job) or {}).get("status") == "done")


async def test_a_queue_that_hangs_at_the_end_does_not_keep_it(site: Site):
    site.bench.submit("tokens=400 every=0.05")
    called = asyncio.create_task(site.invoke(seconds=5.0))
    await until(lambda: site.is_generating)
    began = calm.now()
    async with site.hung_queue():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(called), 0.1)
        assert await called == "over"
        assert calm.now() - began < 5.0


async def test_s3_that_does_not_answer_is_no_failure_of_the_lane(site: Site):
    site.bench.submit("tokens=3")
    site.fail_reads(503)
    with pytest.raises(LaneInterrupted, match="cannot be read"):
        await site.invoke()
    assert not site.bench.redis.exists(names.LANE, names.LANE_WAKE)
    assert site.bench.redis.hget(names.LANE_FAILURE, "code") == "LaneInterrupted"
    assert site.bench.redis.ttl(names.LANE_FAILURE) <= names.LANE_WAKE_TTL_S
    # Then the guardian calls again.
    site.bench.redis.delete(names.LANE_FAILURE)
    assert scripts.run(site.bench.redis, lane.call("t9"))


async def test_the_guardian_calls_it_for_what_a_killed_one_left(site: Site):
    job = site.bench.submit("tokens=3")
    scripts.run(site.bench.redis, lane.enter("dead"))
    jobs.read(site.bench.redis, worker=lane.consumer_name("dead"))
    site.bench.redis.delete(names.LANE)
    (entry,) = (pending["message_id"] for pending in site.bench.pending())
    site.bench.redis.xclaim(
        names.STREAM, names.GROUP, lane.consumer_name("dead"), 0, [entry], idle=30_000
    )
    assert await site.invoke() == "left"
    assert (await site.final(job))["status"] == "done"


@pytest.mark.parametrize("what", ["engine", "s3", "queue"])
async def test_whatever_hangs_it_returns_in_time(site: Site, what: str):
    job = site.bench.submit("tokens=400 every=0.05" + (" hang_after=3" if what == "engine" else ""))
    called = asyncio.create_task(site.invoke(seconds=6.0))
    await until(lambda: site.is_generating)
    began = calm.now()
    async with contextlib.AsyncExitStack() as stack:
        if what == "s3":
            hang = Fault("s3", "PutObject", hang=True, times=None)
            stack.enter_context(site.bench.endpoint.faults.injected(hang))
        if what == "queue":
            await stack.enter_async_context(site.hung_queue())
        assert await called == "over"
        assert calm.now() - began < 6.0
    if what != "queue":
        # Handed back: another has it at once.
        assert offered(site) == [job.id]
    else:
        (pending,) = site.bench.pending()
        assert pending["consumer"] == lane.consumer_name("t1")
