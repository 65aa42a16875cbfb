"""Watchers of as many nodes as a test wants, on a real queue, moto's S3 and a scripted model."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from support import jobs
from support.calls import ClientOf
from support.scripted_model import ScriptedModel

from local.aws.endpoint import Endpoint
from local.machine.valkey import Valkey
from tlfif import names, replies
from tlfif.queue import accepting, scripts
from watcher import machine
from watcher.main import Watcher, watching
from watcher.settings import Settings
from watcher.supervisor import Supervisor, SupervisorError

BUCKET = "replies-of-dev"
LEASE_IDLE_S = 1.0
LIMITS = accepting.Limits(burst=1000, sustained=1000)


@dataclass
class Bench:
    """A queue, a bucket that keeps every version, a model, and watchers of as many nodes as a test
    wants.
    """

    redis: "redis.Redis"
    s3: Any
    endpoint: Endpoint
    client_of: ClientOf
    model: ScriptedModel
    valkey: Valkey

    def submit(self, prompt: str, idle_minutes: int = 5, **options: Any) -> accepting.NewJob:
        job = jobs.new_job(prompt=prompt, idle_minutes=idle_minutes, options=options)
        jobs.accept(self.redis, job, LIMITS)
        return job

    def versions(self, job: accepting.NewJob) -> list[dict[str, Any]]:
        """Every body the reply has had, in the order in which S3 got them."""
        listed = self.s3.list_object_versions(Bucket=BUCKET, Prefix=job.reply_key).get(
            "Versions", []
        )
        bodies = [
            self.s3.get_object(Bucket=BUCKET, Key=job.reply_key, VersionId=v["VersionId"])["Body"]
            for v in reversed(listed)
        ]
        return [json.loads(body.read()) for body in bodies]

    def reply(self, job: accepting.NewJob) -> dict[str, Any] | None:
        found = replies.read(self.s3, BUCKET, job.reply_key)
        return found[0] if found else None

    async def final(self, job: accepting.NewJob, timeout_s: float = 60) -> dict[str, Any]:
        """The final reply, once the queue has forgotten the job; nothing was written after it."""
        await until(
            lambda: not self.redis.exists(names.job_key(job.id)) and bool(self.reply(job)),
            timeout_s,
        )
        bodies = self.versions(job)
        finals = [body for body in bodies if body["status"] in replies.FINAL]
        assert finals == bodies[-1:], [
            (body["attempt"], body["sequence"], body["status"]) for body in bodies
        ]
        assert not self.pending()
        return finals[0]

    def pending(self) -> list[dict[str, Any]]:
        try:
            return self.redis.xpending_range(names.STREAM, names.GROUP, "-", "+", 100)
        except redis.ResponseError:
            # No worker has made the group yet.
            return []

    def settings(self, **changes: Any) -> Settings:
        usual = {
            "stack": "dev", "region": "us-east-1", "replies_bucket": BUCKET,
            "redis_host": "127.0.0.1", "redis_port": self.valkey.port,
            "gpu_slots": 4, "max_lifetime_hours": 4, "model_url": self.model.url,
            "lease_renew_s": 0.1, "lease_idle_s": LEASE_IDLE_S, "grace_s": 5,
            "stop_patience_s": 0.3,
            "instance_id": "i-0a", "started_at": time.time(),
            "booted_at": time.monotonic(),
        }  # fmt: skip
        return Settings(**{**usual, **changes})

    def constructed(self, **changes: Any) -> "contextlib.AbstractAsyncContextManager[Watcher]":
        """A watcher that does not run yet."""
        return watching(self.settings(**changes), self._make_s3)

    def _make_s3(self) -> Any:
        return self.client_of(
            "s3", connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}
        )

    @contextlib.asynccontextmanager
    async def watcher(self, **changes: Any) -> AsyncIterator[Watcher]:
        """A watcher that serves until the block ends, when it is told to stop at once."""
        async with self.constructed(**changes) as watcher:
            running = asyncio.create_task(watcher.run())
            try:
                yield watcher
            finally:
                watcher.stop()
                watcher.stop()
                assert await running == 0

    def nodes(self) -> dict[str, str]:
        return {
            node["id"]: node["phase"] for node in scripts.run(self.redis, accepting.status()).nodes
        }


async def until(condition: Callable[[], object], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        await asyncio.sleep(0.02)


class Machine:
    """Stands for EC2 and supervisord, which tests/local/node has.

    `stops` is when it was asked to stop, `powered_off` how often to power off, `counted` how often
    that went into AutoStops; it `refuses` the one, and `stays` up after the other.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stops: list[float] = []
        self.powered_off = self.counted = 0
        self.refuses = self.stays = False
        monkeypatch.setattr(machine, "stop", self._stop)
        monkeypatch.setattr(machine, "count_stop", self._count)
        monkeypatch.setattr(Supervisor, "power_off", self._power_off)

    def _stop(self, region: str, instance_id: str, stack: str) -> None:
        if self.refuses:
            raise machine.StopFailedError("UnauthorizedOperation")
        self.stops.append(time.monotonic())

    def _count(self, region: str, stack: str) -> None:
        self.counted += 1

    def _power_off(self) -> None:
        if self.stays:
            raise SupervisorError("there is none")
        self.powered_off += 1
