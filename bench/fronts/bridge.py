"""The first token through the bridge beside the raw path, cold and warm, in the same run.

Each case once, one after another: the API asked for its reply every 0.1 s, the headless client as
it comes, and a stream of the bridge's. Cold begins with the node off and has its boot here in it,
without EC2's own 20 to 30 s. The sample is what the caller sees: from before the post to the first
text.

    python -m bench.fronts.bridge [rounds]
"""

import asyncio
import json
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx

from bench.arguments import how_many
from gui.bridge.app import MODEL, Access, Bridge
from gui.bridge.stack.api import Api
from gui.bridge.stack.cognito import SignIn
from gui.client import Client, sign_in
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.machine.serving import serving
from local.users import create_user

USER = "ada@example.com"
PROMPT = "What is the capital of France? Answer in one sentence."
ANSWER: dict[str, Any] = {"max_tokens": 16, "temperature": 0, "idle_minutes": 30}
WARM_IN_A_ROUND = 10
RAW_EVERY_S, CLIENT_EVERY_S = 0.1, 0.5
TIMEOUT_S = 180.0
KEY = "the-key-of-this-bench"


class Bench:
    """One cloud, one user, one bridge; `samples` are ms by case."""

    def __init__(self, cloud: LocalCloud, client: Client, url: str) -> None:
        self.cloud, self.client, self.url = cloud, client, url
        self.samples: dict[str, list[float]] = defaultdict(list)
        self._ways: dict[str, Callable[[], float]] = {
            "raw, every 0.1 s": lambda: self._by_client(RAW_EVERY_S),
            "headless client": lambda: self._by_client(CLIENT_EVERY_S),
            "bridge": self._by_bridge,
        }

    async def round(self) -> None:
        """Each way once cold, and some times warm."""
        for name, way in self._ways.items():
            await self._stop()
            await self._sample(f"cold, {name}", way)
        for _ in range(WARM_IN_A_ROUND):
            for name, way in self._ways.items():
                await self._sample(f"warm, {name}", way)

    async def _sample(self, case: str, way: Callable[[], float]) -> None:
        with self.cloud.valkey.operator() as redis:
            # One user posts more often here than the stack allows.
            redis.delete(*(redis.keys("rate:*") or ["rate:nobody"]))
        self.samples[case].append(await asyncio.to_thread(way))

    def _by_client(self, every_s: float) -> float:
        began, first_ms = time.perf_counter(), None
        job = self.client.infer(PROMPT, **ANSWER)
        for reply in self.client.follow(job, every_s=every_s):
            if reply["text"] and first_ms is None:
                first_ms = (time.perf_counter() - began) * 1000
        return _there(first_ms)

    def _by_bridge(self) -> float:
        began, first_ms = time.perf_counter(), None
        messages = [{"role": "user", "content": PROMPT}]
        asked = {"model": MODEL, "messages": messages, "stream": True, **ANSWER}
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"{self.url}/v1/chat/completions"
        with httpx.stream(
            "POST", url, json=asked, headers=headers, timeout=TIMEOUT_S, trust_env=False
        ) as answer:
            for line in answer.iter_lines():
                if first_ms is None and _has_text(line):
                    first_ms = (time.perf_counter() - began) * 1000
        return _there(first_ms)

    async def _stop(self) -> None:
        await asyncio.to_thread(self.client.stop)
        (instance_id,) = self.cloud.nodes

        async def stopped() -> bool:
            return await self.cloud.endpoint.instances.state(instance_id) == "stopped"

        await self.cloud.until(stopped, TIMEOUT_S, "the node is stopped")
        # A stop is of what came before it, by the queue's clock.
        await asyncio.sleep(0.5)


def _there(first_ms: float | None) -> float:
    if first_ms is None:
        raise SystemExit("bench: there was no answer")
    return first_ms


def _has_text(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise SystemExit(f"bench: {event['error']['message']}")
    return bool(event["choices"][0]["delta"].get("content"))


def table(samples: dict[str, list[float]]) -> str:
    """A line for each case: how many, median, least and most."""
    lines = [f"{'':26} {'count':>6} {'median':>8} {'least':>8} {'most':>8}"]
    for case, each in samples.items():
        figures = (statistics.median(each), min(each), max(each))
        shown = " ".join(f"{figure:8,.0f}" for figure in figures)
        lines.append(f"{case:26} {len(each):6} {shown}")
    return "\n".join(lines)


async def main(rounds: int) -> None:
    """Runs the rounds and prints their figures."""
    options = Options(delays=Delays(pending_s=0.0, stopping_s=0.0))
    listener = socket.create_server(("127.0.0.1", 0))
    async with LocalCloud(options) as cloud, httpx.AsyncClient() as http:
        password = await asyncio.to_thread(create_user, cloud, USER)
        session = (cloud.endpoint.url, cloud.output("user_pool_client_id"), USER, password)
        token = await asyncio.to_thread(sign_in, *session)
        bridge = Bridge(Api(http, cloud.api_url, SignIn(http, *session)), Access(key=KEY), print)
        async with serving(bridge.app, listener) as url:
            with Client(cloud.api_url, token) as client:
                bench = Bench(cloud, client, url)
                for _ in range(rounds):
                    await bench.round()
        await bridge.close(1.0)
    print(f"{rounds} rounds; ms from before the post to the first text; SmolLM2-135M on this CPU")
    print(table(bench.samples))


if __name__ == "__main__":
    asyncio.run(main(how_many(__doc__, "rounds", 5)))
