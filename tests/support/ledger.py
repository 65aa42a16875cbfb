"""What was asked of AWS in a whole run: each worker writes it down after every test, so that one of
them can judge all of it in the end.
"""

import pickle
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from support import run, world

from local.aws.records import Call
from local.cloud import LocalCloud
from recording.model import Recording


class Ledger:
    """One worker's part of it."""

    def __init__(self) -> None:
        self._cloud: LocalCloud | None = None
        self._last: Call | None = None

    def watch(self, cloud: LocalCloud) -> None:
        """Writes down what is asked of this cloud from now on."""
        self._cloud = cloud
        run.put(_path("recording", run.worker()), cloud.recording)

    def write(self) -> None:
        """Writes down what has been asked since the last time."""
        _append(_path("elsewhere", run.worker()), world.PERFORMED)
        world.PERFORMED.clear()
        _append(_path("cloud", run.worker()), self._new())

    def _new(self) -> list[Call]:
        latest = reversed(self._cloud.endpoint.calls) if self._cloud else ()
        new = list(takewhile(lambda call: call is not self._last, latest))
        self._last = new[0] if new else self._last
        return new[::-1]


LEDGER = Ledger()


def clouds() -> Iterator[tuple[Recording, list[Call]]]:
    """Each worker's cloud, by its recording, and what was asked of it."""
    for path in run.folder().glob("recording-*"):
        worker = path.name.partition("-")[2]
        yield pickle.loads(path.read_bytes()), _read(_path("cloud", worker))


def elsewhere() -> list[Call]:
    """What the functions that ran in the tests' own processes asked."""
    return [call for path in run.folder().glob("elsewhere-*") for call in _read(path)]


def _path(kind: str, worker: str) -> Path:
    return run.folder() / f"{kind}-{worker}"


def _append(path: Path, calls: list[Call]) -> None:
    if calls:
        with path.open("ab") as file:
            pickle.dump(calls, file)


def _read(path: Path) -> list[Call]:
    found: list[Call] = []
    if path.exists():
        with path.open("rb") as file:
            while file.peek(1):
                found += pickle.load(file)
    return found
