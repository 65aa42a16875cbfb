"""The instant lane beside a node's boot: from POST to the first token, cold and warm, and what the
cold one is made of; memory, and the bundle's size.

All of it in the local cloud: the lane's function from its bundle under AWS's runtime client, the
weights from moto's S3 through the endpoint. A round has each case, one after another. On AWS lane
and node have a machine each, so here one waits while the other works: EC2's own start, 20 to 30 s,
is in no figure.

    python -m bench.lane [rounds [memoryMb]]
"""

import argparse
import asyncio
import json
import statistics
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.arguments import count
from components import bundle
from gui.client import Client
from local.aws.ec2 import Delays
from local.aws.faults import Fault
from local.cloud import LocalCloud, Options
from local.users import login
from tlfif import names

SHORT = "What is the capital of France? Answer in one sentence."
LONG = "The keeper counts the ships that pass, and writes each of them down. " * 20
ANSWER: dict[str, Any] = {"max_tokens": 32, "temperature": 0, "idle_minutes": 30}
TIMEOUT_S = 180.0


class Bench:
    """One cloud, one user; `samples` are ms by case."""

    def __init__(self, cloud: LocalCloud, client: Client) -> None:
        self.cloud, self.client = cloud, client
        self.host = cloud.host("cpu_worker")
        self.samples: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, int] = {}
        self._gate = asyncio.Event()
        cloud.endpoint.on_instance_state(self._hold)

    async def round(self) -> None:
        """Every case once; begins and ends with everything off."""
        await self._with_lane()
        await self._without_lane()

    async def _with_lane(self) -> None:
        self._gate.clear()
        await self.host.recycle()
        self.cloud.logs.clear()
        self._note_parts(await self._ask("lane, cold", SHORT, names.LANE_ENGINE))
        await self._until("lane", "off")
        await self._ask("lane, warm", SHORT, names.LANE_ENGINE)
        await self._until("lane", "off")
        await self._ask(f"lane, warm, {len(LONG)} bytes", LONG, names.LANE_ENGINE)
        self.memory = memory(self.host.pids)
        await self._until("lane", "off")
        self._gate.set()
        await self._until("node", "ready")
        await self._ask("node, ready", SHORT, "")
        await self._stop()

    async def _without_lane(self) -> None:
        refused = {"status": 429, "code": "TooManyRequestsException"}
        with self.cloud.endpoint.faults.injected(Fault("lambda", "Invoke", **refused, times=None)):
            await self._ask("node, cold, without the lane", SHORT, "")
        await self._stop()
        with self.cloud.valkey.operator() as redis:
            # A lane that Lambda refused is not called for a moment.
            redis.delete(names.LANE_FAILURE)

    async def _ask(self, case: str, prompt: str, engine: str) -> dict[str, Any]:
        """One prompt to its end, and its reply; the sample is from acceptance to first token by the
        queue's clock, as its user sees it but for the network.
        """
        job = await asyncio.to_thread(lambda: self.client.infer(prompt, **ANSWER))
        *_, reply = await asyncio.to_thread(lambda: list(self.client.follow(job, every_s=0.1)))
        lane = reply.get("engine") == names.LANE_ENGINE
        if reply["status"] != "done" or lane != bool(engine):
            raise SystemExit(f"bench: {case}: not the answer that was expected: {reply}")
        self.samples[case].append(reply["first_token_at"] - reply["created_at"])
        if lane:
            self.samples[f"{case}: tokens/s"].append(reply["tokens_per_second"])
        return reply

    def _note_parts(self, reply: dict[str, Any]) -> None:
        """What the cold one took for, by the lane's log."""
        lines = [line for source, line in self.cloud.logs if source.endswith("cpu-worker")]
        told = {each["event"]: each for each in map(json.loads, filter(_is_event, lines))}
        loaded, claimed = told["engine_loaded"], told["job_claimed"]
        parts = {
            "Invoke and Python's start": told["lane_called"]["time"] - reply["created_at"],
            "S3 read and SHA-256": told["weights_read"]["ms"],
            "engine's load": loaded["ms"],
            "its first completion, and the claim": claimed["time"] - loaded["time"],
            "prefill: claim to first token": told["first_token"]["latency_ms"],
        }
        for what, ms in parts.items():
            self.samples[f"  of it: {what}"].append(ms)

    async def _stop(self) -> None:
        await asyncio.to_thread(self.client.stop)
        (instance_id,) = self.cloud.nodes

        async def stopped() -> bool:
            return await self.cloud.endpoint.instances.state(instance_id) == "stopped"

        await self.cloud.until(stopped, TIMEOUT_S, "the node is stopped")
        # A stop is of what came before it, by the queue's clock.
        await asyncio.sleep(0.5)

    async def _until(self, what: str, phase: str) -> None:
        async def so() -> bool:
            await asyncio.sleep(0.15)
            told = (await asyncio.to_thread(self.client.status))[what]
            return (told["phase"] if what == "lane" else told) == phase

        await self.cloud.until(so, TIMEOUT_S, f"the {what} is {phase}")

    async def _hold(self, instance_id: str, state: str) -> None:
        if state == "pending":
            await self._gate.wait()


def _is_event(line: str) -> bool:
    return line.startswith("{") and '"event"' in line


def memory(groups: list[int]) -> dict[str, int]:
    """Bytes resident in the processes of these groups: in all, and of those what no file holds."""
    found = {"RssAnon": 0, "RssFile": 0}
    for group in groups:
        for status in _statuses(group):
            for name in found:
                found[name] += int(status[name].split()[0]) * 1024
    return found


def _statuses(group: int) -> Iterator[dict[str, str]]:
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                lines = (folder / "status").read_text().splitlines()
                yield dict(line.split(":", 1) for line in lines)
        except (OSError, ValueError):
            continue


def sizes() -> str:
    """Of the bundle as Lambda gets it, beside Lambda's limits."""
    path = bundle.build("cpu_worker", "lambda")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(each.file_size for each in archive.infolist())
    return f"{path.stat().st_size / 1e6:.1f} MB zipped (50), {unpacked / 1e6:.1f} MB unzipped (262)"


def table(samples: dict[str, list[float]]) -> str:
    """A line for each case: median, least and most."""
    lines = [f"{'':44} {'median':>8} {'least':>8} {'most':>8}"]
    for case, each in samples.items():
        figures = (statistics.median(each), min(each), max(each))
        lines.append(f"{case:44} " + " ".join(f"{figure:8,.0f}" for figure in figures))
    return "\n".join(lines)


async def main(rounds: int, memory_mb: int | None) -> None:
    """Runs the rounds and prints their figures."""
    cpu: dict[str, Any] = {"memoryMb": memory_mb} if memory_mb else {}
    delays = Delays(pending_s=0.0, stopping_s=0.0)
    options = Options(lane=True, delays=delays, config={"tl-fif:cpu": cpu})
    async with LocalCloud(options) as cloud:
        token = await asyncio.to_thread(login, cloud)
        with Client(cloud.api_url, token) as client:
            bench = Bench(cloud, client)
            for _ in range(rounds):
                await bench.round()
        told = cloud.function("cpu_worker").memory_mb
    what = "SmolLM2-135M as F16 (271 MB), which the lane and the node have"
    print(f"{rounds} rounds; {what}; a lane of {told} MB; ms where it does not say tokens/s")
    print(table(bench.samples))
    anonymous, of_files = bench.memory["RssAnon"] / 1e6, bench.memory["RssFile"] / 1e6
    print(f"memory: {anonymous:.0f} MB, and {of_files:.0f} MB of files: weights and libraries")
    print(f"bundle: {await asyncio.to_thread(sizes)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=count, default=5)
    parser.add_argument("memory_mb", nargs="?", type=count)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.memory_mb))
