"""The instant lane beside a queue, a bucket and an engine of a test's own."""

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from support.calls import REGION
from support.fake_engine import FakeEngine
from support.watchers import BUCKET, Bench, until

from cpu_worker import lane
from cpu_worker.container import Container, Used
from local.aws.endpoint import Endpoint
from tlfif import names, replies
from tlfif.environment import CpuWorker
from tlfif.queue.accepting import NewJob

WEIGHTS = b"GGUF" + bytes(range(256)) * 100
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
# A lane that has no time to lose.
LIMITS = lane.Limits(beat_s=0.1, over_s=3.0, grace_s=1.5, last_s=0.2, enter_s=1.0, stay_s=0.3)


@dataclass
class Site:
    """A container of the lane, and what is called in it."""

    bench: Bench
    container: Container
    engine: FakeEngine
    successors: list[str] = field(default_factory=list)
    limits: lane.Limits = LIMITS

    def __post_init__(self) -> None:
        self.call_successor: Callable[[str], None] = self.successors.append

    @property
    def is_generating(self) -> bool:
        """Whether the engine has a job: a probe is none."""
        return bool(self.bench.model.asked and self.bench.model.running)

    async def invoke(self, seconds: float = 30.0, token: str = "t1") -> str:
        """One invocation of so many seconds; what it says."""
        ends = time.monotonic() + seconds
        with self.container.used.running():
            return await lane.serve(
                self.container,
                token,
                lambda: ends - time.monotonic(),
                self.call_successor,
                self.limits,
            )

    def put_weights(self, data: bytes = WEIGHTS) -> None:
        self.bench.s3.put_object(Bucket=BUCKET, Key=names.model_key(SHA256), Body=data)

    async def final(self, job: NewJob) -> dict[str, Any]:
        """The one final reply, once the queue has forgotten the job; nothing was written after it.

        Whoever handed a job back counts no attempt, so that two workers' attempts may be equal.
        """
        await until(lambda: not self.bench.redis.exists(names.job_key(job.id)), 20)
        listed = self.bench.s3.list_object_versions(Bucket=BUCKET, Prefix=job.reply_key)
        bodies = [
            json.loads(
                self.bench.s3.get_object(
                    Bucket=BUCKET, Key=job.reply_key, VersionId=version["VersionId"]
                )["Body"].read()
            )
            for version in sorted(listed["Versions"], key=lambda version: version["IsLatest"])
        ]
        assert [body["status"] in replies.FINAL for body in bodies] == [False] * (
            len(bodies) - 1
        ) + [True]
        return bodies[-1]

    def remove_weights(self) -> None:
        self.bench.s3.delete_object(Bucket=BUCKET, Key=names.model_key(SHA256))

    def fail_reads(self, status: int) -> None:
        """Every read of the weights fails so."""

        def get_object(**_: Any) -> Any:
            answer = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": "SlowDown"}}
            raise ClientError(answer, "GetObject")

        self.container._make_s3 = lambda: SimpleNamespace(get_object=get_object)

    @contextlib.asynccontextmanager
    async def hung_queue(self) -> AsyncIterator[None]:
        """The queue takes connections and answers nothing within a block."""
        with contextlib.closing(self.bench.valkey.operator()) as operator:
            pid = operator.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


def environment(endpoint: Endpoint) -> dict[str, str]:
    """What Lambda tells the function of AWS."""
    key, secret = endpoint.operator
    return {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


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
