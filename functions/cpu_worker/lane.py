"""One invocation of the lane: it enters, prepares, serves and leaves.

Nothing in here lives through a freeze: connections, threads and timers are of this invocation, and
what it holds is handed back before it returns. What outlives it is the container's.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import RedisError

from cpu_worker.container import Container
from cpu_worker.failure import LaneFailure, LaneInterrupted
from tlfif import names
from tlfif.log import log
from tlfif.queue import lane, working
from tlfif.queue.scripts import Call
from worker import replies
from worker.consumer import Consumer
from worker.host import Ended
from worker.model import Model, Patience
from worker.queue import Queue, connect
from worker.tasks import end

T = TypeVar("T")

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
    - `stay_s`: how long it waits for a job to come back that failed by itself
    """

    beat_s: float = 1.0
    over_s: float = 45.0
    grace_s: float = 30.0
    last_s: float = 3.0
    enter_s: float = 10.0
    silence_s: float = 30.0
    prepare_s: float = 300.0
    stay_s: float = 4.0


class Unawaited(ThreadPoolExecutor):
    """Threads that nobody waits for: a call that hangs must not keep the invocation."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
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
        at = Lane(container, token, queue, pool, left_s, limits)
        why = await at.run()
        if at.successor_wanted:
            await _in_time(_call(queue, token, call_successor), left_s() - limits.last_s / 2)
        return why


async def _call(queue: Queue, token: str, call_successor: Callable[[str], None]) -> None:
    try:
        await asyncio.to_thread(call_successor, token)
        log("successor_called")
    except Exception as error:
        # The guardian calls, in a minute at the latest.
        log("successor_not_called", "ERROR", why=str(error))
        await _tell(queue, lane.uncalled(token))


async def _tell(queue: Queue, call: Call[T]) -> T | None:
    """None when the queue does not answer."""
    try:
        return await queue.ask(call)
    except RedisError as error:
        log("queue_unavailable", "WARNING", call=call.script, why=str(error))
        return None


async def _in_time(what: Awaitable[object], left_s: float) -> None:
    """Awaits it for as long as there is time."""
    try:
        await asyncio.wait_for(what, max(0.0, left_s))
    except asyncio.TimeoutError:
        log("out_of_time", "ERROR")


class Lane:
    """One invocation as its worker's host.

    `successor_wanted`: it has the right to call the next one, and is to.
    """

    def __init__(
        self,
        container: Container,
        token: str,
        queue: Queue,
        pool: ThreadPoolExecutor,
        left_s: Callable[[], float],
        limits: Limits,
    ):
        self.successor_wanted = False
        self._container, self._token, self._queue, self._pool = container, token, queue, pool
        self._left_s, self._limits, self._used = left_s, limits, container.used
        self._consumer: Consumer | None = None
        self._answers: list[Ended] = []
        self._phase, self._told, self._left = "loading", "", ""
        self._heard_at = self._failed_at = time.monotonic()
        self._failed_at -= limits.stay_s
        self._revivals, self._reviving = 0, False
        self._broken: Exception | None = None
        # A heartbeat that came after the farewell would bring the lane back.
        self._asking = asyncio.Lock()

    async def run(self) -> str:
        """Serves; why it ended: busy, latched, left, node, lost, over."""
        entered = await self._enter()
        log("lane", answer=entered, token=self._token)
        if entered != "entered":
            await self._leave()
            return entered
        beats = asyncio.create_task(self._beat())
        failed: Exception | None = None
        try:
            why = await self._serve()
        except (LaneFailure, LaneInterrupted) as error:
            why, failed = type(error).__name__, error
        finally:
            await end(beats)
        await _in_time(self._farewell(failed), self._left_s() - self._limits.last_s)
        log("lane_left", why=why, answer=self._left)
        if failed is not None:
            raise failed
        return why

    async def _farewell(self, failed: Exception | None) -> None:
        if isinstance(failed, LaneFailure):
            log("lane_failed", "ERROR", code=failed.code, why=failed.message)
            await self._fail(failed)
        elif not self._left:
            await self._leave()
        if self._left == "call":
            # Whatever this one met, its successor would meet too: the guardian calls, in a while.
            self.successor_wanted = failed is None
            if failed is not None:
                await _tell(self._queue, lane.uncalled(self._token))
        consumer = self._queue.consumer
        await _tell(self._queue, working.leave(names.LANE_OWNER, self._token, consumer))

    # --- what the worker tells its host

    def job_ended(self, job: Ended) -> None:
        """Notes what an answer took; a job without one may come back."""
        if job.answered:
            self._answers.append(job)
            self._revivals = 0
        else:
            self._failed_at = time.monotonic()

    async def engine_changed(self, ready: bool) -> None:
        """Its phase is `working` while the engine answers."""
        self._phase = "working" if ready else "loading"

    async def restart_engine(self, why: str) -> None:
        """Ends the engine and starts it again, a few times."""
        await self._revive(why)

    # --- serving

    async def _serve(self) -> str:
        # Another may have done what it was called for.
        if await self._leave(over=False) not in ("work", None):
            return "left"
        serving = asyncio.create_task(self._work())
        over = asyncio.create_task(self._until_over())
        try:
            await asyncio.wait({serving, over}, return_when=asyncio.FIRST_COMPLETED)
            why = over.result() if over.done() else ""
            if self._consumer is not None and not self._left:
                await self._close(why)
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
        async with Model(self._container.engine.url, names.SERVED_MODEL, PATIENCE) as model:
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
            raise LaneFailure(
                "Unprepared", f"weights and engine were not there after {patience_s:.0f} s"
            ) from None

    async def _close(self, why: str) -> None:
        """Hands back what is not done in time; what could not be, its lease hands back."""
        assert self._consumer is not None
        limits, left_s = self._limits, self._left_s()
        patient = why in ("node", "latched", "over")
        grace_s = max(0.0, left_s - (limits.over_s - limits.grace_s)) if patient else 0.0
        log("lane_closes", why=why, in_flight=self._consumer.in_flight, grace_s=round(grace_s, 1))
        try:
            closing = self._consumer.close(grace_s, asyncio.Event())
            await asyncio.wait_for(closing, max(0.0, left_s - limits.last_s))
        except asyncio.TimeoutError:
            log("not_handed_back", "ERROR", in_flight=self._consumer.in_flight)

    async def _until_over(self) -> str:
        """Why it is to go, once it is."""
        while True:
            if why := self._reason():
                return why
            self._tend_engine()
            if self._is_idle() and await self._may_leave():
                return "left"
            await asyncio.sleep(LOOK_EVERY_S)

    def _reason(self) -> str:
        if self._left_s() <= self._limits.over_s:
            return "over"
        if time.monotonic() - self._heard_at > self._limits.silence_s:
            self._broken = LaneInterrupted("the queue does not answer")
        return "broken" if self._broken else self._told

    # --- the engine

    def _tend_engine(self) -> None:
        """Starts it again when its process has ended by itself."""
        up = self._container.engine.is_up
        if self._consumer is not None and not up and not self._reviving:
            self._reviving = True
            self._revival = asyncio.create_task(self._revive("its process has ended"))

    async def _revive(self, why: str) -> None:
        self._reviving = True
        self._revivals += 1
        log("engine_restart", "ERROR", why=why, number=self._revivals)
        try:
            if self._revivals > REVIVALS:
                raise LaneFailure("EngineFailed", f"the engine failed again and again: {why}")
            await asyncio.to_thread(self._container.restart)
        except (LaneFailure, LaneInterrupted) as failure:
            self._broken = failure
        finally:
            self._reviving = False

    # --- what it tells the queue

    async def _enter(self) -> str:
        call = lane.enter(self._token)
        try:
            return await asyncio.wait_for(self._queue.insist(call), self._limits.enter_s)
        except asyncio.TimeoutError:
            raise LaneInterrupted("the queue does not answer") from None

    async def _beat(self) -> None:
        while True:
            in_flight = self._consumer.in_flight if self._consumer else 0
            beat = functools.partial(lane.beat, self._token, self._phase, in_flight)
            answer = await self._tell_used(beat)
            if answer is not None:
                self._heard_at = time.monotonic()
                self._told = self._told if answer == "go on" else answer
            await self._tell_answers()
            await asyncio.sleep(self._limits.beat_s)

    def _is_idle(self) -> bool:
        """Whether nothing is in flight, and nothing that failed is about to come back."""
        if self._consumer is None or self._consumer.in_flight:
            return False
        return time.monotonic() - self._failed_at >= self._limits.stay_s

    async def _may_leave(self) -> bool:
        assert self._consumer is not None
        return await self._consumer.close_if(self._agreed)

    async def _agreed(self) -> bool:
        return await self._leave(over=False) not in ("work", None)

    async def _leave(self, over: bool = True) -> str | None:
        """Says that it goes; None when the queue does not answer, and its heartbeat runs out."""
        await self._tell_answers()
        answer = await self._tell_used(
            lambda s: lane.leave(self._token, s, over=over), but="work", last=over
        )
        if answer not in ("work", None):
            self._left = answer
        return answer

    async def _fail(self, failure: LaneFailure) -> None:
        await self._tell_used(
            lambda s: lane.fail(self._token, failure.code, failure.message, s), last=True
        )

    async def _tell_used(
        self, make: Callable[[float], Call[str]], but: str = "", last: bool = False
    ) -> str | None:
        """Tells the ledger too, unless the answer is `but`; the `last` time nothing follows."""
        async with self._asking:
            if self._left:
                return None
            owed_s = self._used.owed()
            answer = await _tell(self._queue, make(owed_s))
            if answer is not None and answer != but:
                self._used.told(owed_s)
            if last:
                self._left = self._left or "gone"
            return answer

    async def _tell_answers(self) -> None:
        while self._answers:
            job = self._answers[0]
            if await _tell(self._queue, lane.answered(job.first_ms, job.work_ms)) is None:
                return
            del self._answers[:1]


def _make_s3() -> Any:
    return replies.client(None, connections=S3_THREADS)
