"""The instant lane's process: frozen between invocations, and killed in the middle of them."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.lanes import Site, environment, settings
from support.watchers import until

from tlfif import environment as environments
from tlfif import names
from tlfif.queue import lane, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

ROOT = Path(__file__).parents[2]


class Process:
    """The function's process."""

    def __init__(self, child: asyncio.subprocess.Process):
        self._child = child
        self.pid = child.pid

    async def invoke(self, seconds: float = 60.0) -> dict[str, Any]:
        """What it returned; {"error": "killed"} when it did not."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(f"{seconds}\n".encode())
            await self._child.stdin.drain()
            return json.loads(await self.said())
        except (ConnectionError, EOFError):
            return {"error": "killed"}

    async def said(self) -> str:
        """The next thing that it says; the rest is its log."""
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            if line.startswith(b"="):
                return line[1:].decode()
        raise EOFError

    @property
    def ended(self) -> bool:
        return self._child.returncode is not None

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await self._child.wait()

    async def freeze(self, site: Site, seconds: float) -> None:
        """As Lambda does it; meanwhile the other ends of its connections go."""
        os.kill(self.pid, signal.SIGSTOP)
        with contextlib.closing(site.bench.valkey.operator()) as operator:
            operator.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(seconds)
        os.kill(self.pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def process(site: Site, folder: Path, read_s: float = 0.1) -> AsyncIterator[Process]:
    """`read_s` is how long S3 takes to begin with a part of the weights."""
    told = settings(site.bench.valkey.port)
    variables = environments.CpuWorker.variables(**vars(told))
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "functions", "tests"))
    child = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "support.lane_process",
            site.bench.model.url,
            str(folder),
            str(read_s),
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            **environment(site.bench.endpoint),
            **variables,
            "PYTHONPATH": paths,
            "AWS_LAMBDA_FUNCTION_NAME": "cpu_worker",
        },
        cwd=ROOT,
    )
    made = Process(child)
    try:
        assert (await made.said()).strip() == "ready"
        yield made
    finally:
        await made.kill()


async def test_a_frozen_process_serves_again(site: Site, tmp_path: Path):
    async with process(site, tmp_path / "disk") as function:
        for _ in range(2):
            job = site.bench.submit("tokens=5 every=0.05")
            assert await function.invoke() == {"outcome": "left"}
            assert (await site.final(job))["status"] == "done"
            assert not site.bench.redis.exists(names.LANE)
            # Longer than S3 and the lane's own time-outs keep an idle connection.
            await function.freeze(site, 6.0)


async def test_one_that_was_frozen_while_it_read_its_weights_serves_again(
    site: Site, tmp_path: Path
):
    job = site.bench.submit("tokens=5")
    async with process(site, tmp_path / "disk", read_s=1.5) as function:
        called = asyncio.create_task(function.invoke())
        await until(lambda: list((tmp_path / "disk").glob("*.part")))
        site.bench.redis.hset(names.node_key("i-1"), "phase", "ready")
        site.bench.redis.zadd(names.NODES, {"i-1": time.time() * 1000})
        assert await called == {"outcome": "node"}
        assert not list((tmp_path / "disk").glob("*.gguf"))
        await function.freeze(site, 6.0)
        site.bench.redis.delete(names.node_key("i-1"))
        assert await function.invoke() == {"outcome": "left"}
        assert (await site.final(job))["status"] == "done"


async def test_what_a_frozen_one_had_left_is_not_its_any_more(site: Site, tmp_path: Path):
    """A process that freezes in the middle, which Lambda does not do, has lost its job."""
    job = site.bench.submit("tokens=60 every=0.05")
    async with process(site, tmp_path / "a") as first, process(site, tmp_path / "b") as second:
        called = asyncio.create_task(first.invoke())
        await until(lambda: site.is_generating)
        frozen = asyncio.create_task(first.freeze(site, 8.0))
        await until(lambda: not site.bench.redis.exists(names.LANE))
        await until(lambda: site.bench.pending()[0]["time_since_delivered"] > 1_000)
        assert await second.invoke() == {"outcome": "left"}
        final = await site.final(job)
        await frozen
        assert (await called) in ({"outcome": "left"}, {"outcome": "lost"})
        assert (await site.final(job)) == final
        assert (final["status"], final["attempt"]) == ("done", 2)


@pytest.mark.parametrize("seed", range(2))
async def test_what_a_killed_one_had_comes_back_and_ends_once(
    site: Site, tmp_path: Path, seed: int
):
    chance = random.Random(seed)
    waiting = [site.bench.submit(f"tokens={n} every=0.03") for n in (3, 10, 20, 5, 30, 1, 8, 15)]
    for number in range(4):
        async with process(site, tmp_path / str(number)) as function:
            called = asyncio.create_task(function.invoke())
            await asyncio.sleep(chance.uniform(0.0, 2.5))
            await function.kill()
            await called
    async with process(site, tmp_path / "last") as function:
        deadline = time.monotonic() + 60
        while site.bench.redis.xlen(names.STREAM) and time.monotonic() < deadline:
            # As the guardian does: whoever may call it, calls.
            if scripts.run(site.bench.redis, lane.call("guardian")):
                assert "error" not in await function.invoke()
            await asyncio.sleep(0.2)
    for job in waiting:
        final = await site.final(job)
        gave_up = final["status"] == "failed" and "its workers died" in final["error"]
        assert final["status"] == "done" or gave_up, final
    assert not site.bench.redis.exists(names.LANE)
