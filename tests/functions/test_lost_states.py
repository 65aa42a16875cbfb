"""DELETE, the guardian, workers and a queue that forgets, in any order: no answer is 200 `running`,
and in the end there is one final reply for each job that ever had one.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from support import lost
from support.jobs import new_job
from support.world import World

from guardian import guardian
from router import routes
from tlfif import environment, names, replies
from tlfif.proxy import Problem
from tlfif.queue import accepting, guarding, scripts
from tlfif.queue.working import ClaimedJob

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-003"), pytest.mark.story("RED-003")]


class Worker:
    """Has one job; writes its reply as a worker does, under S3's conditions."""

    def __init__(self, s3: Any, bucket: str, claimed: ClaimedJob, status: str) -> None:
        self.claimed, self.over, self.dead = claimed, False, False
        self._s3, self._bucket, self._etag = s3, bucket, None
        self.write(status)

    def write(self, status: str) -> None:
        body = json.dumps({"status": status, "text": "", "worker": "w", "attempt": 1}).encode()
        key, self.over = self.claimed.reply_key, status in replies.FINAL
        try:
            self._etag = replies.put(self._s3, self._bucket, key, body, self._etag)
        except ClientError:
            found = replies.read(self._s3, self._bucket, key)
            assert found
            assert found[0]["status"] in replies.FINAL, "only an ending is in the way"
            self.over = True


class Interposed:
    """S3 with something that happens just before, or just after, the router's next read."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def get_object(self, **asked: Any) -> Any:
        before, self.before = self.before, lambda: None
        before()
        try:
            return self._s3.get_object(**asked)
        finally:
            after, self.after = self.after, lambda: None
            after()

    def put_object(self, **asked: Any) -> Any:
        return self._s3.put_object(**asked)


class Machine(RuleBasedStateMachine):
    """Each job is Ada's; a node is up, so nobody calls EC2."""

    jobs: Bundle[accepting.NewJob] = Bundle("jobs")
    world: World
    buckets = 0

    def __init__(self) -> None:
        super().__init__()
        self.s3 = self.world.moto.client("s3")
        self.world.queue.flushall()
        Machine.buckets += 1
        self.bucket = f"replies-{Machine.buckets}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        self.all: list[accepting.NewJob] = []
        self.workers: dict[str, Worker] = {}
        self.routers_s3 = Interposed(self.s3)
        told = replace(environment.Router.read(), replies_bucket=self.bucket)
        verifier: Any = SimpleNamespace()
        self.services = routes.Services(told, self.world.queue, verifier)
        vars(self.services)["s3"] = self.routers_s3
        self.world.heartbeat()

    @initialize(target=jobs)
    def begin(self) -> accepting.NewJob:
        job = self._accept()
        self.claim()
        return job

    @rule(target=jobs)
    def accept(self) -> Any:
        return self._accept() if len(self.all) < 3 else multiple()

    def _accept(self) -> accepting.NewJob:
        job = new_job()
        scripts.run(self.world.queue, accepting.accept(job, lost.UNLIMITED))
        self.all.append(job)
        return job

    @rule()
    def claim(self) -> None:
        """A group that was lost delivers what its workers have once more: they have it already."""
        for claimed in self.world.claim():
            if claimed.id not in self.workers:
                status = "cancelled" if claimed.cancelled else "running"
                status = status if claimed.values else "expired"
                self.workers[claimed.id] = Worker(self.s3, self.bucket, claimed, status)

    @rule(job=jobs)
    def write(self, job: accepting.NewJob) -> None:
        self._work(job, "running")

    @rule(job=jobs)
    def answer(self, job: accepting.NewJob) -> None:
        self._work(job, "done")

    @rule(job=jobs)
    def hear(self, job: accepting.NewJob) -> None:
        if self.world.queue.exists(names.cancelled_key(job.id)):
            self._work(job, "cancelled")

    def _work(self, job: accepting.NewJob, status: str) -> None:
        worker = self.workers.get(job.id)
        if worker and not worker.over and not worker.dead:
            worker.write(status)

    @rule(job=jobs)
    def acknowledge(self, job: accepting.NewJob) -> None:
        worker = self.workers.get(job.id)
        if worker and worker.over and not worker.dead:
            lost.finish(self.world, worker.claimed)

    @rule(job=jobs)
    def die(self, job: accepting.NewJob) -> None:
        if job.id in self.workers:
            self.workers[job.id].dead = True

    @rule()
    def wipe(self) -> None:
        lost.wipe(self.world)

    @rule(job=jobs)
    def expire(self, job: accepting.NewJob) -> None:
        self.world.queue.delete(names.job_key(job.id))

    @rule()
    def lose_group(self) -> None:
        self.world.queue.delete(names.STREAM)

    @rule()
    def sweep(self) -> None:
        time.sleep(0.002)
        scripts.run(self.world.queue, guarding.sweep(ttl_s=0, lost_s=-1))

    @rule()
    def guard(self) -> None:
        self.world.heartbeat()
        caller = self.services.caller
        rounds: Any = SimpleNamespace(go=lambda now: None)
        guardian.Guardian(caller, None, self.s3, "t", time.monotonic() + 30, rounds).run()

    meanwhile = st.sampled_from(["", "answer", "acknowledge", "wipe", "guard", "expire", "sweep"])

    @rule(job=jobs, before=meanwhile, after=meanwhile)
    def delete(self, job: accepting.NewJob, before: str, after: str) -> None:
        self.routers_s3.before = lambda: self._happens(before, job)
        self.routers_s3.after = lambda: self._happens(after, job)
        try:
            answer = self._cancel(job)
        finally:
            self.routers_s3.before = self.routers_s3.after = lambda: None
        status, stands = json.loads(answer["body"])["status"], self._stands(job)
        if answer["statusCode"] == 404:
            assert job.id not in self.workers, "it has a reply"
        elif answer["statusCode"] == 200:
            assert status in replies.FINAL
            assert stands == status
        else:
            assert (answer["statusCode"], status) == (202, "cancelling")

    def _cancel(self, job: accepting.NewJob) -> Any:
        event: Any = {"pathParameters": {"id": job.id}}
        try:
            return routes.cancel(self.services, event, "ada")
        except Problem as problem:
            return {"statusCode": problem.status, "body": '{"status": ""}'}

    def _stands(self, job: accepting.NewJob) -> str:
        found = replies.read(self.s3, self.bucket, job.reply_key)
        return found[0]["status"] if found else ""

    def _happens(self, what: str, job: accepting.NewJob) -> None:
        if what in ("wipe", "guard", "sweep"):
            getattr(self, what)()
        elif what:
            getattr(self, what)(job)

    def teardown(self) -> None:
        """No worker comes any more, and time passes."""
        for job in self.all:
            self.expire(job)
        self.sweep()
        for _ in range(2):
            self.guard()
            lost.a_day_later(self.world)
            self.guard()
        for job in self.all:
            listed = self.s3.list_object_versions(Bucket=self.bucket, Prefix=job.reply_key)
            bodies = [self._status(job, each["VersionId"]) for each in listed.get("Versions", [])]
            finals = [status for status in bodies if status in replies.FINAL]
            assert len(finals) == bool(bodies), bodies
        assert self.world.queue.xlen(names.STREAM) == 0
        assert self.world.queue.exists(names.PENDING_REPLIES) == 0

    def _status(self, job: accepting.NewJob, version: str) -> str:
        found = self.s3.get_object(Bucket=self.bucket, Key=job.reply_key, VersionId=version)
        return str(json.loads(found["Body"].read())["status"])


def test_whatever_happens_in_whatever_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SILENT_S", 0)
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0)
    monkeypatch.setattr(Machine, "world", world, raising=False)
    run_state_machine_as_test(  # pyright: ignore
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
