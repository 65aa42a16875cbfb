"""What outlives an invocation: the engine with its weights, and seconds nobody has been told of."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from cpu_worker import weights
from cpu_worker.engine import Engine
from cpu_worker.failure import LaneFailure
from tlfif.environment import CpuWorker


class Used:
    """The seconds that this process has run for and the ledger has not been told of.

    `before_s` are those before its first invocation. What could not be told is told by the next
    one; what may have been told is told again: the ledger errs on the expensive side.
    """

    def __init__(self, before_s: float, clock: Callable[[], float] = time.monotonic):
        self._owed_s, self._clock = before_s, clock
        self._since: float | None = None

    @contextlib.contextmanager
    def running(self) -> Generator[None, None, None]:
        """An invocation; between two of them nothing is paid for."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._owed_s, self._since = self.owed(), None

    def owed(self) -> float:
        """Not told yet."""
        return self._owed_s + (0.0 if self._since is None else self._clock() - self._since)

    def told(self, seconds: float) -> None:
        """So many were told."""
        self._owed_s -= seconds


class Container:
    """One execution environment: settings, engine, the file with the weights."""

    def __init__(
        self,
        settings: CpuWorker,
        engine: Engine,
        used: Used,
        make_s3: Callable[[], Any] = weights.client,
        folder: Path | None = None,
    ):
        self.settings, self.engine, self.used = settings, engine, used
        self._make_s3 = make_s3
        self._folder = folder or Path(tempfile.gettempdir()) / "tl-fif-models"
        self._source = weights.Source(
            settings.stack, settings.replies_bucket, settings.model_key, settings.model_sha256
        )
        self._path: Path | None = None
        # What an invocation left unfinished goes on in its thread when the process thaws: the next
        # one waits for it to come to something, or to fail.
        self._preparing = threading.RLock()

    def prepare(self) -> None:
        """Returns when the engine has loaded the weights. Raises LaneFailure, LaneInterrupted."""
        with self._preparing:
            if self.engine.is_up:
                return
            self.engine.start()
            # Also where nothing is to be read: the first client takes 0.3 s, and the worker's would
            # be made when a job waits.
            s3 = self._make_s3()
            if self._path is None:
                self._path = weights.fetch(s3, self._source, self._folder)
            try:
                self.engine.load(self._path)
            except LaneFailure as failure:
                # Whatever is wrong with them: the next call reads them again.
                self._path.unlink(missing_ok=True)
                self._path = None
                raise LaneFailure(
                    failure.code, f"{failure.message}; {self._source.remedy}"
                ) from failure

    def restart(self) -> None:
        """Ends the engine and loads it again. Raises LaneFailure, LaneInterrupted."""
        with self._preparing:
            self.engine.stop()
            self.prepare()


def since_process_began() -> float:
    """Seconds since this process was started, as the kernel counts them."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s
