"""The program's recordings, evaluated once a run: an evaluation takes a second, and importing
Pulumi's classes for the first one takes five.
"""

import hashlib
import logging
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from support import run

from recording import evaluate as program
from recording.engine import Backend
from recording.model import Recording
from recording.shipped import stacks

# It declares what prod does, with other numbers and names: a test of components/ says so.
ALIKE = ("dev", "prod")
LOG = logging.getLogger("recording.engine")


def evaluate(
    stack: str, backend: Backend | None = None, *, config: Mapping[str, Any] | None = None
) -> Recording:
    """What the program declares for a stack, as `recording.evaluate` says it, each time a copy of
    its own; what the program logged is logged again. With a back end it is evaluated each time.
    """
    if backend is not None:
        return program.evaluate(stack, backend, config=config)
    digest = hashlib.sha256(repr((stack, config)).encode()).hexdigest()
    path = run.folder() / f"{digest}.recording"
    if not path.exists():
        with _logged() as records:
            recording = program.evaluate(stack, config=config)
        run.put(path, (recording, records))
    recording, records = pickle.loads(path.read_bytes())
    for record in records:
        if LOG.isEnabledFor(record.levelno):
            LOG.handle(record)
    return recording


@contextmanager
def shared() -> Iterator[None]:
    """What the program's tools evaluate within the block is evaluated once a run, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in [*sys.modules.items()]:
            if name.startswith("tools.") and vars(module).get("evaluate") is program.evaluate:
                patch.setattr(module, "evaluate", evaluate)
        yield


def different() -> list[str]:
    """The stacks that differ in more than numbers and names: of those alike the last one alone."""
    return [stack for stack in stacks() if stack not in ALIKE[:-1]]


@contextmanager
def _logged() -> Iterator[list[logging.LogRecord]]:
    """Collects what the program logs within the block, at any level, in place of showing it."""
    records: list[logging.LogRecord] = []
    collector = logging.Handler()
    collector.emit = records.append
    level, LOG.propagate = LOG.level, False
    LOG.addHandler(collector)
    LOG.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        LOG.removeHandler(collector)
        LOG.setLevel(level)
        LOG.propagate = True
