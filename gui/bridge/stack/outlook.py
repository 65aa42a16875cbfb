"""What a client is told while it waits: what node and instant lane do, and how long it may take."""

import asyncio
import time

from gui.bridge.errors import UPSTREAM
from gui.bridge.stack.api import Api, Job

# One look at /status for all who wait; each is a call of a function. What one saw is good for so
# long.
LOOK_EVERY_S, GOOD_S = 3.0, 10.0


class Outlook:
    """The phases of the stack, as they were a moment ago."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._phases = ""
        self._looked_at = self._seen_at = float("-inf")
        self._look: asyncio.Task[None] | None = None

    def words(self, job: Job) -> str:
        """Such as `node loading, lane off, eta 43 s`; in ASCII, and in one line."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            # Nobody waits for it: the words are of the look before.
            self._looked_at = now
            self._look = asyncio.create_task(self._see())
        phases = self._phases if now - self._seen_at < GOOD_S else ""
        accepted_as = "queued" if job.estimate_s is None else "starting"
        return ", ".join(filter(None, (phases or accepted_as, _eta(job, now))))

    def close(self) -> None:
        """Looks no more."""
        if self._look is not None:
            self._look.cancel()

    async def _see(self) -> None:
        try:
            status = await self._api.status()
        except UPSTREAM:
            return
        lane = status.get("lane")
        phase = lane.get("phase") if isinstance(lane, dict) else None
        told = {"node": status.get("node"), "lane": phase}
        self._phases = ", ".join(f"{what} {_word(it)}" for what, it in told.items() if it)
        self._seen_at = time.monotonic()


def _eta(job: Job, now: float) -> str:
    if job.estimate_s is None:
        return ""
    left_s = job.estimate_s - (now - job.accepted_at)
    return f"eta {left_s:.0f} s" if left_s >= 1 else "eta any moment: later than 9 of 10 were"


def _word(text: object) -> str:
    """Nothing that could end a comment of an event stream."""
    return "".join(each for each in str(text)[:40] if each.isascii() and each.isprintable())
