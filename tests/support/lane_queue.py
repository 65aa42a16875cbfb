"""A stack with an instant lane, for tests of whoever calls it."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.jobs import LANE
from support.world import World

from local.lambda_.model import InvokeResult
from tlfif import names
from tlfif.queue import lane, scripts, working

FUNCTION = "tl-fif-dev-cpu-worker"
EC2 = ("DescribeInstances", "StartInstances", "StopInstances")


@dataclass
class LaneWorld:
    """A world whose functions know of a lane; `calls` are the payloads it was called with."""

    world: World
    wakes: str
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def invoke(self, name: str, payload: bytes, context: str | None) -> InvokeResult:
        """Lambda's side of a call."""
        assert name == FUNCTION
        self.calls.append(json.loads(payload))
        return InvokeResult(b"null", None, "", 1.0, False, "r-1")

    def comes(self, token: str = "lane-1", phase: str = "working") -> str:
        """What was called comes."""
        answer = scripts.run(self.world.queue, lane.enter(token))
        if phase == "working":
            scripts.run(self.world.queue, lane.beat(token, phase, 0, 1.0))
        return answer

    def takes(self, token: str = "lane-1") -> list[working.ClaimedJob]:
        """What it claims."""
        return self.world.claim(lane.consumer_name(token))

    def fails(self, message: str = "no weights") -> None:
        """What was called comes, and is of no use."""
        self.comes(phase="loading")
        scripts.run(self.world.queue, lane.fail("lane-1", "NoWeights", message, 1.0))

    def minutes_pass(self) -> None:
        """What wears off in less than one has."""
        self.world.queue.delete(names.LANE_WAKE, names.LANE_FAILURE)

    async def status(self) -> dict[str, Any]:
        """What GET /status says of it."""
        return (await self.world.send("GET", "/status")).body["lane"]

    def ec2_calls(self) -> list[str]:
        """What was asked of EC2."""
        return [c.operation for c in self.world.endpoint.calls if c.operation in EC2]


def with_lane(world: World, monkeypatch: pytest.MonkeyPatch, wakes: str = "always") -> LaneWorld:
    """Tells the functions of a lane, which Lambda runs."""
    made = LaneWorld(world, wakes)
    world.endpoint.on_invoke = made.invoke
    told = {
        "TLFIF_LANE_FUNCTION": FUNCTION,
        "TLFIF_GPU_WAKE": wakes,
        "TLFIF_LANE_PROMPT_BYTES": str(LANE.prompt_bytes),
        "TLFIF_LANE_EUR_PER_HOUR": "0.18",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return made
