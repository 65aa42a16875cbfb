"""Serves an ASGI app on a loopback socket in this process, whose signals and logging it leaves
alone.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Longer than the clients' pools keep an idle connection, so that none is closed under a request.
_KEEP_ALIVE_S = 75
# The apps themselves refuse what is too much for AWS, in AWS's words.
_MAX_HEAD_BYTES = 1 << 20


@contextlib.asynccontextmanager
async def serving(app: Any, listener: socket.socket) -> AsyncIterator[str]:
    """Serves `app` on a listening socket until the block ends, and yields the base URL.

    `scope["state"]["transport"]` is the connection's, for apps that misbehave on purpose (see
    `reset`).
    """
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        # Or any client on this machine is from where its X-Forwarded-For says.
        proxy_headers=False,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]), name=f"serve {port}")
    try:
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.stopping.set()
        await running


def reset(transport: asyncio.Transport) -> None:
    """Drops a connection with a TCP reset, as a crashed peer does."""
    if not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        # The original looks ten times a second whether it shall end, and keeps a date header that
        # we do not send.
        await self.stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ctrl-C belongs to the local cloud, which stops everything in its own order.
        yield


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only for sockets made with an explicit protocol; without it, answers wait
        # 40 ms for an ACK.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
