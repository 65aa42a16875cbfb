"""Tokens per second through the watcher beside the same prompts sent straight to the engine.

Rounds alternate between the two, so that what else the machine does hits both; every ratio is of
one such pair. The engine is the local model server, the watcher a process as on the node, with real
Valkey and moto's S3; a one-at-a-time worker (one slot) gets the same jobs. The router is no part of
it. On this machine engine, watcher and S3 share the processors; the paced engine generates at a
fixed speed and uses next to none of them, as a GPU does.

Beside throughput: how long after the engine's first token the first partial reply with text is in
S3, by the records of the local endpoint, and CPU seconds per 1,000 tokens.

    python -m bench.worker [rounds] [local | paced]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.arguments import count
from bench.nodes import Node, Nodes, ended, nodes, serve_script
from local.machine.ports import free_port
from local.machine.processes import Processes
from recording.model import ROOT
from tlfif.queue import accepting

IN_FLIGHT = (1, 8, 16)
# Jobs a round, by how many are in flight: each slot gets two, one after the other.
JOBS = {1: 4, 8: 16, 16: 32}
ONE_AT_A_TIME_JOBS = 8
MAX_TOKENS = 64
ROUNDS = 3
PACE_S = 0.03
PLACES = (
    "lighthouse", "harbour", "mountain village", "desert town", "space station", "old library",
    "river boat", "night train", "glass house", "winter forest", "clock tower", "quiet island",
    "market square", "castle", "coal mine", "orchard",
)  # fmt: skip


@dataclass
class Level:
    """What was measured with so many jobs in flight; one entry a round."""

    direct: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)
    direct_cpu: list[float] = field(default_factory=list)
    through_cpu: list[float] = field(default_factory=list)
    first_partials_ms: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Through the watcher, as a share of straight to the engine, by pairs."""
        return [mine / floor for mine, floor in zip(self.through, self.direct, strict=True)]


class Bench:
    """An engine and watchers that differ in their slots."""

    def __init__(
        self,
        stack: Nodes,
        engine_url: str,
        watchers: dict[int, Node],
        prompts_of: Callable[[int], list[str]],
    ):
        self._stack, self._url, self._watchers = stack, engine_url, watchers
        self._prompts_of = prompts_of
        self.levels = {each: Level() for each in IN_FLIGHT}
        self.one_at_a_time: list[float] = []

    async def round(self, number: int) -> None:
        """Every level once, straight and through the watcher, in turns who begins."""
        for in_flight in IN_FLIGHT:
            prompts = self._prompts_of(JOBS[in_flight])
            both = [self.straight(in_flight, prompts), self.through(in_flight, prompts)]
            for measured in both if number % 2 else reversed(both):
                await measured
            level = self.levels[in_flight]
            print(
                f"round {number + 1}, {in_flight:2} in flight: straight {level.direct[-1]:6.1f}, "
                f"through {level.through[-1]:6.1f} tokens/s",
                file=sys.stderr,
                flush=True,
            )
        tokens, seconds, _, _ = await self._run(
            self._watchers[1], self._prompts_of(ONE_AT_A_TIME_JOBS)
        )
        self.one_at_a_time.append(tokens / seconds)

    async def straight(self, in_flight: int, prompts: Sequence[str]) -> None:
        """The prompts sent to the engine by a client of its own process."""
        argv = ["-m", "bench.plain_client", self._url, str(in_flight), str(MAX_TOKENS)]
        client = await asyncio.create_subprocess_exec(
            sys.executable, *argv, cwd=ROOT, stdin=-1, stdout=-1
        )
        out, _ = await client.communicate("\n".join(prompts).encode())
        measured = json.loads(out)
        level, tokens = self.levels[in_flight], measured["tokens"]
        level.direct.append(tokens / measured["seconds"])
        level.direct_cpu.append(measured["cpu_s"] * 1000 / tokens)

    async def through(self, in_flight: int, prompts: Sequence[str]) -> None:
        """The prompts as jobs in a watcher's queue."""
        tokens, seconds, cpu, partials = await self._run(self._watchers[in_flight], prompts)
        level = self.levels[in_flight]
        level.through.append(tokens / seconds)
        level.through_cpu.append(cpu * 1000 / tokens)
        level.first_partials_ms += partials

    async def _run(
        self, node: Node, prompts: Sequence[str]
    ) -> tuple[int, float, float, list[float]]:
        """Tokens, seconds from the first accept to the last final reply in S3, the watcher's CPU
        seconds, and how long each first partial took, in ms.
        """
        assert node.watcher is not None
        began, cpu = time.time(), cpu_s(node.watcher.pid)
        jobs = [node.submit(each, max_tokens=MAX_TOKENS, temperature=0) for each in prompts]
        finals = [await node.final(job, timeout_s=300) for job in jobs]
        cpu = cpu_s(node.watcher.pid) - cpu
        finished = max(ended(self._stack.writes(job)[-1]) for job in jobs)
        bad = [reply for reply in finals if reply["status"] != "done"]
        if bad:
            raise SystemExit(f"bench: {len(bad)} jobs did not end well: {bad[0]}")
        tokens = sum(reply["completion_tokens"] for reply in finals)
        partials = await asyncio.to_thread(self._first_partials, jobs)
        return tokens, finished - began, cpu, partials

    def _first_partials(self, jobs: Sequence[accepting.NewJob]) -> list[float]:
        """Per job, ms from the engine's first token to the end of the S3 call that showed it."""
        return [self._first_partial(job) for job in jobs]

    def _first_partial(self, job: accepting.NewJob) -> float:
        for body, write in zip(self._stack.history(job), self._stack.writes(job), strict=True):
            if body["first_token_at"] is not None:
                return ended(write) * 1000 - body["first_token_at"]
        raise SystemExit(f"bench: {job.id} has no reply with text")


def stories(count: int) -> list[str]:
    """Different prompts for a model, the same in every round."""
    return [
        f"Write a long story, number {number}, that happens in a {PLACES[number % len(PLACES)]}."
        for number in range(count)
    ]


def scripts(count: int) -> list[str]:
    """Prompts that tell the paced engine when to say what."""
    return [f"tokens={MAX_TOKENS} every={PACE_S} n={number}" for number in range(count)]


def cpu_s(pid: int) -> float:
    """CPU seconds that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def serve(procs: Processes, slots: int) -> str:
    """Starts the local model server; its URL."""
    port = free_port()
    argv = [sys.executable, "-m", "local.node.model_server", "--port", str(port)]
    await procs.start("model", [*argv, "--slots", str(slots)], cwd=ROOT)
    return f"http://127.0.0.1:{port}"


def report(bench: Bench) -> str:
    """The tables."""
    lines = [
        f"{'':12} {'straight':>9} {'through':>9} {'ratio':>6}  {'ratios of the rounds':24}"
        f" {'CPU s per 1,000 tokens':>26}",
        f"{'in flight':12} {'tokens/s':>9} {'tokens/s':>9} {'':6}  {'':24}"
        f" {'httpx':>12} {'watcher':>13}",
    ]
    for in_flight, level in bench.levels.items():
        spread = " ".join(f"{each:.2f}" for each in level.ratios)
        lines.append(
            f"{in_flight:<12} {middle(level.direct):9.1f} {middle(level.through):9.1f} "
            f"{middle(level.ratios):6.3f}  {spread:24} "
            f"{middle(level.direct_cpu):12.2f} {middle(level.through_cpu):13.2f}"
        )
    fastest = middle(bench.levels[max(IN_FLIGHT)].through)
    alone = middle(bench.one_at_a_time)
    lines += [
        f"one at a time: {alone:.1f} tokens/s; {max(IN_FLIGHT)} in flight {fastest / alone:.2f} "
        "times as many",
        "",
        f"{'first partial in S3 after the first token, ms':46} {'p50':>6} {'p95':>6} {'max':>6}",
    ]
    for in_flight, level in bench.levels.items():
        cuts = statistics.quantiles(level.first_partials_ms, n=100, method="inclusive")
        name = f"{in_flight} in flight, {len(level.first_partials_ms)} jobs"
        longest = max(level.first_partials_ms)
        lines.append(f"{name:46} {cuts[49]:6.0f} {cuts[94]:6.0f} {longest:6.0f}")
    return "\n".join(lines)


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


async def main(rounds: int, engine: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with nodes(Path(folder)) as stack:
            paced = engine == "paced"
            if paced:
                url = await serve_script(stack.procs)
            else:
                url = await serve(stack.procs, max(IN_FLIGHT))
            watchers = {slots: await stack.add() for slots in IN_FLIGHT}
            for slots, node in watchers.items():
                await node.boot(url, gpu_slots=slots)
                await node.ready()
            bench = Bench(stack, url, watchers, scripts if paced else stories)
            for number in range(rounds):
                await bench.round(number)
    print(f"{rounds} rounds, {MAX_TOKENS} tokens an answer, medians; the {engine} engine")
    print(report(bench))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=count, default=ROUNDS)
    parser.add_argument("engine", nargs="?", choices=["local", "paced"], default="local")
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.engine))
