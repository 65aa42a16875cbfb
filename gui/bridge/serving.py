"""Serves the bridge until a signal, and ends it in a second or two: streams are told, jobs
cancelled.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from gui.bridge.app import Bridge

# The last comes when the terminal is closed; under nohup it is ignored, and stays so.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# For the streams to be told, then for the jobs to be cancelled, then for connections to be closed.
CLOSE_S = 1.0


async def serve(bridge: Bridge, listener: socket.socket) -> None:
    """Returns after the first signal, when everything has ended; the second one ends the process's
    patience with connections.
    """
    server = _Server(
        uvicorn.Config(
            bridge.app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # Longer than clients' pools keep an idle connection.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [each for each in SIGNALS if each is not signal.SIGHUP or not ignored]
    for number in heard:
        loop.add_signal_handler(number, told.set)
    running = asyncio.create_task(server.serve([listener]))
    ends = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({running, ends}, return_when=asyncio.FIRST_COMPLETED)
        await bridge.close(CLOSE_S)
    finally:
        ends.cancel()
        for number in heard:
            loop.remove_signal_handler(number)
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # They are the bridge's, which cancels its jobs first.
        yield
