"""How often the engine may be started anew: less and less, as long as nothing comes of it."""

import asyncio
from collections.abc import Callable

from tlfif.log import log
from watcher.supervisor import Supervisor, SupervisorError

FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 120.0


class EngineRestarts:
    """Restarts the engine when it is asked to, and not within a pause that doubles each time until
    a job is answered. Whether the engine may still be loading, the worker knows.
    """

    def __init__(self, supervisor: Supervisor, clock: Callable[[], float]):
        self._supervisor, self._clock = supervisor, clock
        self._not_before, self._pause_s = clock(), 0.0

    def answered(self) -> None:
        """A job was answered to its end."""
        self._not_before, self._pause_s = self._clock(), 0.0

    async def ask(self, why: str) -> None:
        """Restarts it, if it may be."""
        now = self._clock()
        if now < self._not_before:
            log("engine_restart_waits", why=why, for_s=round(self._not_before - now, 1))
            return
        self._pause_s = min(LAST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        self._not_before = now + self._pause_s
        try:
            await asyncio.to_thread(self._supervisor.restart_engine)
        except SupervisorError as error:
            log("engine_restart_failed", "ERROR", why=str(error))
        else:
            log("engine_restart", "ERROR", why=why)
