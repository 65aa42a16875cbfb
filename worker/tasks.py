"""Ending tasks for certain."""

import asyncio
from typing import Any

_AGAIN_AFTER_S = 0.2


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
