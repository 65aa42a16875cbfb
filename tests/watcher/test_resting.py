"""When a node rests, and that no job suffers from it (EC2-004)."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from support.scripted_model import away
from support.watchers import LIMITS, Bench, Machine, until

from tlfif import names
from tlfif.queue import accepting, guarding, scripts, working

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


@pytest.mark.story("EC2-004")
async def test_a_job_sets_how_long_the_node_waits_after_it(
    bench: Bench, node_machine: Machine
) -> None:
    async with bench.watcher(seconds_per_minute=1, idle_minutes=30):
        job = bench.submit("tokens=8 every=0.2", idle_minutes=1)
        reply = await bench.final(job)
        ended = reply["finished_at"] / 1000 - time.time() + time.monotonic()
        await until(lambda: node_machine.stops)
        assert 1 <= node_machine.stops[0] - ended < 3
        assert bench.nodes() == {"i-0a": "draining"}


@pytest.mark.story("EC2-004")
async def test_a_loading_node_does_not_rest_within_its_allowance(
    bench: Bench, node_machine: Machine
) -> None:
    with away(bench.model):
        async with bench.watcher(seconds_per_minute=0.2, idle_minutes=1):
            await asyncio.sleep(1)
            assert node_machine.stops == []


@pytest.mark.story("EC2-004")
async def test_a_node_whose_engine_never_loads_rests_in_time_and_says_why(
    bench: Bench, node_machine: Machine
) -> None:
    job, begun = bench.submit("tokens=1"), time.monotonic()
    with away(bench.model):
        async with bench.watcher(boot_allowance_minutes=2 / 60):
            await until(lambda: node_machine.stops)
            assert 2 <= node_machine.stops[0] - begun < 8
            status = scripts.run(bench.redis, accepting.status())
    assert [node["phase"] for node in status.nodes] == ["draining"]
    assert status.failure is not None
    assert status.failure["code"] == "EngineNotReady"
    for part in ("i-0a", "its engine does not answer", "/var/log/tl-fif/vllm.log"):
        assert part in status.failure["message"]
    bench.redis.delete(names.job_key(job.id))
    [ended] = scripts.run(bench.redis, guarding.sweep(ttl_s=0))[1]
    assert (ended.status, "its engine does not answer" in ended.reason) == ("expired", True)


@pytest.mark.story("EC2-004")
async def test_why_a_node_gave_up_is_told_until_one_is_ready(
    bench: Bench, node_machine: Machine
) -> None:
    def failure() -> dict[str, Any] | None:
        return scripts.run(bench.redis, accepting.status()).failure

    with away(bench.model):
        async with bench.watcher(boot_allowance_minutes=0.5 / 60):
            await until(failure)
        async with bench.watcher(boot_allowance_minutes=2 / 60):
            await until(lambda: bench.nodes() == {"i-0a": "loading"})
            assert failure(), "a boot that again never loads does not hide it"
            bench.model.mode = ""
            await until(lambda: bench.nodes() == {"i-0a": "ready"})
            assert failure() is None


@pytest.mark.story("EC2-004")
async def test_an_engine_that_flaps_without_an_answer_uses_up_the_allowance(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.watcher(boot_allowance_minutes=1 / 60):
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        begun = time.monotonic()
        while not node_machine.stops:
            assert time.monotonic() < begun + 10
            # A job makes the watcher doubt its engine, and is handed back each time.
            bench.submit("tokens=1 refuse=503")
            await asyncio.sleep(0.1)


@pytest.mark.story("EC2-004")
async def test_a_queue_that_never_answers_uses_up_the_allowance(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.heartbeat.EVERY_S", 0.1)
    async with bench.watcher(boot_allowance_minutes=1 / 60, idle_minutes=30):
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        begun = time.monotonic()
        await bench.valkey.stop()
        await until(lambda: node_machine.stops)
        assert time.monotonic() - begun < 5
        await bench.valkey.start()


@pytest.mark.story("RED-003")
async def test_a_job_that_was_handed_back_is_served_before_those_that_came_after_it(
    bench: Bench,
) -> None:
    first = bench.submit("tokens=1 job=first")
    scripts.run(bench.redis, working.create_group())
    read: Any = bench.redis.xreadgroup(names.GROUP, "i-gone:1", {names.STREAM: ">"})
    scripts.run(bench.redis, working.hand_back("i-gone:1", read[0][1][0][0], first.id))
    for number in range(20):
        bench.submit(f"tokens=1 job={number}")
    async with bench.watcher(gpu_slots=1):
        await until(lambda: bench.model.asked)
    assert "job=first" in str(bench.model.asked[0]), "not after the twenty that nobody has read yet"


@pytest.mark.story("EC2-004")
async def test_a_node_does_not_rest_while_a_job_is_abandoned_and_takes_it(
    bench: Bench, node_machine: Machine
) -> None:
    job = bench.submit("tokens=1")
    scripts.run(bench.redis, working.create_group())
    bench.redis.xreadgroup(names.GROUP, "i-dead:1", {names.STREAM: ">"})
    async with bench.watcher(seconds_per_minute=0.1, idle_minutes=1, lease_idle_s=2):
        await asyncio.sleep(1)
        assert node_machine.stops == []
        await bench.final(job)


@pytest.mark.story("EC2-004")
async def test_a_job_that_comes_after_the_drain_is_left_for_the_next_boot(
    bench: Bench, node_machine: Machine
) -> None:
    async with bench.watcher(seconds_per_minute=0.2, idle_minutes=1):
        await until(lambda: node_machine.stops)
        late = accepting.NewJob(id=str(uuid.uuid4()), sub="ada", prompt="tokens=1", idle_minutes=5)
        answer = scripts.run(bench.redis, accepting.accept(late, LIMITS))
        assert isinstance(answer, accepting.Accepted)
        assert (answer.state, answer.wake) == ("starting", 1)
        await asyncio.sleep(0.5)
        assert bench.model.asked == []


@pytest.mark.story("EC2-004")
async def test_a_node_that_cannot_stop_itself_serves_again(
    bench: Bench, node_machine: Machine
) -> None:
    node_machine.refuses = node_machine.stays = True
    async with bench.constructed(seconds_per_minute=0.2, idle_minutes=1) as watcher:
        assert await watcher.run() == 1, "supervisord starts a new one"
    async with bench.watcher(seconds_per_minute=60):
        await bench.final(bench.submit("tokens=1"))


@pytest.mark.story("EC2-004")
async def test_a_node_that_ec2_does_not_stop_powers_itself_off(
    bench: Bench, node_machine: Machine
) -> None:
    node_machine.refuses = True
    async with bench.watcher(seconds_per_minute=0.2, idle_minutes=1):
        await until(lambda: node_machine.powered_off)
        assert node_machine.counted == 1, "before the machine goes"


@pytest.mark.story("EC2-004")
async def test_a_restarted_watcher_goes_on_counting(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TLFIF_STATE_FOLDER", str(tmp_path))
    begun = time.monotonic()
    while not node_machine.stops:
        assert time.monotonic() < begun + 10, "each of them for a second, and none is idle for 3"
        async with bench.watcher(seconds_per_minute=3, idle_minutes=1):
            await asyncio.sleep(1)
    assert node_machine.stops[0] - begun > 2.5


@pytest.mark.story("EC2-004")
async def test_nothing_outlives_the_longest_lifetime(bench: Bench, node_machine: Machine) -> None:
    """One hour at 0.1 s a minute is 6 s, the last half second of which is the grace."""
    async with bench.watcher(
        seconds_per_minute=0.1, max_lifetime_hours=1, grace_s=0.5, idle_minutes=30
    ):
        job = bench.submit("tokens=1000 every=0.05", idle_minutes=30)
        await until(lambda: node_machine.stops)
        assert [entry["times_delivered"] for entry in bench.pending()] == [0]
        assert (bench.reply(job) or {})["status"] == "running"


@pytest.mark.story("EC2-004")
async def test_a_node_that_is_told_to_drain_stops_its_machine(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.heartbeat.EVERY_S", 0.2)
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        scripts.run(bench.redis, accepting.stop())
        await until(lambda: node_machine.stops)
