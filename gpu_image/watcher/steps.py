"""A boot step by step: when the machine's and the engine's own steps were reached.

The machine's are processes that began; the engine's are lines of its log, whose wording may change:
a step whose line does not come is missing, and nothing else.
"""

import contextlib
import os
import re
import threading
import time
from pathlib import Path

from tlfif import names
from watcher.memory import kernels_boot
from watcher.supervisor import Supervisor, SupervisorError

# Each step is reached with the first line that matches: vLLM's, or the local model server's.
LINES = {
    "imported": re.compile(r"non-default args|: loading model"),
    "core": re.compile(r"Initializing a V\d LLM engine"),
    "weights": re.compile(r"Loading weights took|: model loaded"),
    "profiled": re.compile(r"init engine \(profile"),
    "listening": re.compile(r"Application startup complete|: listening on http"),
}
# What gpu_image/serve.py says when it cannot start the engine.
COMPLAINT = re.compile(rf"^{names.LAUNCHER}(cannot start .*)")
EVERY_S = 0.25
# What an engine writes in EVERY_S; of more, only the end is read.
TAIL = 1 << 20


class Steps:
    """The steps so far; watched by a thread of its own, because the first of them pass while this
    process still asks who it is.
    """

    def __init__(self, supervisor: Supervisor, booted_at: float = 0.0):
        """`booted_at` is when the machine booted, by its monotonic clock."""
        self._supervisor, self._booted_at = supervisor, booted_at
        self._reached: dict[str, float] = {}
        self._log: Path | None = None
        self._offset, self._rest = 0, ""
        # Why the engine could not be started; '' since it was.
        self.complaint = ""

    def watch(self) -> None:
        """Begins to watch, until this process ends."""
        self._note("kernel", _started(1))
        self._note("userspace", _started(os.getppid()))
        if self._supervisor.is_there:
            threading.Thread(target=self._run, name="steps", daemon=True).start()

    def reached(self) -> dict[str, float]:
        """When each step was reached, on the machine's monotonic clock."""
        return dict(self._reached)

    def _run(self) -> None:
        pid = 0
        while True:
            # Busy; it is asked again.
            with contextlib.suppress(SupervisorError):
                pid = pid or self._ask()
            self.look()
            time.sleep(EVERY_S)

    def _ask(self) -> int:
        pid, path = self._supervisor.engine()
        if self._log is None:
            self.follow(path)
        if pid:
            self._note("engine", _started(pid))
        return pid

    def follow(self, path: Path) -> None:
        """Reads this log from where this boot's part begins: before it are earlier boots."""
        self._log = path
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        begins = names.LAUNCHER_BEGINS.encode()
        here = text.find(begins + kernels_boot().encode())
        self._offset = here if here >= 0 else len(text) if begins in text else 0

    def look(self) -> None:
        """Reads what is new in the log."""
        for line in self._lines():
            if found := COMPLAINT.search(line):
                self.complaint = found[1]
            for step, words in LINES.items():
                if words.search(line):
                    self.complaint = ""
                    if step not in self._reached:
                        self._note(step, time.monotonic())

    def _lines(self) -> list[str]:
        if self._log is None:
            return []
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # It was rotated, or its writer was quick.
                start = 0 if size < self._offset else max(self._offset, size - TAIL)
                file.seek(start)
                text = file.read(TAIL)
                self._offset = start + len(text)
        except OSError:
            return []
        *lines, self._rest = (self._rest + text.decode(errors="replace")).split("\n")
        return lines

    def _note(self, step: str, at: float | None) -> None:
        # Locally the machine is older than the node.
        if at is not None and at >= self._booted_at:
            self._reached[step] = at


def _started(pid: int) -> float | None:
    """When a process began, on the monotonic clock; None for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
