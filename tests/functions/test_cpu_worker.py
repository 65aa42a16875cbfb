"""The instant lane as a whole: it enters, prepares, serves and leaves."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

import pytest
from support import calm, jobs
from support.lanes import LIMITS, WEIGHTS, Site, offered
from support.scripted_model import WORD
from support.watchers import until

from cpu_worker import lane as lane_module
from cpu_worker.failure import LaneFailure
from tlfif import names
from tlfif.queue import accepting, lane, scripts
from worker.consumer import Consumer
from worker.model import Patience

# As long as a job that failed may take to come back.
PATIENT = dataclasses.replace(LIMITS, stay_s=4.0)

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


def used_s(site: Site) -> float:
    return float(site.bench.redis.hget(names.LANE_USE, lane.month()) or 0)


def consumers(site: Site) -> list[str]:
    found = site.bench.redis.xinfo_consumers(names.STREAM, names.GROUP)
    return [each["name"] for each in found if each["name"] != names.NOBODY]


async def test_it_answers_what_waits_and_leaves(site: Site):
    job = site.bench.submit("tokens=5")
    began = time.monotonic()
    assert await site.invoke() == "left"
    took_s = time.monotonic() - began
    final = await site.final(job)
    assert (final["status"], final["engine"]) == ("done", names.LANE_ENGINE)
    assert final["eur"] > 0
    assert site.engine.loaded == [WEIGHTS]
    assert not site.bench.redis.exists(names.LANE, names.LANE_WAKE)
    assert not consumers(site)
    assert 0.5 * took_s < used_s(site) + site.container.used.owed() <= took_s + 0.1
    (first,) = site.bench.redis.lrange(names.LANE_FIRSTS, 0, -1)
    assert int(first) == final["first_token_at"] - final["created_at"]
    assert len(site.bench.redis.lrange(names.LANE_WORKS, 0, -1)) == 1


async def test_the_next_call_has_the_engine_and_reads_nothing(site: Site):
    for number in range(3):
        job = site.bench.submit("tokens=2")
        assert await site.invoke(token=f"t{number}") == "left"
        assert (await site.final(job))["status"] == "done"
    assert len(site.engine.loaded) == 1


async def test_a_call_with_nothing_to_do_loads_nothing(site: Site):
    """Lambda delivers an event twice now and then."""
    assert await site.invoke() == "left"
    assert not site.engine.loaded
    assert not site.engine.started


async def test_a_job_that_comes_with_the_last_read_is_not_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    came: list[accepting.NewJob] = []
    close_if = Consumer.close_if

    async def with_another(self: Consumer, agreed: Callable[[], Awaitable[bool]]) -> bool:
        if len(came) < 2:
            came.append(site.bench.submit("tokens=10 every=0.05"))
            await until(lambda: self.in_flight)
        return await close_if(self, agreed)

    monkeypatch.setattr(Consumer, "close_if", with_another)
    came.append(site.bench.submit("tokens=2"))
    assert await site.invoke() == "left"
    assert len(came) == 2
    for job in came:
        final = await site.final(job)
        assert (final["status"], final["attempt"]) == ("done", 1)


async def test_of_two_calls_at_once_one_is_the_lane(site: Site):
    waiting = [site.bench.submit("tokens=10 every=0.05") for _ in range(4)]
    said = await asyncio.gather(site.invoke(token="t1"), site.invoke(token="t2"))
    assert sorted(said) == ["busy", "left"]
    finals = [await site.final(job) for job in waiting]
    assert len({final["worker"] for final in finals}) == 1
    assert not site.successors


async def test_the_latch_keeps_it_out(site: Site):
    site.bench.submit("tokens=1")
    site.bench.redis.set(names.LATCH, "1")
    assert await site.invoke() == "latched"
    assert not site.engine.started
    assert not site.successors


@pytest.mark.parametrize("how", ["node", "latched"])
async def test_it_finishes_what_runs_when_a_node_is_ready_or_the_budget_is_spent(
    site: Site, how: str
):
    running = site.bench.submit("tokens=30 every=0.05")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    if how == "node":
        jobs.heartbeat(site.bench.redis)
    else:
        site.bench.redis.set(names.LATCH, "1")
    later = site.bench.submit("tokens=1") if how == "node" else None
    assert await called == how
    final = await site.final(running)
    assert (final["status"], final["attempt"]) == ("done", 1)
    if later is not None:
        assert site.bench.reply(later) is None
        assert offered(site) == [later.id]
    assert not site.successors


async def test_a_node_that_is_ready_before_it_has_loaded_gets_the_job(site: Site):
    site.engine.load_s = 1.0
    job = site.bench.submit("tokens=1")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.engine.started)
    jobs.heartbeat(site.bench.redis)
    began = calm.now()
    assert await called == "node"
    assert calm.now() - began < 0.9
    assert offered(site) == [job.id]
    # What it had begun is there for the next call.
    await until(lambda: site.engine.is_up)


async def test_when_its_time_is_short_it_hands_back_and_calls_its_successor(site: Site):
    long, short = site.bench.submit("tokens=400 every=0.05"), site.bench.submit("tokens=2")
    began = calm.now()
    assert await site.invoke(seconds=6.0) == "over"
    assert calm.now() - began < 5.5
    assert site.successors == ["t1"]
    assert (await until_final(site, short))["status"] == "done"
    (pending,) = site.bench.pending()
    assert pending["consumer"] == names.NOBODY
    assert site.bench.reply(long)["status"] == "running"
    assert site.bench.redis.get(names.LANE_WAKE) == "t1"
    # The next one has it from the beginning, and it is its first delivery that counts.
    site.bench.redis.hset(names.job_key(long.id), "prompt", "tokens=3")
    assert await site.invoke(token="t2") == "left"
    final = await site.final(long)
    assert (final["status"], final["text"]) == ("done", WORD * 3)


async def until_final(site: Site, job: accepting.NewJob) -> dict:
    await until(lambda: not site.bench.redis.exists(names.job_key(job.id)))
    reply = site.bench.reply(job)
    assert reply is not None
    return reply


async def test_what_lambda_does_not_take_is_called_by_others(site: Site):
    site.bench.submit("tokens=400 every=0.05")

    def refuse(token: str) -> None:
        raise RuntimeError("TooManyRequestsException")

    site.call_successor = refuse
    assert await site.invoke(seconds=5.0) == "over"
    assert not site.bench.redis.exists(names.LANE_WAKE)


async def test_another_lane_ends_this_one(site: Site):
    """Its heartbeat had run out, say while the process was frozen."""
    job = site.bench.submit("tokens=100 every=0.05")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    site.bench.redis.hset(names.LANE, "token", "t2")
    assert await called == "lost"
    (pending,) = site.bench.pending()
    assert (pending["consumer"], pending["times_delivered"]) == (names.NOBODY, 0)
    assert site.bench.redis.hget(names.LANE, "token") == "t2"
    assert site.bench.reply(job)["status"] == "running"


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_what_is_cancelled_ends_within_a_second(site: Site, how: str):
    job = site.bench.submit("tokens=200 every=0.05")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    began = calm.now()
    if how == "cancel":
        scripts.run(site.bench.redis, accepting.cancel(job.id, job.sub))
    else:
        scripts.run(site.bench.redis, accepting.stop())
    await until(lambda: not site.bench.model.running)
    assert calm.now() - began < 1.0
    assert await called == "left"
    assert (await site.final(job))["status"] == "cancelled"


async def test_a_job_that_failed_by_itself_is_waited_for(site: Site):
    job = site.bench.submit("error_after=1 faults=1 tokens=3")
    site.limits = PATIENT
    assert await site.invoke() == "left"
    final = await site.final(job)
    assert (final["status"], final["attempt"]) == ("done", 2)


# --- the engine fails


async def test_an_engine_whose_process_dies_is_started_again(site: Site):
    site.limits = PATIENT
    job = site.bench.submit("tokens=40 every=0.05 drop_after=5 faults=1")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.is_generating)
    site.engine.is_up = False
    assert await called == "left"
    assert (await site.final(job))["status"] == "done"
    assert len(site.engine.loaded) == 2


async def test_an_engine_that_hangs_is_started_again(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lane_module, "PATIENCE", Patience(silence_s=0.5, probe_s=0.5))
    job = site.bench.submit("tokens=3 hang_after=1 faults=1")
    called = asyncio.create_task(site.invoke())
    await until(lambda: site.bench.model.asked)
    site.bench.model.mode = "hung"
    site.engine.on_load = lambda: setattr(site.bench.model, "mode", "")
    assert await called == "left"
    assert (await site.final(job))["status"] == "done"
    assert site.engine.stopped


async def test_an_engine_that_fails_again_and_again_is_given_up(site: Site):
    site.bench.model.mode = "away"
    job = site.bench.submit("tokens=3")
    called = asyncio.create_task(site.invoke())

    async def die() -> None:
        while True:
            await until(lambda: site.engine.is_up)
            await asyncio.sleep(0.2)
            site.engine.is_up = False

    dying = asyncio.create_task(die())
    with pytest.raises(LaneFailure, match="again and again"):
        await called
    dying.cancel()
    assert_failed(site, "EngineFailed")
    assert offered(site) == [job.id]


async def test_an_engine_that_loads_and_gives_no_token_is_given_up(site: Site):
    site.bench.model.mode = "away"
    site.bench.submit("tokens=3")
    site.limits = lane_module.Limits(beat_s=0.1, over_s=3.0, ready_s=0.5)
    with pytest.raises(LaneFailure, match="gave no token for"):
        await site.invoke()
    assert_failed(site, "EngineFailed")
    assert not site.successors


async def test_weights_that_do_not_load_are_read_again_by_the_next_call(site: Site):
    site.bench.submit("tokens=3")
    site.engine.refuses = "tensor data is not within the file bounds"
    with pytest.raises(LaneFailure, match="file bounds; run: make model STACK=dev"):
        await site.invoke()
    assert_failed(site, "EngineFailed")
    site.engine.refuses = ""
    assert await site.invoke(token="t2") == "left"
    assert len(site.engine.loaded) == 2


async def test_without_weights_it_says_how_to_bring_them(site: Site):
    site.bench.submit("tokens=3")
    site.remove_weights()
    with pytest.raises(LaneFailure, match="run: make model STACK=dev"):
        await site.invoke()
    assert_failed(site, "NoWeights")
    # They may come at any moment, and nobody tells.
    assert site.bench.redis.ttl(names.LANE_FAILURE) <= names.LANE_WEIGHTS_TTL_S


def assert_failed(site: Site, code: str) -> None:
    """/status says so, and nobody calls it."""
    assert site.bench.redis.hget(names.LANE_FAILURE, "code") == code
    assert not site.bench.redis.exists(names.LANE)
    assert not scripts.run(site.bench.redis, lane.call("t9"))
    assert used_s(site) > 0


async def test_weights_that_take_too_long_are_a_failure(site: Site):
    site.bench.submit("tokens=3")
    site.engine.load_s = 1.5
    site.limits = lane_module.Limits(beat_s=0.1, over_s=3.0, prepare_s=0.5)
    with pytest.raises(LaneFailure, match="not there after"):
        await site.invoke()
    # The next call waits for what the last one began.
    site.bench.redis.delete(names.LANE_FAILURE)
    site.limits = lane_module.Limits(beat_s=0.1, over_s=3.0, stay_s=0.3)
    assert await site.invoke(token="t2") == "left"
    assert len(site.engine.loaded) == 1
