"""Tasks that go on, and ending them for certain."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN_AFTER_S = 0.2


async def poll(every_s: float, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks every so many seconds, first after a pause, until there is an answer other than None.

    Who never answers anything else is asked until cancelled.
    """
    while True:
        await asyncio.sleep(every_s)
        answer = await ask()
        if answer is not None:
            return answer


async def end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancels the tasks and returns when they have ended, however they did.

    Again and again: before Python 3.12, a `wait_for` whose result has just come (redis-py sends its
    commands under one) forgets that it was cancelled.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_AFTER_S)
