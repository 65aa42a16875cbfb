"""The instant lane beside a queue, a bucket and an engine of a test's own."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.watchers import BUCKET, Bench

from cpu_worker import lane
from cpu_worker.container import Container, Used
from cpu_worker.failure import LaneFailure
from tlfif import names
from tlfif.environment import CpuWorker

WEIGHTS = b"GGUF" + bytes(range(256)) * 100
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
# A lane that has no time to lose.
LIMITS = lane.Limits(beat_s=0.1, over_s=3.0, grace_s=1.5, last_s=0.2, enter_s=1.0, stay_s=0.3)


class FakeEngine:
    """An engine that is somebody else's server; `refuses` is why it does not load."""

    def __init__(self, url: str) -> None:
        self.url, self.is_up = url, False
        self.refuses = ""
        self.load_s = 0.0
        self.started = self.stopped = 0
        self.loaded: list[bytes] = []

    def start(self) -> None:
        self.started += 1

    def load(self, path: Path) -> None:
        time.sleep(self.load_s)
        self.loaded.append(path.read_bytes())
        if self.refuses:
            raise LaneFailure("EngineFailed", self.refuses)
        self.is_up = True

    def stop(self) -> None:
        self.stopped += 1
        self.is_up = False


@dataclass
class Site:
    """A container of the lane, and what is called in it."""

    bench: Bench
    container: Container
    engine: FakeEngine
    successors: list[str] = field(default_factory=list)
    limits: lane.Limits = LIMITS

    async def invoke(self, seconds: float = 30.0, token: str = "t1") -> str:
        """One invocation of so many seconds; what it says."""
        ends = time.monotonic() + seconds
        with self.container.used.running():
            return await lane.serve(
                self.container,
                token,
                lambda: ends - time.monotonic(),
                self.successors.append,
                self.limits,
            )

    def put_weights(self, data: bytes = WEIGHTS) -> None:
        self.bench.s3.put_object(Bucket=BUCKET, Key=names.model_key(SHA256), Body=data)


def settings(port: int, **changes: Any) -> CpuWorker:
    usual: dict[str, Any] = {
        "redis_host": "127.0.0.1",
        "redis_port": port,
        "stack": "dev",
        "replies_bucket": BUCKET,
        "model_key": names.model_key(SHA256),
        "model_sha256": SHA256,
        "slots": 2,
        "eur_per_hour": 0.18,
    }
    return CpuWorker(**{**usual, **changes})


def make_site(bench: Bench, folder: Path, **changes: Any) -> Site:
    engine = FakeEngine(bench.model.url)
    told = settings(bench.valkey.port, **changes)
    container = Container(told, engine, Used(0.0), lambda: bench.s3, folder)
    site = Site(bench, container, engine)
    site.put_weights()
    return site
