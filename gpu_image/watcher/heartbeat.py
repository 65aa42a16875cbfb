"""Tells the queue that this node is there, and in which phase; hears from it when the node is to
drain.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from tlfif import names, queue
from tlfif.log import log

EVERY_S = 3.0
# A longer time since the machine's start is not a boot but a restart of this process.
LONGEST_BOOT_S = 900


class Heartbeat:
    """The node's key in the queue. `draining` is set once the queue says so, whoever wanted it."""

    def __init__(
        self, redis: Any, instance: str, boot: str, started_at: float, in_flight: Callable[[], int]
    ):
        """`boot` names this process; `started_at` is when EC2 started the machine, in epoch s."""
        self.draining = asyncio.Event()
        self._redis, self._instance, self._boot, self._in_flight = redis, instance, boot, in_flight
        self._started_at = started_at
        self._phase = "booting"
        self._timings: dict[str, float] = {"started": int(started_at * 1000)}
        self._boot_ms: int | None = None
        self._first_boot = True

    async def begin(self) -> None:
        """The first beat."""
        try:
            # Its predecessor's key: this process was restarted, so it cannot tell how long a boot
            # takes.
            self._first_boot = not await self._redis.exists(f"node:{self._instance}")
        except RedisError as error:
            log("heartbeat_failed", "WARNING", why=str(error))
        await self.enter("booting")

    async def enter(self, phase: str) -> None:
        """Changes the phase and says so at once.

        The first `ready` of a boot goes into the history.
        """
        now_ms = int(time.time() * 1000)
        self._phase = phase
        if phase not in self._timings:
            self._timings[phase] = now_ms
            self._note_boot(phase, now_ms)
        log("phase", phase=phase, since_start_ms=now_ms - self._timings["started"])
        await self.beat()

    def _note_boot(self, phase: str, now_ms: int) -> None:
        boot_ms = int(now_ms - self._timings["started"])
        if phase == "ready" and self._first_boot and 0 < boot_ms < LONGEST_BOOT_S * 1000:
            self._boot_ms = boot_ms

    async def beat(self) -> None:
        """One heartbeat; a queue that is away is logged and no more."""
        call = queue.heartbeat(
            self._instance, self._boot, self._phase, self._in_flight(), self._timings, self._boot_ms
        )
        try:
            phase = await queue.arun(self._redis, call)
        except RedisError as error:
            log("heartbeat_failed", "WARNING", why=str(error))
            return
        self._boot_ms = None
        if phase == "draining":
            self._phase = phase
            self.draining.set()

    async def run(self) -> None:
        """Beats until cancelled."""
        assert EVERY_S * 4 < names.HEARTBEAT_TTL_S
        while True:
            await asyncio.sleep(EVERY_S)
            await self.beat()
