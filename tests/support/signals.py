"""Signals as a terminal's foreground processes have them, also where the tests run without one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_interrupts() -> Iterator[None]:
    """Lets children that are started within the block be interrupted by SIGINT.

    A shell ignores it for what it starts in the background, and exec hands that down; a handler of
    this process's own is reset to the default by exec.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
