"""Tells the queue that this node is there, and in which phase; hears when it is to drain."""

import asyncio
from collections.abc import Callable, Mapping

from redis.exceptions import RedisError

from tlfif import names
from tlfif.log import log
from tlfif.queue import working
from watcher.instance import Uptime
from worker.queue import Queue
from worker.tasks import poll

EVERY_S = 3.0


class Heartbeat:
    """The node's key in the queue.

    `draining` is set once the queue says so, whoever wanted it; `failure` is why the queue did not
    take the last heartbeat, '' when it did.
    """

    def __init__(
        self,
        queue: Queue,
        instance: str,
        boot: str,
        uptime: Uptime,
        in_flight: Callable[[], int],
        restarted: bool = False,
        steps: Callable[[], Mapping[str, float]] = dict,
    ):
        """`boot` names this process; `restarted`: the machine has had another one, so that this
        one cannot tell how long a boot takes. `steps` are those that the boot has reached, on the
        machine's monotonic clock.
        """
        self.draining = asyncio.Event()
        self.failure = ""
        self._queue, self._instance, self._boot, self._in_flight = queue, instance, boot, in_flight
        self._phase = "booting"
        self._uptime = uptime
        self._timings: dict[str, float] = {
            "started": uptime.epoch_ms() - int(uptime.seconds() * 1000)
        }
        self._boot_ms: int | None = None
        self._restarted, self._steps = restarted, steps

    async def enter(self, phase: str) -> None:
        """Changes the phase and says so at once; a boot's first `ready` goes into the history."""
        now_ms = self._uptime.epoch_ms()
        self._phase = phase
        if phase not in self._timings:
            self._timings[phase] = now_ms
            self._note_boot(phase, now_ms)
        log("phase", phase=phase, since_start_ms=now_ms - self._timings["started"])
        await self.beat()

    def _note_boot(self, phase: str, now_ms: int) -> None:
        boot_ms = int(now_ms - self._timings["started"])
        # A longer time since the machine's start is not a boot but a restart of this process.
        if phase == "ready" and not self._restarted and 0 < boot_ms < names.LONGEST_BOOT_S * 1000:
            self._boot_ms = boot_ms

    async def beat(self) -> None:
        """One heartbeat; a queue that is away is logged and no more."""
        steps = {step: self._uptime.epoch_ms(at) for step, at in self._steps().items()}
        timings = {**steps, **self._timings}
        call = working.heartbeat(
            self._instance, self._boot, self._phase, self._in_flight(), timings, self._boot_ms
        )
        try:
            phase = await self._queue.ask(call)
        except RedisError as error:
            log("heartbeat_failed", "WARNING", why=str(error))
            self.failure = f"queue: {error}"
            return
        self.failure, self._boot_ms = "", None
        if phase == "draining":
            self._phase = phase
            self.draining.set()

    async def run(self) -> None:
        """Beats until cancelled."""
        assert EVERY_S * 4 < names.HEARTBEAT_TTL_S
        await poll(EVERY_S, self.beat)
