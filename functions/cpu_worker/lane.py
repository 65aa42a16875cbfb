"""One invocation of the lane: it enters, prepares, serves and leaves.

Nothing in here lives through a freeze: connections, threads and timers are of this invocation, and
what it holds is handed back before it returns. What outlives it is the container's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cpu_worker.contact import Contact
from cpu_worker.container import Container
from cpu_worker.failure import LaneFailure, LaneInterrupted
from tlfif import names
from tlfif.log import log
from tlfif.queue import lane
from worker import replies
from worker.consumer import Consumer
from worker.host import Ended
from worker.model import Model, Patience
from worker.queue import Queue, connect
from worker.tasks import end

S3_THREADS = 8
# A processor reads a prompt slowly, several at once more so, and says nothing meanwhile.
PATIENCE = Patience(silence_s=180.0, probe_s=60.0)
LOOK_EVERY_S = 0.1
# How often in a row the engine is started again before the lane gives up.
REVIVALS = 2


@dataclass(frozen=True)
class Limits:
    """Times in seconds.

    - `beat_s`: between two heartbeats
    - `over_s`: with so much left of the invocation it takes nothing more
    - `grace_s`: of these, what runs may go on for; the rest is for handing back, which takes at
      most 3 s, for leaving (7 s while the queue hangs) and for calling the successor
    - `last_s`: with so much left it returns, whatever is not done
    - `enter_s`, `silence_s`: how long the queue may be away, at first and later
    - `prepare_s`: how long weights and engine may take
    - `ready_s`: how long an engine that has loaded may give no token
    - `stay_s`: how long it waits for a job to come back that failed by itself
    """

    beat_s: float = 1.0
    over_s: float = 45.0
    grace_s: float = 30.0
    last_s: float = 3.0
    enter_s: float = 10.0
    silence_s: float = 30.0
    prepare_s: float = 300.0
    ready_s: float = 240.0
    stay_s: float = 4.0


class Unawaited(ThreadPoolExecutor):
    """Threads that nobody waits for: a call that hangs must not keep the invocation."""

    def shutdown(self, *_: object, **__: object) -> None:
        super().shutdown(wait=False, cancel_futures=True)


async def serve(
    container: Container,
    token: str,
    left_s: Callable[[], float],
    call_successor: Callable[[str], None],
    limits: Limits | None = None,
) -> str:
    """Works until there is nothing to do, a node is ready, or the time is short; says which.

    `left_s` is what the invocation has left; `call_successor` calls this function again, blocking.
    Raises LaneFailure or LaneInterrupted when it could not work.
    """
    settings, limits = container.settings, limits or Limits()
    pool = Unawaited(S3_THREADS, thread_name_prefix="lane")
    asyncio.get_running_loop().set_default_executor(pool)
    async with connect(settings.redis_host, settings.redis_port) as redis:
        queue = Queue(redis, lane.consumer_name(token))
        contact = Contact(queue, token, container.used)
        why = await Lane(container, queue, contact, pool, left_s, limits).run()
        if contact.left == "call":
            await _in_time(_call(contact, token, call_successor), left_s() - limits.last_s / 2)
        return why


async def _call(contact: Contact, token: str, call_successor: Callable[[str], None]) -> None:
    try:
        await asyncio.to_thread(call_successor, token)
        log("successor_called")
    except Exception as error:
        # The guardian calls, in a minute at the latest.
        log("successor_not_called", "ERROR", why=str(error))
        await contact.do_not_call("NotCalled", f"the lane could not call its successor: {error}")


async def _in_time(what: Awaitable[object], left_s: float) -> None:
    """Awaits it for as long as there is time."""
    try:
        await asyncio.wait_for(what, max(0.0, left_s))
    except asyncio.TimeoutError:
        log("out_of_time", "ERROR")


class Lane:
    """One invocation as its worker's host."""

    def __init__(
        self,
        container: Container,
        queue: Queue,
        contact: Contact,
        pool: ThreadPoolExecutor,
        left_s: Callable[[], float],
        limits: Limits,
    ):
        self._container, self._queue, self._contact = container, queue, contact
        self._pool, self._left_s, self._limits = pool, left_s, limits
        self._consumer: Consumer | None = None
        self._phase, self._has_worked = "loading", False
        self._unready_since = time.monotonic()
        self._failed_at = self._unready_since - limits.stay_s
        self._revivals = 0
        self._reviving: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    async def run(self) -> str:
        """Serves; why it ended: busy, latched, left, node, lost, over.

        Raises what kept it from working, once it has left.
        """
        entered = await self._contact.enter(self._limits.enter_s)
        log("lane", answer=entered)
        if entered != "entered":
            # For the ledger: these seconds are paid for, too.
            await self._contact.leave()
            return entered
        beats = asyncio.create_task(self._beat())
        why, failed = "", None
        try:
            why = await self._serve()
        except Exception as error:
            why, failed = type(error).__name__, error
        finally:
            await end(beats)
        await _in_time(self._farewell(failed), self._left_s() - self._limits.last_s)
        log("lane_left", why=why, answer=self._contact.left)
        if failed is not None:
            raise failed
        return why

    async def _farewell(self, failed: Exception | None) -> None:
        contact = self._contact
        if isinstance(failed, LaneFailure):
            log("lane_failed", "ERROR", code=failed.code, why=failed.message)
            await contact.fail(failed)
        else:
            await contact.leave()
        if contact.left == "call" and (failed is not None or not self._has_worked):
            # Whatever this one met, its successor would meet too: the guardian calls, in a while.
            contact.left = ""
            code = type(failed).__name__ if failed else "NotReady"
            await contact.do_not_call(code, str(failed or "its time was over before it worked"))

    async def _beat(self) -> None:
        while True:
            await self._contact.beat(self._phase, self._consumer.in_flight if self._consumer else 0)
            await asyncio.sleep(self._limits.beat_s)

    # --- what the worker tells its host

    def job_ended(self, job: Ended) -> None:
        """Notes what an answer took; a job without one may come back."""
        if job.answered:
            self._contact.answered(job)
            self._revivals = 0
        else:
            self._failed_at = time.monotonic()

    async def engine_changed(self, ready: bool) -> None:
        """Its phase is `working` while the engine answers."""
        self._phase = "working" if ready else "loading"
        self._has_worked = self._has_worked or ready
        self._unready_since = time.monotonic()

    async def restart_engine(self, why: str) -> None:
        """Ends the engine and starts it again, a few times."""
        if self._reviving is None or self._reviving.done():
            self._reviving = asyncio.create_task(self._revive(why))
        await self._reviving

    # --- serving

    async def _serve(self) -> str:
        if await self._contact.may_leave():
            # Another has done what it was called for.
            return "left"
        serving = asyncio.create_task(self._work())
        over = asyncio.create_task(self._until_over())
        try:
            await asyncio.wait({serving, over}, return_when=asyncio.FIRST_COMPLETED)
            why = over.result() if over.done() else ""
            if self._consumer is not None and why != "left":
                await self._close(self._consumer, why)
            if not why:
                serving.result()
                raise AssertionError("a consumer runs until it is cancelled")
            if self._broken is not None:
                raise self._broken
        finally:
            await end(serving, over)
        return why

    async def _work(self) -> None:
        settings = self._container.settings
        await self._prepare()
        self._unready_since = time.monotonic()
        url = self._container.engine.url
        async with Model(url, settings.model, PATIENCE, settings.context_tokens) as model:
            consumer = self._consumer = Consumer(
                self._queue,
                model,
                replies.Replies(
                    _make_s3, settings.replies_bucket, self._queue.consumer, self._pool
                ),
                self,
                settings.slots,
                engine=names.LANE_ENGINE,
                eur_per_hour=settings.eur_per_hour,
            )
            await consumer.run()

    async def _prepare(self) -> None:
        patience_s = self._limits.prepare_s
        try:
            await asyncio.wait_for(asyncio.to_thread(self._container.prepare), patience_s)
        except asyncio.TimeoutError:
            why = f"weights and engine were not there after {patience_s:.0f} s"
            raise LaneFailure("NotPrepared", why) from None

    async def _close(self, consumer: Consumer, why: str) -> None:
        """Hands back what is not done in time; what could not be, its lease hands back."""
        limits, left_s = self._limits, self._left_s()
        patient = why in ("node", "latched", "over")
        grace_s = max(0.0, left_s - (limits.over_s - limits.grace_s)) if patient else 0.0
        log("lane_closes", why=why, in_flight=consumer.in_flight, grace_s=round(grace_s, 1))
        hurry = asyncio.Event()
        alone = asyncio.create_task(self._until_alone(hurry))
        try:
            await _in_time(consumer.close(grace_s, hurry), left_s - limits.last_s)
        finally:
            await end(alone)

    async def _until_alone(self, hurry: asyncio.Event) -> None:
        """Hurries when the queue does not answer any more, or has another lane."""
        while not hurry.is_set():
            await asyncio.sleep(LOOK_EVERY_S)
            if self._contact.told == "lost" or self._contact.silent_s > self._limits.silence_s:
                hurry.set()

    async def _until_over(self) -> str:
        """Why it is to go, once it is."""
        while True:
            if why := self._reason():
                return why
            if self._consumer is not None and await self._has_left(self._consumer):
                return "left"
            await asyncio.sleep(LOOK_EVERY_S)

    def _reason(self) -> str:
        if self._left_s() <= self._limits.over_s:
            return "over"
        if self._contact.silent_s > self._limits.silence_s:
            self._broken = LaneInterrupted("the queue does not answer")
        if self._broken is None and self._consumer is not None:
            self._tend_engine()
        return "broken" if self._broken else self._contact.told

    async def _has_left(self, consumer: Consumer) -> bool:
        """Leaves when nothing is in flight, and nothing that failed is about to come back."""

        async def agreed() -> bool:
            # Again: the read that this waited for may have brought a job.
            return not consumer.in_flight and await self._contact.may_leave()

        waits = time.monotonic() - self._failed_at < self._limits.stay_s
        return not (waits or consumer.in_flight) and await consumer.close_if(agreed)

    # --- the engine

    def _tend_engine(self) -> None:
        """Starts it again when its process has ended; gives up on one that never gets ready."""
        if self._reviving is not None and not self._reviving.done():
            return
        if not self._container.engine.is_up:
            self._reviving = asyncio.create_task(self._revive("its process has ended"))
        elif self._phase == "loading":
            unready_s = time.monotonic() - self._unready_since
            if unready_s > self._limits.ready_s:
                why = f"the engine gave no token for {unready_s:.0f} s after it had loaded"
                self._broken = LaneFailure("EngineFailed", why)

    async def _revive(self, why: str) -> None:
        self._revivals += 1
        log("engine_restart", "ERROR", why=why, number=self._revivals)
        try:
            if self._revivals > REVIVALS:
                raise LaneFailure("EngineFailed", f"the engine fails again and again: {why}")
            await asyncio.to_thread(self._container.restart)
        except (LaneFailure, LaneInterrupted) as failure:
            self._broken = failure


def _make_s3() -> Any:
    return replies.client(None, connections=S3_THREADS)
