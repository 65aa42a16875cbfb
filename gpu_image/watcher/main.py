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
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tlfif.log import log
from tlfif.queue import working
from watcher import instance, machine
from watcher import settings as settings_module
from watcher.heartbeat import Heartbeat
from watcher.idle import IdleTimer
from watcher.instance import Instance, InstanceError
from watcher.settings import Settings, SettingsError
from watcher.uptime import Uptime
from worker import replies
from worker.backoff import Backoff
from worker.consumer import Consumer
from worker.model import Model, Patience
from worker.queue import Queue
from worker.tasks import end, poll

# How long, and how often, a node asks what it is told before it stops its machine instead.
SETTINGS_PATIENCE_S, SETTINGS_EVERY_S = 120.0, 5.0
IDLE_POLL_S = 0.25
DRAIN_EVERY_S = 1.0
# Longer than a read of the stream blocks.
REDIS_TIMEOUT_S = 5.0
STOP_TRIES = 5
# How long EC2 may take to shut this machine down before this process concludes that it goes on.
STOPPING_S = 180.0


def main() -> None:
    """Runs until SIGTERM (exit 0) or until it cannot go on (exit 1)."""
    try:
        this = instance.ask(os.environ)
    except InstanceError as error:
        log("instance", "ERROR", why=str(error))
        sys.exit(1)
    settings = _settings(this)
    sys.exit(asyncio.run(run(settings)) if settings else 1)


def _settings(this: Instance) -> Settings | None:
    """What this node is told, as soon as it can be had; None if it stops instead: a node that
    cannot work must not cost money.
    """
    give_up = time.monotonic() + SETTINGS_PATIENCE_S
    while True:
        try:
            return settings_module.load(this, os.environ)
        except SettingsError as error:
            log("settings", "ERROR", why=str(error))
        if time.monotonic() >= give_up:
            break
        # The network may come late, and `pulumi up` may be about to mend it.
        time.sleep(SETTINGS_EVERY_S)
    try:
        machine.stop(this.region, this.id, this.stack)
        log("resting", reason="no settings")
        time.sleep(STOPPING_S)
    except machine.StopFailedError as error:
        log("stop_failed", "ERROR", why=str(error))
    return None


async def run(settings: Settings) -> int:
    """Serves until told to stop; the exit code."""

    def make_s3() -> Any:
        return replies.client(settings.region, connections=settings.gpu_slots + 2)

    async with watching(settings, make_s3) as watcher:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, watcher.stop)
        return await watcher.run()


@contextlib.asynccontextmanager
async def watching(
    settings: Settings, make_s3: Callable[[], Any]
) -> AsyncGenerator["Watcher", None]:
    """A watcher with its connections; `make_s3` makes a boto3 client."""
    redis = Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=2.0,
        socket_timeout=REDIS_TIMEOUT_S,
        # Every loop here waits and tries again by itself.
        retry=Retry(NoBackoff(), 0),
    )
    with ThreadPoolExecutor(settings.gpu_slots + 2, thread_name_prefix="s3") as pool:
        patience = Patience(settings.engine_silence_s, settings.engine_probe_s)
        async with redis, Model(settings.model_url, settings.model, patience) as model:
            yield Watcher(settings, redis, model, make_s3, pool)


class Watcher:
    """The node as its worker's host: what its process consists of, and when it ends."""

    def __init__(
        self,
        settings: Settings,
        redis: "Redis",
        model: Model,
        make_s3: Callable[[], Any],
        pool: ThreadPoolExecutor,
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
        uptime = Uptime(settings.started_at, settings.booted_at)
        self._heartbeat = Heartbeat(
            self._queue,
            settings.instance_id,
            self._boot,
            uptime,
            lambda: self._consumer.in_flight,
        )
        self._idle = IdleTimer(settings.idle_s(settings.idle_minutes), time.monotonic())
        self._told_to_stop, self._hurry = asyncio.Event(), asyncio.Event()
        # Early enough to hand back what runs: the lifetime is a promise about money.
        left_s = settings.max_lifetime_s - settings.grace_s - uptime.seconds()
        self._last_moment = time.monotonic() + left_s

    async def run(self) -> int:
        """Serves until told to stop.

        The exit code: 1 when something broke that only a new process can mend.
        """
        settings = self._settings
        log("started", instance=settings.instance_id, boot=self._boot, stack=settings.stack)
        work = (self._serve(), self._heartbeat.run(), self._rest())
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

    def job_ended(self, idle_minutes: float | None, answered: bool) -> None:
        """Counts the idle time from now on, as the job asked."""
        idle_s = None if idle_minutes is None else self._settings.idle_s(idle_minutes)
        self._idle.job_ended(time.monotonic(), idle_s)

    async def engine_changed(self, ready: bool) -> None:
        """Says so in the heartbeat, unless the node is leaving."""
        if not self._heartbeat.draining.is_set():
            await self._heartbeat.enter("ready" if ready else "loading")

    async def restart_engine(self, why: str) -> None:
        """Has supervisord start the engine anew."""
        log("engine_restart", "ERROR", why=why)

    # --- serving and resting

    async def _serve(self) -> None:
        await self._heartbeat.begin()
        await self._heartbeat.enter("loading")
        await self._consumer.run()

    async def _rest(self) -> None:
        """Waits until the node should rest, then stops the machine; ends only if that failed."""
        reason = await poll(IDLE_POLL_S, self._reason_to_rest)
        log("resting", reason=reason)
        await self._heartbeat.enter("draining")
        await self._consumer.close(self._settings.grace_s, self._hurry)
        if await self._stop_machine():
            await asyncio.sleep(STOPPING_S)
        # A new process serves again: accept would otherwise wait for a start of a machine that
        # runs.
        log("not_stopped", "ERROR")

    async def _reason_to_rest(self) -> str | None:
        now = time.monotonic()
        if now >= self._last_moment:
            return "lifetime"
        if self._heartbeat.draining.is_set():
            return "told"
        if self._consumer.in_flight or self._consumer.obstacle:
            self._idle.busy(now)
        elif self._idle.due(now):
            if await self._consumer.close_if(self._may_drain):
                return "idle"
            await asyncio.sleep(DRAIN_EVERY_S)
        return None

    async def _may_drain(self) -> bool:
        """Whether the queue lets this node go; from then on accept counts on it no more."""
        try:
            answer = await self._queue.ask(working.drain(self._settings.instance_id, self._boot))
        except RedisError as error:
            answer = str(error)
        log("drain", answer=answer)
        return answer == "draining"

    async def _stop_machine(self) -> bool:
        settings, backoff = self._settings, Backoff(first_s=1.0)
        for _ in range(STOP_TRIES):
            try:
                # A thread ends what it has begun, even when this process is told to stop meanwhile.
                await asyncio.to_thread(
                    machine.stop, settings.region, settings.instance_id, settings.stack
                )
                return True
            except machine.StopFailedError as error:
                log("stop_failed", "ERROR", why=str(error))
            await backoff.pause()
        return False

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
