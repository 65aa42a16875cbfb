"""The loopback ports that the local cloud and its children listen on."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

LOOPBACK = "127.0.0.1"


class PortTakenError(RuntimeError):
    """Somebody else listens on a port that was asked for; the message is one line with the fix."""


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port nobody listens on, for a child that cannot choose one itself.

    A connection is closed on it, so that it rests in TIME_WAIT: for a minute the kernel gives it to
    nobody who asks for just any port, but a server that sets SO_REUSEADDR (all of ours do) can take
    it.
    """
    with _bound(host, 0) as server:
        server.listen(1)
        with socket.create_connection(server.getsockname()[:2]):
            accepted, _ = server.accept()
            accepted.close()
        return server.getsockname()[1]


def listen(
    port: int, purpose: str, fix: str = "choose another port", host: str = LOOPBACK
) -> socket.socket:
    """A socket that listens on this port (0: any free one), for a server in this process.

    Raises PortTakenError, which says what wanted the port and how to go on.
    """
    try:
        server = _bound(host, port)
    except OSError as error:
        raise PortTakenError(f"port {port} is taken, and {purpose} needs it: {fix}") from error
    server.listen(socket.SOMAXCONN)
    return server


def require_port(
    port: int, purpose: str, fix: str = "choose another port", host: str = LOOPBACK
) -> None:
    """Raises PortTakenError unless a child could listen on this port now."""
    listen(port, purpose, fix, host).close()


def listening(port: int, host: str = LOOPBACK) -> Callable[[], Awaitable[bool]]:
    """A readiness check: somebody accepts connections on this port."""

    async def ready() -> bool:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()
        return True

    return ready


def _bound(host: str, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
    except OSError:
        server.close()
        raise
    return server
