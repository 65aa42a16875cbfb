"""EC2 takes spot instances back: a notice in their metadata, and a stop two minutes later."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

from local.aws.ec2 import InstanceStates

WARNING_S = 120.0


class Interruptions:
    """What tests let happen to spot instances."""

    def __init__(self, states: InstanceStates):
        self._states = states
        self._notices: dict[str, str] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}
        states.listen(self._on_state)

    def notice(self, instance_id: str) -> str | None:
        """`spot/instance-action` of the instance's metadata, if it is there."""
        return self._notices.get(instance_id)

    def interrupt(
        self, instance_id: str, warning_s: float = WARNING_S, *, stops: bool = True
    ) -> None:
        """Gives notice of a stop in `warning_s` seconds, and stops the instance then if it has not
        stopped by itself; unless `stops` is False: EC2 thinks better of it.
        """
        at = datetime.now(UTC) + timedelta(seconds=warning_s)
        told = {"action": "stop", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._notices[instance_id] = json.dumps(told)
        if stops:
            self._stops[instance_id] = asyncio.create_task(self._stop(instance_id, warning_s))

    def withdraw(self, instance_id: str) -> None:
        """Takes a notice back that was not meant."""
        self._notices.pop(instance_id, None)

    async def close(self) -> None:
        """Abandons the stops to come."""
        for stop in self._stops.values():
            stop.cancel()
        await asyncio.gather(*self._stops.values(), return_exceptions=True)

    async def _stop(self, instance_id: str, warning_s: float) -> None:
        await asyncio.sleep(warning_s)
        await self._states.take_back(instance_id)

    def _on_state(self, instance_id: str, state: str) -> None:
        if state == "stopped":
            self._notices.pop(instance_id, None)
            if stop := self._stops.pop(instance_id, None):
                stop.cancel()
