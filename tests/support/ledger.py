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
        self._clouds: dict[str, LocalCloud] = {}
        self._last: dict[str, Call] = {}

    def watch(self, cloud: LocalCloud) -> None:
        """Writes down what is asked of this cloud from now on."""
        name = f"{run.worker()}.{len(self._clouds)}"
        self._clouds[name] = cloud
        run.put(_path("recording", name), cloud.recording)

    def write(self) -> None:
        """Writes down what has been asked since the last time."""
        _append(_path("elsewhere", run.worker()), world.PERFORMED)
        world.PERFORMED.clear()
        for name, cloud in self._clouds.items():
            _append(_path("cloud", name), self._new(name, cloud))

    def _new(self, name: str, cloud: LocalCloud) -> list[Call]:
        last = self._last.get(name)
        new = list(takewhile(lambda call: call is not last, reversed(cloud.endpoint.calls)))
        self._last.update({name: new[0]} if new else {})
        return new[::-1]


LEDGER = Ledger()


def clouds() -> Iterator[tuple[Recording, list[Call]]]:
    """Each worker's clouds, by their recordings, and what was asked of them."""
    for path in run.folder().glob("recording-*"):
        name = path.name.partition("-")[2]
        yield pickle.loads(path.read_bytes()), _read(_path("cloud", name))


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
