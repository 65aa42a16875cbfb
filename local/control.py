"""The socket by which `make up`, `make refresh` and `make destroy` tell a running local cloud what
they do.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from recording.model import ROOT

Order = Callable[[], Awaitable[Any]]


class NoCloudError(RuntimeError):
    """No local cloud of the stack is running; the message says how to start one."""

    def __init__(self, stack: str) -> None:
        super().__init__(
            f"no local cloud of the stack {stack!r} is running; start it in another terminal with: "
            f"make local STACK={stack}"
        )


class OrderFailedError(RuntimeError):
    """The running local cloud could not do what it was told; the message says what went wrong."""


def cloud_file(stack: str) -> Path:
    """Where the running local cloud of a stack says where its parts are."""
    return ROOT / ".cache" / "local" / f"{stack}.json"


@contextlib.asynccontextmanager
async def taking_orders(path: Path, orders: Mapping[str, Order]) -> AsyncIterator[None]:
    """Takes orders on a Unix socket, one at a time, until the block ends.

    An order is its name and a newline; the answer is JSON: `result`, or `error`, a text.
    """
    one_at_a_time = asyncio.Lock()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readline()).decode().strip()
        async with one_at_a_time:
            try:
                answer = {"result": await orders[name]()}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode())
            await writer.drain()
        writer.close()

    # In a folder of this user's own.
    server = await asyncio.start_unix_server(take, path)
    try:
        yield
    finally:
        server.close()


def tell(path: Path, order: str, stack: str) -> Any:
    """Gives an order and waits for its result.

    Raises NoCloudError and OrderFailedError.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            raise NoCloudError(stack) from None
        connection.sendall(f"{order}\n".encode())
        pieces = iter(lambda: connection.recv(65536), b"")
        answer = json.loads(b"".join(pieces) or b'{"error": "it ended meanwhile"}')
    if "error" in answer:
        raise OrderFailedError(f"the local cloud could not {order}: {answer['error']}")
    return answer["result"]
