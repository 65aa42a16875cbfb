"""An engine for the lane that is somebody else's server."""

import time
from collections.abc import Callable
from pathlib import Path

from cpu_worker.failure import LaneFailure


class FakeEngine:
    """`refuses` is why it does not load; `load_s` how long that takes."""

    def __init__(self, url: str) -> None:
        self.url, self.is_up = url, False
        self.refuses = ""
        self.load_s = 0.0
        self.started = self.stopped = 0
        self.loaded: list[bytes] = []
        self.on_load: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.started += 1

    def load(self, path: Path) -> None:
        time.sleep(self.load_s)
        self.loaded.append(path.read_bytes())
        if self.refuses:
            raise LaneFailure("EngineFailed", self.refuses)
        self.on_load()
        self.is_up = True

    def stop(self) -> None:
        self.stopped += 1
        self.is_up = False
