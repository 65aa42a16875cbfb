"""What comes from a client over ASGI: a body within bounds, and that nobody is there any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import Receive

from gui.bridge.errors import OpenAIError

# A conversation has 6 kB; clients send tools and pictures with it, which are refused by name.
MAX_BODY, MAX_IGNORED = 1 << 20, 32 << 20
WITHIN_S = 60.0


class ClientGoneError(Exception):
    """The connection was closed before there was a whole request."""


async def body_of(receive: Receive) -> bytes:
    """The request's body; raises OpenAIError and ClientGoneError.

    One that is too large is read all the same, within bounds: many clients look for an answer only
    when they have sent everything.
    """
    size, kept = 0, bytearray()
    try:
        async with asyncio.timeout(WITHIN_S):
            while size <= MAX_IGNORED:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                piece: bytes = message.get("body", b"")
                size += len(piece)
                if size <= MAX_BODY:
                    kept += piece
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise OpenAIError(408, f"The body did not come within {WITHIN_S:g} s.") from None
    if size > MAX_BODY:
        raise OpenAIError(
            413, f"The body has more than {MAX_BODY} bytes.", code="request_too_large"
        )
    return bytes(kept)


@contextlib.asynccontextmanager
async def while_there(receive: Receive) -> AsyncIterator[None]:
    """Cancels the task that is within, when the client goes away."""
    task = asyncio.current_task()
    watch = asyncio.create_task(_until_gone(receive, task))
    try:
        yield
    finally:
        watch.cancel()


async def _until_gone(receive: Receive, task: "asyncio.Task[object] | None") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()
