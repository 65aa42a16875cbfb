"""What Pulumi's engine starts: a process that serves gRPC on a port of its own, until that goes."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from local.machine.ports import LOOPBACK

THREADS = 32
GRACE_S = 30
POLL_S = 0.5
# As the engine's own plugins: a state may be large.
MAX_MESSAGE = 400 * 1024 * 1024


def serve(register: Callable[[grpc.Server], None], end: Callable[[], None] = lambda: None) -> None:
    """Prints the port, as the engine expects, and serves what `register` adds, in the main thread.

    When this process is told to end, or the engine has ended, however, it calls `end`, and returns
    when every call has ended too, though the one who made it is gone.
    """
    calls = ThreadPoolExecutor(THREADS)
    server = grpc.server(calls, options=[("grpc.max_receive_message_length", MAX_MESSAGE)])
    register(server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    print(port, flush=True)
    _until_orphaned()
    end()
    server.stop(GRACE_S).wait()
    calls.shutdown(wait=True)


def _until_orphaned() -> None:
    parent, told = os.getppid(), threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: told.set())
    while not told.wait(POLL_S) and os.getppid() == parent:
        pass
