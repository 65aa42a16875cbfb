"""The router's handler, warm, from its bundle under the runtime client, with a real Valkey: queued,
refused, invalid, and calling the instant lane, if the stack has one.

The floor is measured in the same run: one RS256 verification and one round trip of the accept
script.

    python -m bench.router [calls] [--limit]

With `--limit` it ends with 1 when a warm POST /infer takes longer than LAM-005 allows, p95.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.arguments import count
from bench.figures import percentiles, table
from local.cloud import LocalCloud, Options
from local.lambda_.model import InvokeResult
from local.users import login
from tlfif import names, tokens
from tlfif.environment import UserPool
from tlfif.queue import accepting, scripts, working

WARM_UP = 50


def event(token: str, body: str) -> bytes:
    """API Gateway's proxy event for POST /infer."""
    sent = {
        "resource": "/infer",
        "path": "/infer",
        "pathParameters": None,
        "httpMethod": "POST",
        "headers": {"Authorization": token, "Origin": "http://localhost:3000"},
        "body": body,
        "isBase64Encoded": False,
        "requestContext": {"requestId": str(uuid.uuid4())},
    }
    return json.dumps(sent).encode()


class Bench:
    """One router with one worker, and a node that says it is ready, so that nothing is woken."""

    def __init__(self, cloud: LocalCloud, token: str, calls: int) -> None:
        self.cloud, self.token, self.calls = cloud, token, calls
        self.host = next(
            h for h in cloud.hosts.values() if h.function.handler.startswith("router.")
        )
        self.redis = scripts.connect(cloud.valkey.host, cloud.valkey.port)

    def reset(self) -> None:
        """An empty queue, a ready node, no rate limit reached."""
        with self.cloud.valkey.operator() as operator:
            operator.flushall()
        scripts.run(self.redis, working.heartbeat("i-0123456789abcdef0", "b", "ready", 0, {}))

    def coming(self) -> None:
        """An empty queue and a node that loads: nothing is woken, and the lane is called."""
        self.reset()
        scripts.run(self.redis, working.heartbeat("i-0123456789abcdef0", "b", "loading", 0, {}))

    def called(self) -> None:
        """The same, and the lane is being called by another."""
        self.coming()
        self.redis.set(names.LANE_WAKE, "another")

    def answer_calls(self) -> None:
        """Lambda takes every call, and runs nothing: it would take the processors."""

        async def nothing(name: str, payload: bytes, context: str | None) -> InvokeResult:
            return InvokeResult(b"null", None, "", 0.0, False, "r")

        self.cloud.endpoint.on_invoke = nothing

    async def case(self, body: str, status: int, before: Callable[[], Any]) -> dict[str, float]:
        """The function's own durations in ms, as Lambda would bill them."""
        samples = []
        for number in range(self.calls + WARM_UP):
            before()
            result = await self.host.invoke(event(self.token, body))
            answer = json.loads(result.payload)
            if answer.get("statusCode") != status:
                raise SystemExit(f"bench: expected {status}, got {answer}")
            if number >= WARM_UP:
                samples.append(result.duration_ms)
        return percentiles(samples)

    def floor(self) -> dict[str, float]:
        """One RS256 verification and one accept, in this process."""
        pool = UserPool.read(self.cloud.function("router").environment)
        keys = self.cloud.endpoint.jwks_url(pool.user_pool_id)
        verifier = tokens.for_pool("us-east-1", replace(pool, jwks_url=keys))
        samples = []
        for number in range(self.calls + WARM_UP):
            self.reset()
            job = accepting.NewJob(
                id=str(uuid.uuid4()), sub="bench", prompt="Hello", idle_minutes=5
            )
            began = time.perf_counter()
            verifier.verify(self.token)
            scripts.run(self.redis, accepting.accept(job, accepting.Limits()))
            if number >= WARM_UP:
                samples.append((time.perf_counter() - began) * 1000)
        return percentiles(samples)


def too_slow(rows: dict[str, dict[str, float]], limit_ms: float) -> list[str]:
    """A line for each case that accepts a job and whose p95 is above the limit."""
    accepted = {name: row for name, row in rows.items() if name.startswith("202")}
    return [
        f"router: {name}: p95 {row['p95']:.1f} ms, at most {limit_ms:.0f} ms are allowed"
        for name, row in accepted.items()
        if row["p95"] > limit_ms
    ]


async def main(calls: int) -> dict[str, dict[str, float]]:
    """Measures, prints and returns the percentiles of each case."""
    async with LocalCloud(Options(workers=1)) as cloud:
        bench = Bench(cloud, await asyncio.to_thread(login, cloud), calls)
        good, too_long = json.dumps({"prompt": "Hello"}), json.dumps({"prompt": "x" * 7000})
        rows = {"floor: verify + script": await asyncio.to_thread(bench.floor)}
        rows["202 queued"] = await bench.case(good, 202, bench.reset)
        if "TLFIF_LANE_FUNCTION" in cloud.function("router").environment:
            rows["202 starting, no call"] = await bench.case(good, 202, bench.called)
            bench.answer_calls()
            rows["202 starting, lane called"] = await bench.case(good, 202, bench.coming)
        bench.reset()
        now = int(time.time() * 1000)
        sub = json.loads(_payload(bench.token))["sub"]
        bench.redis.lpush(names.rate_key(sub), *([now + 600_000] * names.SUSTAINED_PER_MINUTE))
        rows["429 rate limited"] = await bench.case(good, 429, lambda: None)
        rows["400 prompt too long"] = await bench.case(too_long, 400, lambda: None)
        how = "durations as Lambda would report them (invoke overhead included)"
        print(f"{calls} calls each, one worker; {how}")
        print(table(rows, "floor: verify + script"))
    return rows


def _payload(token: str) -> bytes:
    import base64

    segment = token.split(".")[1]
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.router", description=__doc__)
    parser.add_argument("calls", nargs="?", type=count, default=1000, help="%(default)s")
    parser.add_argument("--limit", action="store_true", help="hold it against LAM-005")
    arguments = parser.parse_args()
    found = asyncio.run(main(arguments.calls))
    slow = too_slow(found, names.WARM_P95_MS) if arguments.limit else []
    sys.exit("\n".join(slow) or None)
