"""The watcher on a real Valkey and moto's S3: every job ends in exactly one final reply, whatever
fails (EC2-003).
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import redis
from support.calls import ClientOf
from support.scripted_model import WORD, ScriptedModel, away, scripted_model

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from local.machine.valkey import Valkey
from tlfif import names, queue, replies
from watcher import machine, main
from watcher.main import Watcher, watching
from watcher.settings import Settings
from worker import consumer

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

BUCKET = "replies-of-dev"
LEASE_IDLE_S = 1.0
LIMITS = queue.Limits(burst=1000, sustained=1000)


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

    def submit(self, prompt: str, idle_minutes: int = 5, **options: Any) -> queue.NewJob:
        job = queue.NewJob(
            id=str(uuid.uuid4()),
            sub="ada",
            prompt=prompt,
            idle_minutes=idle_minutes,
            options=options,
        )
        assert isinstance(queue.run(self.redis, queue.accept(job, LIMITS)), queue.Accepted)
        return job

    def versions(self, job: queue.NewJob) -> list[dict[str, Any]]:
        """Every body the reply has had, oldest first."""
        listed = self.s3.list_object_versions(Bucket=BUCKET, Prefix=job.reply_key).get(
            "Versions", []
        )
        bodies = [
            self.s3.get_object(Bucket=BUCKET, Key=job.reply_key, VersionId=v["VersionId"])["Body"]
            for v in listed
        ]
        return sorted(
            (json.loads(body.read()) for body in bodies),
            key=lambda body: (body["attempt"], body["sequence"]),
        )

    def reply(self, job: queue.NewJob) -> dict[str, Any] | None:
        found = replies.read(self.s3, BUCKET, job.reply_key)
        return found[0] if found else None

    async def final(self, job: queue.NewJob, timeout_s: float = 15) -> dict[str, Any]:
        """The final reply, once the queue has forgotten the job; and nothing was written after it."""
        await until(
            lambda: not self.redis.exists(f"job:{job.id}") and bool(self.reply(job)), timeout_s
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
            "stack": "dev", "region": "us-east-1", "redis_host": "127.0.0.1", "redis_port": self.valkey.port,
            "replies_bucket": BUCKET, "gpu_slots": 4, "max_lifetime_hours": 4, "model_url": self.model.url,
            "lease_renew_s": 0.1, "lease_idle_s": LEASE_IDLE_S, "grace_s": 5,
            "instance_id": "i-0a", "started_at": time.time(),
        }  # fmt: skip
        return Settings(**{**usual, **changes})

    def constructed(self, **changes: Any) -> "contextlib.AbstractAsyncContextManager[Watcher]":
        """A watcher that does not run yet."""
        s3 = self.client_of(
            "s3", connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}
        )
        return watching(self.settings(**changes), s3)

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
        return {node["id"]: node["phase"] for node in queue.run(self.redis, queue.status()).nodes}


async def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def bench(
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(consumer, "BLOCK_MS", 100)
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with contextlib.closing(queue.connect("127.0.0.1", valkey.port)) as client:
        async with scripted_model() as model:
            yield Bench(client, s3, endpoint, client_of, model, valkey)


async def test_a_job_is_streamed_to_s3_and_ends_done(bench: Bench) -> None:
    job = bench.submit("tokens=12 every=0.2", temperature=0.5)
    async with bench.watcher():
        reply = await bench.final(job)
    bodies = bench.versions(job)
    texts = [body["text"] for body in bodies]
    assert reply["text"] == 12 * WORD
    assert texts == sorted(texts, key=len)
    assert len(bodies) >= 3
    assert [body["sequence"] for body in bodies] == [*range(1, len(bodies) + 1)]
    assert {body["status"] for body in bodies[:-1]} == {"running"}
    assert (reply["id"], reply["attempt"], reply["prompt_tokens"], reply["completion_tokens"]) == (
        job.id,
        1,
        7,
        12,
    )
    assert reply["worker"].startswith("i-0a:")
    assert (
        reply["created_at"]
        <= reply["started_at"]
        <= reply["first_token_at"]
        <= reply["finished_at"]
    )
    assert reply["tokens_per_second"] == pytest.approx(5, rel=0.3)


async def test_first_bytes_come_at_once_and_then_once_a_second(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=30 every=0.1 first=0.6")
        await bench.final(job)
    calls = [call for call in bench.endpoint.calls if call.operation == "PutObject"]
    bodies = bench.versions(job)
    assert [body["text"] for body in bodies[:2]] == ["", WORD]
    assert calls[1].time + calls[1].duration_ms / 1000 - bodies[1]["first_token_at"] / 1000 < 0.25
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(calls[1:-1])]
    assert gaps
    assert min(gaps) >= 0.99


async def test_a_slow_job_is_announced_before_its_first_token(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1 first=5")
        await until(lambda: bench.reply(job))
        reply = bench.reply(job)
        assert reply is not None
        assert (reply["status"], reply["text"]) == ("running", "")
        assert reply["updated_at"] - reply["started_at"] < 1000


async def test_a_cancelled_job_stops_within_a_second_and_keeps_its_text(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        begun = time.monotonic()
        assert queue.run(bench.redis, queue.cancel(job.id, "ada"))[0] == "running"
        reply = await bench.final(job)
        assert time.monotonic() - begun < 1
        assert (reply["status"], reply["reason"]) == ("cancelled", "user")
        assert reply["text"].startswith(WORD)
        await until(lambda: bench.model.aborted == 1)


async def test_stop_cancels_what_runs(bench: Bench) -> None:
    async with bench.watcher(instance_id="i-stop") as watcher:
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        queue.run(bench.redis, queue.stop())
        reply = await bench.final(job)
        assert (reply["status"], reply["reason"]) == ("cancelled", "stopped")
        watcher.stop()


async def test_a_reply_that_somebody_else_ended_is_acknowledged_and_left_alone(
    bench: Bench,
) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        replies.write_final(
            bench.s3, BUCKET, queue.Owed(job.id, job.reply_key, "cancelled", "stopped"), "router"
        )
        await until(lambda: not bench.redis.exists(f"job:{job.id}"))
        reply = bench.reply(job)
        assert reply is not None
        assert reply["worker"].startswith("router")
        await until(lambda: bench.model.running == 0)


async def test_an_expired_job_gets_its_reply(bench: Bench) -> None:
    job = bench.submit("tokens=1")
    bench.redis.delete(f"job:{job.id}")
    async with bench.watcher():
        await until(lambda: bench.reply(job))
        await until(lambda: not bench.redis.xlen(names.STREAM))
    reply = bench.reply(job)
    assert reply is not None
    assert (reply["status"], reply["text"], bench.model.asked) == ("expired", "", [])
    assert reply["finished_at"] >= reply["created_at"] > 0


async def test_what_the_model_refuses_fails_with_its_words(bench: Bench) -> None:
    async with bench.watcher():
        reply = await bench.final(bench.submit("refuse=400"))
    assert reply["status"] == "failed"
    assert "exceeds the available context size (2048 tokens)" in reply["error"]
    assert (len(bench.model.asked), bench.redis.xlen(names.DEAD_STREAM)) == (1, 0)


@pytest.mark.parametrize("how", ["break_after", "error_after"])
async def test_the_third_failed_delivery_is_dead(bench: Bench, how: str) -> None:
    async with bench.watcher():
        job = bench.submit(f"tokens=5 every=0.01 {how}=2")
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"]) == ("failed", 3)
    assert reply["error"].startswith("gave up after 3 attempts: ModelBrokeError")
    assert len(bench.model.asked) == 3
    ((_, buried),) = bench.redis.xrange(names.DEAD_STREAM)
    assert buried["id"] == job.id
    assert "ModelBrokeError" in buried["reason"]


async def test_a_job_that_killed_three_workers_is_dead(bench: Bench) -> None:
    job = bench.submit("tokens=1")
    queue.run(bench.redis, queue.create_group())
    bench.redis.xreadgroup(names.GROUP, "i-dead:1", {names.STREAM: ">"})
    for number in (2, 3):
        bench.redis.xautoclaim(names.STREAM, names.GROUP, f"i-dead:{number}", 0)
    async with bench.watcher():
        reply = await bench.final(job)
    assert (reply["status"], reply["error"]) == (
        "failed",
        "gave up after 3 attempts: its workers died",
    )
    assert (bench.model.asked, bench.redis.xlen(names.DEAD_STREAM)) == ([], 1)


async def test_a_model_that_is_away_costs_no_delivery(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        with away(bench.model):
            job = bench.submit("tokens=2")
            await until(lambda: bench.nodes() == {"i-0a": "loading"})
            await asyncio.sleep(LEASE_IDLE_S)
            assert [entry["times_delivered"] for entry in bench.pending()] == [0], (
                "handed back, for whoever can"
            )
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)


async def test_nothing_is_taken_before_the_model_is_ready(bench: Bench) -> None:
    with away(bench.model):
        async with bench.watcher():
            job = bench.submit("tokens=1")
            await until(lambda: bench.nodes() == {"i-0a": "loading"})
            await asyncio.sleep(0.3)
            assert queue.run(bench.redis, queue.status()).depth == 1
            assert bench.reply(job) is None
            bench.model.away = False
            assert (await bench.final(job))["status"] == "done"
    (boot_ms,) = (
        bench.redis.lrange(names.BOOTS_KEY, 0, -1)
        if hasattr(names, "BOOTS_KEY")
        else bench.redis.lrange("boot:history", 0, -1)
    )
    assert 0 < int(boot_ms) < 5000


async def test_the_first_stop_lets_running_jobs_finish(bench: Bench) -> None:
    async with bench.watcher() as watcher:
        job = bench.submit("tokens=10 every=0.1")
        await until(lambda: bench.reply(job))
        watcher.stop()
        reply = await bench.final(job)
        assert (reply["status"], reply["attempt"]) == ("done", 1)
        await until(lambda: bench.nodes() == {})


async def test_the_second_stop_hands_back_without_counting_the_delivery(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=20 every=0.1")
        await until(lambda: bench.reply(job))
    # The block's end told it twice.
    await until(lambda: bench.model.aborted == 1)
    assert [entry["times_delivered"] for entry in bench.pending()] == [0]
    async with bench.watcher(instance_id="i-0b", lease_idle_s=60):
        # At once: the lease of who handed it back does not have to run out.
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"], reply["text"]) == ("done", 1, 20 * WORD)
    assert reply["worker"].startswith("i-0b:")


@pytest.mark.parametrize("after_s", [0, 0.002, 0.005, 0.02, 0.05])
async def test_a_watcher_can_be_stopped_while_it_boots(bench: Bench, after_s: float) -> None:
    bench.model.away = True
    async with bench.watcher():
        await asyncio.sleep(after_s)
    assert bench.nodes() == {}


async def test_the_grace_ends(bench: Bench) -> None:
    async with bench.watcher(grace_s=0.3) as watcher:
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        watcher.stop()
        await until(lambda: bench.model.aborted == 1, 2)
    assert [entry["times_delivered"] for entry in bench.pending()] == [0]


async def test_a_lost_lease_stops_generation_and_writing(bench: Bench) -> None:
    async with bench.watcher(lease_idle_s=60):
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        (entry,) = bench.pending()
        bench.redis.xclaim(names.STREAM, names.GROUP, "i-other:1", 0, [entry["message_id"]])
        await until(lambda: bench.model.aborted == 1, 1)
        written = len(bench.versions(job))
        await asyncio.sleep(1.2)
        assert len(bench.versions(job)) == written
        assert [entry["consumer"] for entry in bench.pending()] == ["i-other:1"]


async def test_a_frozen_worker_yields_to_the_one_that_took_over(bench: Bench) -> None:
    """Its lease ran out while it stood still; when it wakes, its writes are refused before its
    lease is looked at.
    """
    async with bench.watcher(lease_renew_s=60, instance_id="i-frozen", gpu_slots=1):
        job = bench.submit("tokens=30 every=0.1")
        await until(lambda: bench.reply(job))
        async with bench.watcher(instance_id="i-next"):
            reply = await bench.final(job)
            assert reply["worker"].startswith("i-next:")
            assert (reply["attempt"], reply["text"]) == (2, 30 * WORD)
            assert bench.model.aborted == 1


async def test_two_watchers_share_the_queue_and_answer_everything_once(bench: Bench) -> None:
    jobs = [bench.submit("tokens=3 every=0.05") for _ in range(24)]
    async with bench.watcher(instance_id="i-0a"), bench.watcher(instance_id="i-0b"):
        await until(lambda: not bench.redis.xlen(names.STREAM))
        finals = [await bench.final(job) for job in jobs]
    assert {reply["status"] for reply in finals} == {"done"}
    assert len(bench.model.asked) == 24
    assert {reply["worker"][:4] for reply in finals} == {"i-0a", "i-0b"}


async def test_no_more_jobs_than_slots(bench: Bench) -> None:
    jobs = [bench.submit("tokens=5 every=0.1") for _ in range(6)]
    most = 0
    async with bench.watcher(gpu_slots=2):
        while bench.redis.xlen(names.STREAM):
            most = max(most, len(bench.pending()), bench.model.running)
            await asyncio.sleep(0.02)
        for job in jobs:
            await bench.final(job)
    assert most == 2


async def test_a_queue_that_lost_its_memory_is_served_again(bench: Bench) -> None:
    async with bench.watcher():
        lost = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(lost))
        await bench.valkey.stop()
        await asyncio.sleep(0.5)
        await bench.valkey.start()
        reply = await bench.final(bench.submit("tokens=2"))
        assert reply["status"] == "done"
        await until(lambda: bench.model.running == 0)


async def test_a_queue_that_hangs_delays_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "REDIS_TIMEOUT_S", 0.3)
    pid = bench.redis.info("server")["process_id"]
    async with bench.watcher(lease_idle_s=30):
        job = bench.submit("tokens=10 every=0.1")
        await until(lambda: bench.reply(job))
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(2)
            reply = bench.reply(job)
            assert reply is not None
            assert reply["status"] == "done", "the model and S3 need no queue"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await bench.final(job))["attempt"] == 1
        assert (await bench.final(bench.submit("tokens=1")))["status"] == "done"


async def test_the_final_reply_waits_for_s3(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        with bench.endpoint.faults.injected(Fault("s3", status=503, code="SlowDown", times=None)):
            job = bench.submit("tokens=3")
            await until(lambda: len(bench.model.asked) == 1 and bench.model.running == 0)
            await asyncio.sleep(2 * LEASE_IDLE_S)
            assert bench.reply(job) is None
            assert [entry["times_delivered"] for entry in bench.pending()] == [1], (
                "the lease is kept meanwhile"
            )
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"], len(bench.model.asked)) == ("done", 1, 1)


async def test_a_write_that_timed_out_but_stands_is_recognised(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        # Longer than the client waits; the endpoint carries the request out all the same.
        bench.endpoint.faults.add(Fault("s3", "PutObject", delay_s=1.3, times=2))
        reply = await bench.final(bench.submit("tokens=3"))
    assert reply["status"] == "done"


# --- resting (EC2-004) ----------------------------------------------------------------------------


class Machine:
    """Stands for EC2, which test_node.py has; `stops` is when it was asked to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stops: list[float] = []
        self.refuses = False
        monkeypatch.setattr(machine, "stop", self._stop)

    def _stop(self, region: str, instance_id: str, stack: str) -> None:
        if self.refuses:
            raise machine.StopFailedError("UnauthorizedOperation")
        self.stops.append(time.monotonic())


@pytest.fixture
def node_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.story("EC2-004")
async def test_a_job_sets_how_long_the_node_waits_after_it(
    bench: Bench, node_machine: Machine
) -> None:
    async with bench.watcher(seconds_per_minute=1, idle_minutes=30):
        job = bench.submit("tokens=8 every=0.2", idle_minutes=1)
        await bench.final(job)
        ended = time.monotonic()
        await until(lambda: node_machine.stops)
        assert 0.9 < node_machine.stops[0] - ended < 2
        assert bench.nodes() == {"i-0a": "draining"}


@pytest.mark.story("EC2-004")
async def test_a_loading_node_does_not_rest(bench: Bench, node_machine: Machine) -> None:
    with away(bench.model):
        async with bench.watcher(seconds_per_minute=0.2, idle_minutes=1):
            await asyncio.sleep(1)
            assert node_machine.stops == []


@pytest.mark.story("RED-003")
async def test_a_job_that_was_handed_back_is_served_before_those_that_came_after_it(
    bench: Bench,
) -> None:
    bench.submit("tokens=1 job=first")
    queue.run(bench.redis, queue.create_group())
    read: Any = bench.redis.xreadgroup(names.GROUP, "i-gone:1", {names.STREAM: ">"})
    queue.run(bench.redis, queue.hand_back("i-gone:1", read[0][1][0][0]))
    for number in range(20):
        bench.submit(f"tokens=1 job={number}")
    async with bench.watcher(gpu_slots=1):
        await until(lambda: bench.model.asked)
    assert "job=first" in str(bench.model.asked[0]), "not after the twenty that nobody has read yet"


@pytest.mark.story("EC2-004")
async def test_a_node_does_not_rest_while_a_job_is_abandoned_and_takes_it(
    bench: Bench, node_machine: Machine
) -> None:
    job = bench.submit("tokens=1")
    queue.run(bench.redis, queue.create_group())
    bench.redis.xreadgroup(names.GROUP, "i-dead:1", {names.STREAM: ">"})
    async with bench.watcher(seconds_per_minute=0.1, idle_minutes=1, lease_idle_s=2):
        await asyncio.sleep(1)
        assert node_machine.stops == []
        await bench.final(job)


@pytest.mark.story("EC2-004")
async def test_a_job_that_comes_after_the_drain_is_left_for_the_next_boot(
    bench: Bench, node_machine: Machine
) -> None:
    async with bench.watcher(seconds_per_minute=0.2, idle_minutes=1):
        await until(lambda: node_machine.stops)
        late = queue.NewJob(id=str(uuid.uuid4()), sub="ada", prompt="tokens=1", idle_minutes=5)
        answer = queue.run(bench.redis, queue.accept(late, LIMITS))
        assert isinstance(answer, queue.Accepted)
        assert (answer.state, answer.wake) == ("starting", 1)
        await asyncio.sleep(0.5)
        assert bench.model.asked == []


@pytest.mark.story("EC2-004")
async def test_a_node_that_cannot_stop_itself_serves_again(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "STOP_TRIES", 1)
    node_machine.refuses = True
    async with bench.constructed(seconds_per_minute=0.2, idle_minutes=1) as watcher:
        assert await watcher.run() == 1, "supervisord starts a new one"
    async with bench.watcher(seconds_per_minute=60):
        await bench.final(bench.submit("tokens=1"))


@pytest.mark.story("EC2-004")
async def test_nothing_outlives_the_longest_lifetime(bench: Bench, node_machine: Machine) -> None:
    """One hour at 0.025 s a minute is 1.5 s, the last half of which is the grace."""
    async with bench.watcher(
        seconds_per_minute=0.025, max_lifetime_hours=1, grace_s=0.5, idle_minutes=30
    ):
        job = bench.submit("tokens=1000 every=0.05", idle_minutes=30)
        await until(lambda: node_machine.stops)
        assert [entry["times_delivered"] for entry in bench.pending()] == [0]
        assert (bench.reply(job) or {})["status"] == "running"


@pytest.mark.story("EC2-004")
async def test_a_node_that_is_told_to_drain_stops_its_machine(
    bench: Bench, node_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.heartbeat.EVERY_S", 0.2)
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        queue.run(bench.redis, queue.stop())
        await until(lambda: node_machine.stops)
