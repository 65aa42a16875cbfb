"""Who generates beside whom: jobs side by side, but a suspect alone."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass


@dataclass(eq=False)
class Turn:
    """One job's time with the engine; `alone` while no other has shared a moment of it."""

    suspect: bool
    alone: bool = True


class Turns:
    """Lets ordinary jobs in at any time but while a suspect is; a suspect when nobody else is.

    A suspect was with the engine more than once when that failed: should it again, it is known
    whose fault that is, and nobody else suffers from it.
    """

    def __init__(self) -> None:
        self._inside: set[Turn] = set()
        self._left = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def taken(self, suspect: bool) -> AsyncGenerator[Turn, None]:
        """A turn, which begins when it may."""
        async with self._left:
            await self._left.wait_for(lambda: self._may_enter(suspect))
            turn = self._enter(suspect)
        try:
            yield turn
        finally:
            self._inside.remove(turn)
            async with self._left:
                self._left.notify_all()

    def _may_enter(self, suspect: bool) -> bool:
        return not (self._inside if suspect else [each for each in self._inside if each.suspect])

    def _enter(self, suspect: bool) -> Turn:
        turn = Turn(suspect)
        self._inside.add(turn)
        if len(self._inside) > 1:
            for each in self._inside:
                each.alone = False
        return turn
