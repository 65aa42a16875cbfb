"""Time as it passes on a machine that has nothing else to do: what a test's limit is about, while
others run beside it.
"""

import time
from pathlib import Path

# Whoever answers (a queue, an AWS, an engine) waits for a processor about as long as who asks does.
_WAITING = 3


def now() -> float:
    """Seconds, as of `time.monotonic`, without those in which this thread was ready to go on and
    had no processor, where there is a /proc to tell; differences are good in one thread only.
    """
    return time.monotonic() - _WAITING * _waited_s()


def _waited_s() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
