"""A boot step by step, out of the engine's log and the machine's processes (EC2-002, EC2-003)."""

import itertools
import os
import time
from pathlib import Path

import pytest
from support.watchers import Bench, Machine, until

from tlfif import names
from tlfif.queue import accepting, scripts
from watcher import steps
from watcher.memory import kernels_boot
from watcher.steps import Steps
from watcher.supervisor import Supervisor

pytestmark = pytest.mark.story("EC2-002", "EC2-003")

# As vLLM 0.19.1 wrote them on a CPU.
START = "(APIServer pid=11614) INFO 11-26 09:20:31 [utils.py:233] non-default args: {'port': 8000}"
CORE = "(EngineCore pid=12996) INFO 11-26 09:20:59 [core.py:105] Initializing a V1 LLM engine (v0)"
WEIGHTS = "(EngineCore pid=12996) INFO [default_loader.py:384] Loading weights took 0.70 seconds"
PROFILED = (
    "(EngineCore) INFO [core.py:283] init engine (profile, create kv cache) took 0.57 seconds"
)
LISTENING = "(APIServer pid=11614) INFO:     Application startup complete."
NOISE = ["", "Traceback (most recent call last):", "\x1b[31mé\xff", "x" * 5000]


class Log:
    """An engine's log, and the steps that are read from it."""

    def __init__(self, folder: Path):
        self.path = folder / "vllm.log"
        self.steps = Steps(Supervisor({}))

    def write(self, *lines: str) -> None:
        with self.path.open("a", encoding="latin-1") as file:
            file.writelines(f"{line}\n" for line in lines)

    def seen(self) -> list[str]:
        self.steps.look()
        return list(self.steps.reached())


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_each_step_is_reached_with_its_line(log: Log) -> None:
    log.steps.follow(log.path)
    began, expected = time.monotonic(), list[str]()
    lines = {
        "imported": START,
        "core": CORE,
        "weights": WEIGHTS,
        "profiled": PROFILED,
        "listening": LISTENING,
    }
    for step, line in lines.items():
        log.write(*NOISE)
        assert log.seen() == expected, "unknown lines are no steps"
        log.write(line)
        expected.append(step)
        assert log.seen() == expected
    at = log.steps.reached()
    assert began <= at["imported"] <= at["listening"] <= time.monotonic()
    log.write(START)
    log.steps.look()
    assert log.steps.reached() == at, "an engine that is started again boots no machine"


def test_a_line_may_come_in_parts_and_the_log_be_rotated(log: Log) -> None:
    log.write(*NOISE)
    log.steps.follow(log.path)
    with log.path.open("a") as file:
        file.write(START[:70])
    assert log.seen() == []
    with log.path.open("a") as file:
        file.write(f"{START[70:]}\n")
    assert log.seen() == ["imported"]
    log.path.write_text("")
    assert log.seen() == ["imported"]
    log.write(CORE)
    assert log.seen() == ["imported", "core"]
    log.path.unlink()
    assert log.seen() == ["imported", "core"]


def test_what_earlier_boots_wrote_is_not_this_one(log: Log) -> None:
    log.write(f"{names.LAUNCHER_BEGINS}0000", START, CORE, LISTENING)
    log.steps.follow(log.path)
    assert log.seen() == []
    log.write(START)
    assert log.seen() == ["imported"]


def test_what_this_boot_wrote_before_is(log: Log) -> None:
    log.write(f"{names.LAUNCHER_BEGINS}0000", START, CORE, LISTENING)
    log.write(names.LAUNCHER_BEGINS + kernels_boot(), START)
    log.steps.follow(log.path)
    assert log.seen() == ["imported"]


def test_what_began_before_the_machine_is_no_step_of_its_boot() -> None:
    with_all = Steps(Supervisor({}), booted_at=0)
    with_all.watch()
    assert list(with_all.reached()) == ["kernel", "userspace"]
    later = Steps(Supervisor({}), booted_at=time.monotonic())
    later.watch()
    assert later.reached() == {}
    assert abs((steps._started(os.getpid()) or 0) - time.monotonic()) < 3600


@pytest.mark.integration
async def test_a_boots_steps_are_in_the_heartbeat_and_in_its_history(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.steps.follow(log.path)
    log.write(START, WEIGHTS)
    monkeypatch.setattr("watcher.main.Steps", lambda _: log.steps)
    booted_at = time.monotonic()
    log.steps.look()
    async with bench.watcher(started_at=time.time(), booted_at=booted_at):
        await bench.final(bench.submit("tokens=2"))
        [node] = scripts.run(bench.redis, accepting.status()).nodes
    order = ["started", "imported", "weights", "loading", "ready"]
    assert set(order) <= set(node["timings"])
    told = scripts.run(bench.redis, accepting.status()).last_boot
    assert told is not None
    reached = [told[step] for step in order]
    # Two clocks, each rounded to a ms.
    assert all(after - before > -5 for before, after in itertools.pairwise(reached))
    assert bench.redis.llen(names.BOOT_STEPS) == bench.redis.llen(names.BOOTS) == 1


@pytest.mark.integration
async def test_why_the_engine_did_not_start_is_told_to_who_waits(
    bench: Bench, log: Log, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.steps.follow(log.path)
    log.write(
        "serve: boot 1", "serve: cannot start vLLM: no GPU in /proc: the driver is not loaded"
    )
    log.steps.look()
    monkeypatch.setattr("watcher.main.Steps", lambda _: log.steps)
    async with bench.watcher(boot_allowance_minutes=0.01, model_url="http://127.0.0.1:9"):
        await until(lambda: scripts.run(bench.redis, accepting.status()).failure)
        failure = scripts.run(bench.redis, accepting.status()).failure
    assert failure is not None
    assert failure["code"] == "EngineNotReady"
    assert "; cannot start vLLM: no GPU in /proc: the driver is not loaded)" in failure["message"]
    log.write(START)
    log.steps.look()
    assert log.steps.complaint == "", "it started after all"
