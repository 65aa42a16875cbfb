"""Waits between tries, with full jitter: who failed together does not come back together."""

import asyncio
import random


class Backoff:
    """Pauses of random length, up to a ceiling that doubles from `first_s` to `cap_s`."""

    def __init__(self, first_s: float = 0.2, cap_s: float = 5.0):
        self._first_s, self._cap_s = first_s, cap_s
        self._ceiling_s = first_s

    async def pause(self) -> None:
        ceiling, self._ceiling_s = self._ceiling_s, min(self._cap_s, 2 * self._ceiling_s)
        await asyncio.sleep(random.uniform(0, ceiling))

    def reset(self) -> None:
        """After a success."""
        self._ceiling_s = self._first_s
