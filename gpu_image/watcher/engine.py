"""When the engine may be started anew: never while it may still be loading from the last time."""

import asyncio
from collections.abc import Callable

from tlfif.log import log
from watcher.supervisor import Supervisor, SupervisorError

FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 120.0


class EngineRestarts:
    """Restarts the engine when it is asked to and may.

    Again only when the engine has answered since, or has had `load_s` for it, and then after a
    pause that doubles until a job is answered.
    """

    def __init__(self, supervisor: Supervisor, load_s: float, clock: Callable[[], float]):
        self._supervisor, self._load_s, self._clock = supervisor, load_s, clock
        # When it began to load: this process was started together with it, or finds it ready.
        self._last, self._came_back = clock(), False
        self._pause_s = 0.0

    def ready(self) -> None:
        """The engine answers a probe."""
        self._came_back = True

    def answered(self) -> None:
        """A job was answered to its end."""
        self._pause_s = 0.0

    async def ask(self, why: str) -> bool:
        """Restarts it, unless that would only disturb its loading; whether it did."""
        now = self._clock()
        wait_s = self._pause_s if self._came_back else self._load_s
        if now < self._last + wait_s:
            log("engine_restart_waits", why=why, for_s=round(self._last + wait_s - now, 1))
            return False
        self._last, self._came_back = now, False
        self._pause_s = min(LAST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        try:
            await asyncio.to_thread(self._supervisor.restart_engine)
        except SupervisorError as error:
            log("engine_restart_failed", "ERROR", why=str(error))
            return False
        log("engine_restart", "ERROR", why=why)
        return True
