"""The end of a process whose parent is gone, however that ended."""

import os
import signal
import threading

POLL_S = 0.5


def until_orphaned() -> None:
    """Returns when this process is told to end, or its parent has ended; in the main thread."""
    parent, told = os.getppid(), threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: told.set())
    while not told.wait(POLL_S) and os.getppid() == parent:
        pass
