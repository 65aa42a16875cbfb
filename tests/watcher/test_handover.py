"""Whatever fails (nodes, queue or storage), no job is lost and none answered twice (EC2-003)."""

import asyncio
import os
import signal

import pytest
from support.scripted_model import WORD
from support.watchers import LEASE_IDLE_S, Bench, until

from local.aws.faults import Fault
from tlfif import names
from worker import queue

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


async def test_the_first_stop_lets_running_jobs_finish(bench: Bench) -> None:
    async with bench.watcher() as watcher:
        job = bench.submit("tokens=10 every=0.1")
        await until(lambda: bench.reply(job))
        watcher.stop()
        reply = await bench.final(job)
        assert (reply["status"], reply["attempt"]) == ("done", 1)
        await until(lambda: bench.nodes() == {})


async def test_the_second_stop_hands_back_without_counting_the_delivery(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=20 every=0.1")
        await until(lambda: bench.reply(job))
    # The block's end told it twice.
    await until(lambda: bench.model.aborted == 1)
    assert [entry["times_delivered"] for entry in bench.pending()] == [0]
    async with bench.watcher(instance_id="i-0b", lease_idle_s=60):
        # At once: the lease of who handed it back does not have to run out.
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"], reply["text"]) == ("done", 1, 20 * WORD)
    assert reply["worker"].startswith("i-0b:")


@pytest.mark.parametrize("after_s", [0, 0.002, 0.005, 0.02, 0.05])
async def test_a_watcher_can_be_stopped_while_it_boots(bench: Bench, after_s: float) -> None:
    bench.model.mode = "away"
    async with bench.watcher():
        await asyncio.sleep(after_s)
    assert bench.nodes() == {}


async def test_the_grace_ends(bench: Bench) -> None:
    async with bench.watcher(grace_s=0.3) as watcher:
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        watcher.stop()
        await until(lambda: bench.model.aborted == 1, 2)
    assert [entry["times_delivered"] for entry in bench.pending()] == [0]


async def test_a_lost_lease_stops_generation_and_writing(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        (entry,) = bench.pending()
        bench.redis.xclaim(names.STREAM, names.GROUP, "i-other:1", 0, [entry["message_id"]])
        await until(lambda: bench.model.aborted == 1, 1)
        written = len(bench.versions(job))
        await asyncio.sleep(1.2)
        assert len(bench.versions(job)) == written
        assert [entry["consumer"] for entry in bench.pending()] == ["i-other:1"]


async def test_a_frozen_worker_yields_to_the_one_that_took_over(bench: Bench) -> None:
    """Its lease ran out while it stood still; when it wakes, its writes are refused before its
    lease is looked at.
    """
    async with bench.watcher(lease_renew_s=60, instance_id="i-frozen", gpu_slots=1):
        job = bench.submit("tokens=30 every=0.1")
        await until(lambda: bench.reply(job))
        async with bench.watcher(instance_id="i-next"):
            reply = await bench.final(job)
            assert reply["worker"].startswith("i-next:")
            assert (reply["attempt"], reply["text"]) == (2, 30 * WORD)
            assert bench.model.aborted == 1


async def test_two_watchers_share_the_queue_and_answer_everything_once(bench: Bench) -> None:
    jobs = [bench.submit("tokens=3 every=0.05") for _ in range(24)]
    async with bench.watcher(instance_id="i-0a"), bench.watcher(instance_id="i-0b"):
        await until(lambda: not bench.redis.xlen(names.STREAM))
        finals = [await bench.final(job) for job in jobs]
    assert {reply["status"] for reply in finals} == {"done"}
    assert len(bench.model.asked) == 24
    assert {reply["worker"][:4] for reply in finals} == {"i-0a", "i-0b"}


async def test_no_more_jobs_than_slots(bench: Bench) -> None:
    jobs = [bench.submit("tokens=5 every=0.1") for _ in range(6)]
    most = 0
    async with bench.watcher(gpu_slots=2):
        while bench.redis.xlen(names.STREAM):
            most = max(most, bench.model.running)
            await asyncio.sleep(0.02)
        for job in jobs:
            await bench.final(job)
    assert most == 2


async def test_what_a_queue_forgets_its_worker_finishes_and_says_so(bench: Bench) -> None:
    async with bench.watcher():
        lost = bench.submit("tokens=40 every=0.05")
        await until(lambda: bench.reply(lost))
        await forget(bench)
        later = await bench.final(bench.submit("tokens=2"))
        assert later["status"] == "done"
        await until(lambda: (bench.reply(lost) or {})["status"] != "running")
        reply = await bench.final(lost)
    assert (reply["status"], reply["text"]) == ("done", 40 * WORD)
    assert reply["notice"] == "the queue lost its memory meanwhile"
    assert "notice" not in later


async def test_what_a_queue_forgets_ends_with_its_worker(bench: Bench) -> None:
    async with bench.watcher():
        lost = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(lost))
        await forget(bench)
        await bench.final(bench.submit("tokens=2"))
    reply = await bench.final(lost)
    assert (reply["status"], reply["reason"]) == (
        "expired",
        "the queue lost it, and its worker had to stop",
    )


async def test_what_a_queue_forgets_can_be_cancelled(bench: Bench) -> None:
    async with bench.watcher():
        lost = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(lost))
        await forget(bench)
        bench.redis.set(names.cancelled_key(lost.id), "user")
        await until(lambda: (bench.reply(lost) or {})["status"] == "cancelled", 2)
        reply = await bench.final(lost)
    assert (reply["status"], reply["reason"]) == ("cancelled", "user")


async def test_a_queue_that_forgot_who_has_a_job_is_told(bench: Bench) -> None:
    """As after a restart with data that is a second old."""
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=30 every=0.05")
        await until(lambda: bench.reply(job))
        bench.redis.xgroup_destroy(names.STREAM, names.GROUP)
        await until(bench.pending)
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"], len(bench.model.asked)) == ("done", 1, 1)


async def forget(bench: Bench) -> None:
    await bench.valkey.stop()
    await asyncio.sleep(0.5)
    await bench.valkey.start()


async def test_a_queue_that_hangs_delays_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "TIMEOUT_S", 0.3)
    pid = bench.redis.info("server")["process_id"]
    async with bench.watcher(lease_idle_s=30):
        job = bench.submit("tokens=10 every=0.1")
        await until(lambda: bench.reply(job))
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(2)
            reply = bench.reply(job)
            assert reply is not None
            assert reply["status"] == "done", "the model and S3 need no queue"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await bench.final(job))["attempt"] == 1
        assert (await bench.final(bench.submit("tokens=1")))["status"] == "done"


async def test_the_final_reply_waits_for_s3(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        with bench.endpoint.faults.injected(Fault("s3", status=503, code="SlowDown", times=None)):
            job = bench.submit("tokens=3")
            await until(lambda: len(bench.model.asked) == 1 and bench.model.running == 0)
            await asyncio.sleep(2 * LEASE_IDLE_S)
            assert bench.reply(job) is None
            assert [entry["times_delivered"] for entry in bench.pending()] == [1], (
                "the lease is kept meanwhile"
            )
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"], len(bench.model.asked)) == ("done", 1, 1)


async def test_a_write_that_timed_out_but_stands_is_recognised(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        # Longer than the client waits; the endpoint carries the request out all the same.
        bench.endpoint.faults.add(Fault("s3", "PutObject", delay_s=1.3, times=2))
        reply = await bench.final(bench.submit("tokens=3"))
    assert reply["status"] == "done"
