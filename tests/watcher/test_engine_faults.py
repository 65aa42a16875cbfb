"""An engine that aborts, dies, hangs or talks nonsense (EC2-003): no job pays for it that did not
cause it, none is lost, and half a text is never `done`.
"""

import asyncio
from typing import Any

import pytest
from support.scripted_model import GARBAGE, WORD, scripted_model
from support.watchers import Bench, until

from tlfif import names
from tlfif.queue import accepting, scripts, working
from tlfif.queue.accepting import NewJob
from worker import gate as gates
from worker import job as jobs

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

# Where a test is about an engine's silence: longer than a machine with much to do is silent.
SILENT = {"engine_silence_s": 3.0, "engine_probe_s": 1.0}


def patience(fault: str) -> dict[str, float]:
    """The engine's usual one, unless the fault is that it hangs."""
    return SILENT if fault.startswith("h") else {}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "RETRY_AFTER_S", 0.1)
    monkeypatch.setattr(gates, "RESTART_AGAIN_S", 0.0)


async def ended(bench: Bench, *submitted: NewJob) -> list[dict[str, Any]]:
    """The final replies of jobs that ran at the same time."""
    await until(lambda: not bench.redis.xlen(names.STREAM) and not bench.pending(), 30)
    return [await bench.final(job) for job in submitted]


def whole(reply: dict[str, Any], tokens: int) -> bool:
    return (reply["status"], reply["text"]) == ("done", tokens * WORD)


@pytest.mark.parametrize(
    "fault",
    [
        "finish=abort",
        "finish=error",
        "finish=none",
        "finish=mute",
        "break_after=2",
        "error_after=2",
        "error_after=2 code=503",
        "error_after=0 code=429",
        "hang_after=2",
        "refuse=500",
        "refuse=503",
        *(f"garbage_after=2 garbage={each}" for each in GARBAGE),
    ],
)
async def test_a_fault_costs_a_try_and_never_an_answer(bench: Bench, fault: str) -> None:
    async with bench.watcher(**patience(fault)):
        reply = await bench.final(bench.submit(f"tokens=4 every=0.01 faults=1 {fault}"))
    assert whole(reply, 4)
    assert len(bench.model.asked) == 2


@pytest.mark.parametrize("fault", ["finish=abort", "error_after=2 code=503", "garbage_after=1"])
async def test_a_fault_that_is_the_job_s_ends_it_and_harms_nobody(bench: Bench, fault: str) -> None:
    async with bench.watcher():
        bad = bench.submit(f"tokens=4 {fault}")
        good = [bench.submit("tokens=5 every=0.05") for _ in range(6)]
        *finals, reply = await ended(bench, *good, bad)
    assert all(whole(each, 5) for each in finals)
    assert (reply["status"], reply["attempt"]) == ("failed", 3)
    assert 3 <= bench.model.asked.count(f"tokens=4 {fault}") <= 5
    assert bench.redis.xlen(names.DEAD_STREAM) == 1


async def test_length_is_told(bench: Bench) -> None:
    async with bench.watcher():
        cut = await bench.final(bench.submit("tokens=3 finish=length", max_tokens=3))
        full = await bench.final(bench.submit("tokens=3 finish=length"))
    assert (cut["status"], cut["finish_reason"]) == ("done", "length")
    assert cut["notice"] == "the answer was cut off: max_tokens is 3"
    assert full["notice"].endswith("prompt and answer share 2048 tokens")


@pytest.mark.parametrize("mode", ["dead", "hung", "aborting", "away"])
@pytest.mark.parametrize("slots", [1, 4])
async def test_an_engine_that_fails_everybody_charges_nobody(
    bench: Bench, mode: str, slots: int
) -> None:
    async with bench.watcher(gpu_slots=slots, **patience(mode)):
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        bench.model.mode = mode
        submitted = [bench.submit("tokens=3 every=0.01") for _ in range(20)]
        await until(lambda: bench.nodes() == {"i-0a": "loading"})
        await asyncio.sleep(1)
        assert len(bench.model.asked) <= slots, "the others were not even tried"
        assert bench.redis.xlen(names.STREAM) == 20
        bench.model.mode = ""
        finals = await ended(bench, *submitted)
    assert all(whole(reply, 3) for reply in finals)
    assert {reply["attempt"] for reply in finals} == {1}, "the jobs keep their deliveries"
    assert bench.redis.xlen(names.DEAD_STREAM) == 0


@pytest.mark.parametrize("mode", ["dead", "hung"])
async def test_an_engine_that_is_there_and_fails_is_restarted(
    bench: Bench, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts: list[str] = []

    async def restart(why: str) -> None:
        restarts.append(why)
        bench.model.mode = ""

    async with bench.watcher(**patience(mode)) as watcher:
        monkeypatch.setattr(watcher, "restart_engine", restart)
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        bench.model.mode = mode
        reply = await bench.final(bench.submit("tokens=3"))
    assert whole(reply, 3)
    assert len(restarts) == 1


async def test_a_job_that_breaks_the_engine_is_found_among_others(bench: Bench) -> None:
    """All that run when it strikes fail with it, time and again: in the end it runs alone."""
    async with bench.watcher(gpu_slots=4):
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        poison = bench.submit("tokens=9 every=0.02 drop_after=3")
        good = [bench.submit("tokens=6 every=0.05") for _ in range(3)]
        *finals, reply = await ended(bench, *good, poison)
    assert all(whole(each, 6) for each in finals)
    assert {each["attempt"] for each in finals} == {1}
    assert (reply["status"], reply["attempt"]) == ("failed", 3)
    assert bench.model.asked.count("tokens=9 every=0.02 drop_after=3") <= 5


async def test_a_crash_delays_nobody_by_a_lease(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=5 every=0.01 break_after=2 faults=1")
        reply = await bench.final(job, 30)
    assert whole(reply, 5)


async def test_a_cancelled_job_does_not_wait_for_the_verdict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "SETTLES_S", 10.0)
    async with bench.watcher():
        job = bench.submit("tokens=3 error_after=1")
        await until(lambda: (bench.reply(job) or {}).get("text"))
        assert scripts.run(bench.redis, accepting.cancel(job.id, "ada"))[0] == "running"
        reply = await bench.final(job, 8)
    assert (reply["status"], reply["reason"]) == ("cancelled", "user")


async def test_a_job_that_waits_for_the_engine_is_cancelled_within_a_second(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        bench.model.mode = "dead"
        job = bench.submit("tokens=3")
        await until(lambda: bench.nodes() == {"i-0a": "loading"})
        assert scripts.run(bench.redis, accepting.cancel(job.id, "ada"))[0] == "running"
        reply = await bench.final(job, 1.5)
    assert (reply["status"], reply["reason"]) == ("cancelled", "user")


async def test_a_job_goes_to_another_node_that_is_ready(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60), scripted_model() as other:
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        job = bench.submit("tokens=60 every=0.05")
        await until(lambda: bench.reply(job))
        async with bench.watcher(instance_id="i-0b", model_url=other.url, lease_idle_s=60):
            await until(lambda: bench.nodes().get("i-0b") == "ready")
            bench.model.mode = "aborting"
            reply = await bench.final(job)
    assert whole(reply, 60)
    assert (reply["worker"][:5], reply["attempt"]) == ("i-0b:", 1)


async def test_a_job_that_was_handed_back_is_cancelled_at_once(bench: Bench) -> None:
    """No worker has it: nobody would hear of it."""
    job = bench.submit("tokens=3")
    scripts.run(bench.redis, working.create_group())
    read: Any = bench.redis.xreadgroup(names.GROUP, "i-gone:1", {names.STREAM: ">"})
    entry = read[0][1][0][0]
    scripts.run(bench.redis, working.hand_back("i-gone:1", entry, job.id))
    assert scripts.run(bench.redis, accepting.cancel(job.id, "ada"))[0] == "cancelled"
    assert bench.pending() == []


async def test_a_reply_says_where_its_time_and_money_went(bench: Bench) -> None:
    async with bench.watcher(gpu_eur_per_hour=3600.0, engine="llama.cpp"):
        together = [bench.submit("tokens=10 every=0.1") for _ in range(4)]
        finals = await ended(bench, *together)
    ends = [reply["finished_at"] for reply in finals]
    shared_s = (max(ends) - min(reply["started_at"] for reply in finals)) / 1000
    for reply in finals:
        assert reply["engine"] == "llama.cpp"
        assert reply["finish_reason"] == "stop"
        quarter = pytest.approx(shared_s / 4, rel=0.3)
        assert reply["eur"] == quarter, "a EUR a second, and a quarter of the time it shared"
        times = [reply[f"{each}_at"] for each in ("created", "started", "first_token", "finished")]
        assert times == sorted(times)


async def test_a_reply_that_waits_for_its_engine_still_says_that_it_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "STILL_THERE_EVERY_S", 0.2)
    async with bench.watcher():
        job = bench.submit("tokens=1 first=3")
        await until(lambda: len(bench.versions(job)) > 2)
        first, *_, last = bench.versions(job)
        assert last["updated_at"] > first["updated_at"]
        assert last["status"] == "running"
