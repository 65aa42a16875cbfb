"""A wake of a node whose engine is the real vLLM, through the whole local cloud: the first token
with the instant lane and without it, and prompts without a pause while one hands over to the other.

    python -m bench.vllm.wake [rounds]

A round is a cold wake of each kind. On AWS lane and node have a machine each; here they share one,
and EC2's own start, 20 to 30 s, is in no figure.
"""

import asyncio
import collections
import os
import statistics
import sys
import time
from typing import Any

from bench.arguments import how_many
from bench.lane import ANSWER, SHORT
from bench.vllm import server, setup
from gui.client import Client, Job
from local.aws.ec2 import Delays
from local.aws.faults import Fault
from local.cloud import LocalCloud, Options
from local.users import login
from tlfif import names

# As many as one user may send, and a few.
EVERY_S = 60 / names.SUSTAINED_PER_MINUTE + 0.5
AFTERWARDS = 5
TIMEOUT_S = 600.0
REFUSED = {"status": 429, "code": "TooManyRequestsException"}


class Wake:
    """One cloud, one user; `first_s` are the seconds to a first token by case."""

    def __init__(self, cloud: LocalCloud, client: Client) -> None:
        self.first_s: dict[str, list[float]] = collections.defaultdict(list)
        self._cloud, self._client = cloud, client

    async def alone(self) -> None:
        """One prompt wakes the node, and waits for it."""
        with self._cloud.endpoint.faults.injected(Fault("lambda", "Invoke", **REFUSED, times=None)):
            reply = await self._final(await self._post())
        self._note("without the lane", reply)
        print(f"  its boot, s by step: {await self._steps()}", flush=True)
        await self._stop()
        with self._cloud.valkey.operator() as redis:
            # A lane that Lambda refused is not called for a moment.
            redis.delete(names.LANE_FAILURE)

    async def under_load(self) -> bool:
        """Prompts without a pause, from the wake until vLLM has answered some; whether each had its
        one answer.
        """
        began, tasks = time.monotonic(), list[asyncio.Task[dict[str, Any]]]()
        left = AFTERWARDS
        while left and time.monotonic() - began < TIMEOUT_S:
            tasks.append(asyncio.create_task(self._final(await self._post())))
            left -= await self._node() == "ready"
            await asyncio.sleep(EVERY_S)
        replies = await asyncio.gather(*tasks)
        self._note("with the lane", replies[0])
        print(f"  its boot, s by step: {await self._steps()}", flush=True)
        good = _account(replies)
        await self._stop()
        return good

    async def _post(self) -> Job:
        return await asyncio.to_thread(lambda: self._client.infer(SHORT, **ANSWER))

    async def _final(self, job: Job) -> dict[str, Any]:
        *_, reply = await asyncio.to_thread(lambda: list(self._client.follow(job)))
        return reply

    async def _node(self) -> str:
        return (await asyncio.to_thread(self._client.status))["node"]

    async def _steps(self) -> dict[str, float]:
        return (await asyncio.to_thread(self._client.status)).get("last_boot", {})

    def _note(self, case: str, reply: dict[str, Any]) -> None:
        if reply["status"] != "done":
            sys.exit(f"bench: {case}: {reply}")
        first_s = (reply["first_token_at"] - reply["created_at"]) / 1000
        self.first_s[case].append(first_s)
        load = os.getloadavg()[0]
        print(f"{case}: first token after {first_s:.1f} s, by {reply['engine']}; load {load:.1f}")

    async def _stop(self) -> None:
        await asyncio.to_thread(self._client.stop)
        (instance_id,) = self._cloud.nodes

        async def stopped() -> bool:
            return await self._cloud.endpoint.instances.state(instance_id) == "stopped"

        await self._cloud.until(stopped, TIMEOUT_S, "the node is stopped")
        # A stop is of what came before it, by the queue's clock.
        await asyncio.sleep(0.5)


def _account(replies: list[dict[str, Any]]) -> bool:
    """Says who answered when; whether every prompt was answered, and vLLM took over."""
    engines = collections.Counter(reply.get("engine", "nobody") for reply in replies)
    done = sum(reply["status"] == "done" for reply in replies)
    taken = [each for each in replies if each.get("engine") == "vllm"]
    waits = [(each["first_token_at"] - each["created_at"]) / 1000 for each in replies]
    print(f"  {done} of {len(replies)} done: {dict(engines)}; first token after "
          f"{statistics.median(waits):.1f} s (median), {max(waits):.1f} s (most)")  # fmt: skip
    if taken:
        after_s = (taken[0]["created_at"] - replies[0]["created_at"]) / 1000
        print(f"  vLLM answered what was asked from {after_s:.0f} s on", flush=True)
    return done == len(replies) and bool(taken) and len(engines) > 1


async def main(rounds: int) -> bool:
    """Whether nothing was lost."""
    await asyncio.to_thread(setup.prepare)
    options = Options(
        lane=True,
        delays=Delays(pending_s=0.0, stopping_s=0.0),
        watcher={"TLFIF_ENGINE": "vllm"},
        commands={"model": server.command("{port}")},
    )
    good = True
    async with LocalCloud(options) as cloud:
        token = await asyncio.to_thread(login, cloud)
        with Client(cloud.api_url, token) as client:
            wake = Wake(cloud, client)
            for _ in range(rounds):
                good &= await wake.under_load()
                await wake.alone()
    for case, each in wake.first_s.items():
        print(f"{case}: {statistics.median(each):.1f} s to the first token (median of {rounds})")
    return good


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(how_many(__doc__, "rounds", 1))) else 1)
