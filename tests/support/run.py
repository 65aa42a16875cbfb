"""One run of the tests on several workers: the folder they share, and what is finished."""

import os
import pickle
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

POLL_S = 0.05
# Longer than any test takes.
PATIENCE_S = 400.0
# The name of a run's only worker.
ALONE = "alone"

_folders: list[Path] = []


def begin(folder: Path) -> None:
    """Shares this folder, which all workers of the run name."""
    folder.mkdir(exist_ok=True)
    _folders[:] = [folder]


def folder() -> Path:
    """What all workers of this run share."""
    return _folders[0]


def worker() -> str:
    """This process's name within the run."""
    return os.environ.get("PYTEST_XDIST_WORKER", ALONE)


def put(path: Path, value: Any) -> None:
    """Keeps a value, so that it is there whole or not at all."""
    scratch = path.with_suffix(f".{worker()}")
    scratch.write_bytes(pickle.dumps(value))
    scratch.replace(path)


def finish(test: str) -> None:
    """This worker has finished a test."""
    with (folder() / f"finished-{worker()}").open("a") as file:
        file.write(f"{test}\n")


def finished() -> set[str]:
    """The tests that any worker has finished."""
    files = folder().glob("finished-*")
    return {test for file in files for test in file.read_text().splitlines()}


def wait_for(tests: Collection[str]) -> None:
    """Returns when all of them are finished; raises TimeoutError, naming those that are not, when
    for PATIENCE_S nothing has happened.
    """
    left, deadline = set(tests) - finished(), time.monotonic() + PATIENCE_S
    while left:
        time.sleep(POLL_S)
        still = left - finished()
        if len(still) < len(left):
            deadline = time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            raise TimeoutError(f"never finished: {', '.join(sorted(left))}")
        left = still
