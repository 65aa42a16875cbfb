"""How long this machine has been up, by a clock that nobody sets."""

import time

# EC2 takes some of this from the request to the first instruction; a longer time is a wrong clock.
LONGEST_PENDING_S = 120


class Uptime:
    """The machine's time since EC2 started it.

    Its wall clock may be minutes off until NTP has set it, after this process has begun: it is read
    once, and believed only when it says what can be.
    """

    def __init__(self, started_at: float, booted_at: float):
        """`started_at` by EC2's clock, in epoch s; `booted_at` by this machine's monotonic one."""
        self._started_at, self._booted_at = started_at, booted_at
        pending_s = time.time() - started_at - (time.monotonic() - booted_at)
        self._pending_s = pending_s if 0 <= pending_s <= LONGEST_PENDING_S else 0.0

    def seconds(self, at: float | None = None) -> float:
        """Since EC2 was asked to start the machine, until now or `at`, by the monotonic clock."""
        at = time.monotonic() if at is None else at
        return at - self._booted_at + self._pending_s

    def epoch_ms(self, at: float | None = None) -> int:
        """Now, or `at`, by EC2's clock."""
        return int((self._started_at + self.seconds(at)) * 1000)
