"""The node's life: boot, load, serve, rest.

One process; supervisord restarts it when it ends with an error.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tlfif.log import log
from tlfif.queue import working
from watcher import boot, giving_up, machine
from watcher.engine import EngineRestarts
from watcher.heartbeat import Heartbeat
from watcher.instance import Uptime
from watcher.memory import Store
from watcher.resting import Limits, Policy
from watcher.settings import Settings
from watcher.spot import Notices
from watcher.steps import Steps
from watcher.supervisor import Supervisor
from worker import replies
from worker.consumer import Consumer
from worker.host import Ended
from worker.model import Model, Patience
from worker.queue import Queue, connect
from worker.tasks import end

# How often the node looks whether it is to rest; when that is due sooner, it looks then.
IDLE_POLL_S = 0.25
DRAIN_EVERY_S = 1.0
# What a next process of this boot has to know is at most so old.
SAVE_EVERY_S = 1.0
# Enough for 32 jobs that write once a second; more keep the event loop from its turn, which feeds
# the engine.
S3_THREADS = 8


def main(restarted: bool = False) -> None:
    """Runs until SIGTERM (exit 0) or until it cannot go on (exit 1).

    `restarted`: the machine has had another watcher since it booted.
    """
    # Before the first steps have passed.
    steps = Steps(Supervisor(os.environ), float(os.environ.get("TLFIF_BOOTED_AT", "0")))
    steps.watch()
    settings = boot.settings()
    sys.exit(asyncio.run(run(settings, restarted, steps)) if settings else 1)


async def run(settings: Settings, restarted: bool, steps: Steps) -> int:
    """Serves until told to stop; the exit code."""

    def make_s3() -> Any:
        return replies.client(settings.region, connections=S3_THREADS)

    # Before anything waits, and before the S3 client: boto3 makes one client at a time.
    machine.warm_up(settings.region)
    async with watching(settings, make_s3, restarted, steps) as watcher:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, watcher.stop)
        return await watcher.run()


@contextlib.asynccontextmanager
async def watching(
    settings: Settings,
    make_s3: Callable[[], Any],
    restarted: bool = False,
    steps: Steps | None = None,
) -> AsyncGenerator["Watcher", None]:
    """A watcher with its connections; `make_s3` makes a boto3 client."""
    with ThreadPoolExecutor(S3_THREADS, thread_name_prefix="s3") as pool:
        patience = Patience(settings.engine_silence_s, settings.engine_probe_s)
        async with (
            connect(settings.redis_host, settings.redis_port) as redis,
            Model(settings.model_url, settings.model, patience, settings.context_tokens) as model,
        ):
            yield Watcher(settings, redis, model, make_s3, pool, restarted, steps)


class Watcher:
    """The node as its worker's host: what its process consists of, and when it ends."""

    def __init__(
        self,
        settings: Settings,
        redis: "Redis",
        model: Model,
        make_s3: Callable[[], Any],
        pool: ThreadPoolExecutor,
        restarted: bool = False,
        steps: Steps | None = None,
    ):
        self._settings, self._boot = settings, secrets.token_hex(4)
        name = working.consumer_name(settings.instance_id, self._boot)
        self._queue = Queue(redis, name)
        self._consumer = Consumer(
            self._queue,
            model,
            replies.Replies(make_s3, settings.replies_bucket, name, pool),
            self,
            settings.gpu_slots,
            engine=settings.engine,
            eur_per_hour=settings.gpu_eur_per_hour,
            lease_renew_s=settings.lease_renew_s,
            lease_idle_s=settings.lease_idle_s,
        )
        self._supervisor = Supervisor(os.environ)
        self._steps = steps or Steps(self._supervisor)
        uptime = Uptime(settings.started_at, settings.booted_at)
        self._heartbeat = Heartbeat(
            self._queue,
            settings.instance_id,
            self._boot,
            uptime,
            lambda: self._consumer.in_flight,
            restarted,
            self._steps.reached,
        )
        self._told_to_stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._store = Store(os.environ)
        self._policy = self._make_policy(uptime)
        self._notices = Notices(
            settings.notices_at, settings.seconds_per_minute, lambda: uptime.epoch_ms() / 1000
        )
        self._restarts = EngineRestarts(self._supervisor, time.monotonic)
        self._why = ""

    def _make_policy(self, uptime: Uptime) -> Policy:
        settings, now = self._settings, time.monotonic()
        # Early enough to hand back what runs: the lifetime is a promise about money.
        left_s = settings.max_lifetime_s - settings.grace_s - uptime.seconds()
        limits = Limits(
            idle_s=settings.idle_s(settings.idle_minutes),
            allowance_s=settings.boot_allowance_s,
            last_moment=now + left_s,
        )
        return Policy(limits, now, self._store.load(now))

    async def run(self) -> int:
        """Serves until told to stop.

        The exit code: 1 when something broke that only a new process can mend.
        """
        settings = self._settings
        log("started", instance=settings.instance_id, boot=self._boot, stack=settings.stack)
        work = (self._serve(), self._heartbeat.run(), self._notices.run(), self._rest())
        tasks = [asyncio.create_task(each) for each in work]
        told = asyncio.create_task(self._told_to_stop.wait())
        try:
            await asyncio.wait({told, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                return _report(tasks)
            await self._consumer.close(settings.grace_s, self._hurry)
        finally:
            await end(told, *tasks)
        # Only now, or a late heartbeat would bring the node back.
        await self._leave()
        return 0

    def stop(self) -> None:
        """The first call asks to finish what runs, the second to hand it back at once."""
        log("told_to_stop", again=self._told_to_stop.is_set())
        (self._hurry if self._told_to_stop.is_set() else self._told_to_stop).set()

    # --- what the worker tells its host

    def job_ended(self, job: Ended) -> None:
        """Counts the idle time from now on, as the job asked."""
        minutes = job.idle_minutes
        idle_s = None if minutes is None else self._settings.idle_s(minutes)
        self._look()
        self._policy.job_ended(idle_s, job.answered)
        if job.answered:
            self._restarts.answered()
        self._store.save(self._policy.memory())

    async def engine_changed(self, ready: bool) -> None:
        """Says so in the heartbeat, unless the node is leaving."""
        self._look()
        if not self._heartbeat.draining.is_set():
            await self._heartbeat.enter("ready" if ready else "loading")

    async def restart_engine(self, why: str) -> None:
        """Has supervisord start the engine anew, unless that was tried just now."""
        await self._restarts.ask(why)

    # --- serving and resting

    async def _serve(self) -> None:
        await self._heartbeat.enter("booting")
        await self._heartbeat.enter("loading")
        await self._consumer.run()

    async def _rest(self) -> None:
        """Waits until the node should rest, then stops the machine; ends only if that failed."""
        reason = await self._until_due()
        log("resting", reason=reason)
        settings, grace_s = self._settings, self._settings.grace_s
        if reason in giving_up.KINDS:
            await self._tell(reason)
        elif reason == "interrupted":
            grace_s = self._notices.grace_s()
            await self._tell_of_notice(grace_s)
        await self._heartbeat.enter("draining")
        await self._consumer.close(grace_s, self._hurry)
        # Before EC2 does it: a spot node that stopped itself is ours to start again.
        await machine.rest(
            settings.region,
            settings.instance_id,
            settings.stack,
            self._supervisor,
            settings.stop_patience_s,
        )
        # A new process serves again: accept would otherwise wait for a start of a machine that
        # runs.
        log("not_stopped", "ERROR")

    async def _until_due(self) -> str:
        """Why the node is to rest, once it is."""
        saved_at = 0.0
        while True:
            if self._notices.notice:
                return "interrupted"
            self._look()
            reason = self._policy.reason(told=self._heartbeat.draining.is_set())
            if reason == "idle" and not await self._consumer.close_if(self._may_drain):
                self._policy.refused(DRAIN_EVERY_S)
                await asyncio.sleep(DRAIN_EVERY_S)
            elif reason:
                return reason
            if time.monotonic() >= saved_at + SAVE_EVERY_S:
                saved_at = time.monotonic()
                self._store.save(self._policy.memory())
            await asyncio.sleep(min(IDLE_POLL_S, self._policy.due_in()))

    def _look(self) -> None:
        """Notes what the node does now."""
        # Of two obstacles the queue's is told: without it, the others do not matter.
        kind, _, self._why = (self._heartbeat.failure or self._consumer.obstacle).partition(": ")
        self._policy.note(time.monotonic(), self._consumer.in_flight > 0, kind)

    async def _tell(self, kind: str) -> None:
        settings, why = self._settings, self._why or "it has some"
        if kind == "engine" and self._steps.complaint:
            why = f"{why}; {self._steps.complaint}"
        spent_s = self._policy.obstructed_s
        await giving_up.tell(self._queue, settings.instance_id, self._boot, kind, why, spent_s)

    async def _tell_of_notice(self, grace_s: float) -> None:
        async def at_once() -> bool:
            return True

        # Nothing more is claimed; whoever hears of it below sends jobs elsewhere.
        await self._consumer.close_if(at_once)
        instance = self._settings.instance_id
        message = (
            f"EC2 takes the spot node {instance} back ({self._notices.notice}). What it does not "
            f"finish in {grace_s:.0f} s is left to others."
        )
        await giving_up.say(self._queue, instance, self._boot, "SpotInterruption", message)

    async def _may_drain(self) -> bool:
        """Whether the queue lets this node go; from then on accept counts on it no more."""
        try:
            answer = await self._queue.ask(working.drain(self._settings.instance_id, self._boot))
        except RedisError as error:
            answer = str(error)
        log("drain", answer=answer)
        return answer == "draining"

    async def _leave(self) -> None:
        try:
            await self._queue.ask(
                working.leave(self._settings.instance_id, self._boot, self._queue.consumer)
            )
        except RedisError as error:
            log("leave_failed", "WARNING", why=str(error))
        log("stopped")


def _report(tasks: "list[asyncio.Task[None]]") -> int:
    """Says which part of the process ended, and why; the exit code."""
    for task in tasks:
        if task.done() and (error := task.exception()):
            log("crashed", "ERROR", traceback="".join(traceback.format_exception(error)))
    return 1
