"""What a machine's time costs each of the jobs that share it."""

import contextlib
import time
from collections.abc import Callable, Generator


class Share:
    """What one job has cost so far, in EUR; None: unknown. It grows until the job has ended."""

    def __init__(self, meter: "Meter"):
        self._meter, self._begun_s = meter, meter.share_s()
        self._ended_s: float | None = None

    def end(self) -> None:
        """Stops counting."""
        self._ended_s = self._meter.share_s()

    @property
    def _seconds(self) -> float:
        until_s = self._meter.share_s() if self._ended_s is None else self._ended_s
        return until_s - self._begun_s

    @property
    def ms(self) -> int:
        """The machine's time that is its own."""
        return int(self._seconds * 1000)

    @property
    def eur(self) -> float | None:
        """Rounded to a thousandth of a millionth."""
        price = self._meter.eur_per_hour
        return None if price is None else round(self._seconds * price / 3600, 9)


class Meter:
    """Divides the price of every moment among the jobs that are worked on in it.

    `eur_per_hour` is the machine's price while it runs; None: unknown.
    """

    def __init__(self, eur_per_hour: float | None, clock: Callable[[], float] = time.monotonic):
        self.eur_per_hour, self._clock = eur_per_hour, clock
        self._jobs, self._share_s, self._at = 0, 0.0, clock()

    @contextlib.contextmanager
    def running(self) -> Generator[Share, None, None]:
        """Counts one job more for a block."""
        share = Share(self)
        self._jobs += 1
        try:
            yield share
        finally:
            share.end()
            self._jobs -= 1

    def share_s(self) -> float:
        """For how many seconds a job would have paid that has always been there."""
        now = self._clock()
        if self._jobs:
            self._share_s += (now - self._at) / self._jobs
        self._at = now
        return self._share_s
