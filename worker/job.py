"""One job's life on this worker: generation, partial replies meanwhile, and the final one."""

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum

from tlfif import names
from tlfif.log import log
from tlfif.queue import conversation
from worker.backoff import Backoff
from worker.completions import JobRefusedError, ModelAwayError, ModelError
from worker.gate import Gate, Verdict
from worker.host import Ended
from worker.lease import Lease
from worker.meter import Meter
from worker.model import Model
from worker.progress import Progress
from worker.replies import Reply, StorageError, Written
from worker.tasks import end
from worker.turns import Turns

PARTIAL_EVERY_S = 1.0
# A first token that takes longer than this is announced by a reply without text.
ANNOUNCE_AFTER_S = 0.5
# A reply says at least as often that its job lives; clients give up one that is silent for 120 s.
STILL_THERE_EVERY_S = 30.0
# An engine's failures of which a job is not thought guilty: then it runs alone.
CRASHES_FORGIVEN = 2
# How long a job waits that failed by itself, for each delivery that it has had.
RETRY_AFTER_S = 1.0
# How long a worker that closes tries to hand a job back, while the queue is away.
LAST_WORDS_S = 3.0


class Ending(Enum):
    """How the work on a job ended."""

    ANSWERED = "answered"  # its final reply stands
    FAILED = "failed"  # this delivery did, by the job's own fault as far as is known
    CRASHED = "crashed"  # the engine failed while it had the job
    UNTRIED = "untried"  # the engine took no request
    LOST = "lost"  # the job is another worker's now


class _FailedError(Exception):
    """An attempt that came to nothing: how, and in which words."""

    def __init__(self, ending: Ending, why: str):
        super().__init__(why)
        self.ending = ending


@dataclass(frozen=True)
class Workplace:
    """What the jobs of one worker share.

    `closing` is set once it claims no more: then it may be the engine that is being stopped.
    `changed` is set when one of them has left the engine.
    """

    model: Model
    gate: Gate
    turns: Turns
    meter: Meter
    engine: str
    closing: asyncio.Event
    changed: asyncio.Event


class Job:
    """A job that this worker has claimed, with the lease on it.

    `is_done`: its answer was generated to the end. `is_leaving`: it needs the engine no more, only
    its last reply is still to be written.
    """

    def __init__(self, lease: Lease, reply: Reply, workplace: Workplace):
        self.lease = lease
        self.is_done = self.is_leaving = False
        self._crashes = lease.job.crashes
        self._claimed, self._reply, self._at = lease.job, reply, workplace
        self._cancelled = self._buried = self._status = ""
        self._attempt: asyncio.Task[None] | None = None
        self._grown, self._ended = asyncio.Event(), asyncio.Event()
        self._progress = Progress(lease.job, workplace.engine, workplace.model.context_tokens)

    @property
    def is_suspect(self) -> bool:
        """Whether it was with the engine more than once when that failed."""
        return self._crashes >= CRASHES_FORGIVEN

    def ended(self) -> Ended:
        """What its host hears of it when it is over here."""
        values, progress = self._claimed.values, self._progress
        return Ended(
            idle_minutes=float(values["idle_minutes"]) if values else None,
            answered=self.is_done,
            first_ms=progress.first_token_ms,
            work_ms=progress.share.ms if progress.share else 0,
        )

    def cancel(self, why: str) -> None:
        """Ends the generation with a `cancelled` reply; too late when it has ended by itself."""
        self._cancelled = self._cancelled or why
        if self._attempt is not None:
            self._attempt.cancel()

    def outlive_queue(self) -> None:
        """Hears that the queue knows this job no more: nobody else will answer it."""
        if not self._progress.queue_lost_it:
            log("queue_lost_job", "ERROR", id=self._claimed.id)
            self._progress.queue_lost_it = True

    async def run(self) -> None:
        """Brings the job to its end, and its lease with it.

        Cancelling the task that runs this leaves the job unanswered and the lease as it is.
        """
        ending = await self._work()
        if ending is Ending.ANSWERED:
            await self.lease.finish(self._status, self._buried)
        elif ending is not Ending.LOST:
            await self._return(ending)

    async def _return(self, ending: Ending) -> None:
        """Gives the job back for another try, here or elsewhere; only its own failure counts."""
        own = ending is Ending.FAILED and not self._at.closing.is_set()
        crashed = ending is Ending.CRASHED and not self._at.closing.is_set()
        after_s = RETRY_AFTER_S * self._claimed.deliveries if own else 0.0
        answer = await self.lease.hand_back(counted=own, crashed=crashed, after_s=after_s)
        if answer == "gone":
            await self._finish("expired", reason="the queue lost it, and its worker failed")

    async def give_up(self) -> None:
        """Hands back what this worker has no time to finish; call it when nothing runs any more.

        A job that the queue has lost nobody would claim: it ends here. While the queue is away, the
        lease runs out.
        """
        with contextlib.suppress(asyncio.TimeoutError):
            if await asyncio.wait_for(self.lease.hand_back(), LAST_WORDS_S) != "gone":
                return
            await self._finish("expired", reason="the queue lost it, and its worker had to stop")

    async def _work(self) -> Ending:
        if self._claimed.cancelled:
            return await self._finish("cancelled", reason=self._claimed.cancelled)
        if self._claimed.values is None:
            return await self._finish("expired", reason="no node was ready in time")
        if self._claimed.deliveries > names.MAX_DELIVERIES:
            return await self._bury("its workers died")
        return await self._answer()

    async def _bury(self, why: str) -> Ending:
        """Ends a job that failed as often as it may."""
        self._buried = why
        return await self._finish(
            "failed", error=f"gave up after {names.MAX_DELIVERIES} attempts: {why}"
        )

    async def _answer(self) -> Ending:
        self._attempt = asyncio.create_task(self._try())
        partials = asyncio.create_task(self._publish())
        tasks = (self._attempt, partials)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self.is_leaving = True
            self._at.changed.set()
            if not self._attempt.done():
                return _ending(partials.result())
            self._ended.set()
            self._grown.set()
            await asyncio.wait(tasks)
            return await self._conclude(self._attempt)
        finally:
            await end(*tasks)

    # --- with the engine

    async def _try(self) -> None:
        """Generates the answer, again if only the engine failed. Raises JobRefusedError or
        _FailedError.
        """
        while True:
            async with self._at.turns.taken(self.is_suspect) as turn:
                try:
                    with self._at.meter.running() as self._progress.share:
                        await self._generate()
                    return
                except ModelError as caught:
                    error = caught
            why = f"{type(error).__name__}: {error}"
            verdict = await self._at.gate.doubt(self._claimed.id, error)
            ending = self._blame(error, verdict, turn.alone)
            self._log_failure(ending, why)
            if not await self._stays(ending):
                raise _FailedError(ending, why) from error
            await self._at.gate.wait()
            self._progress.begin_again()

    def _log_failure(self, ending: Ending, why: str) -> None:
        attempt, how = self._claimed.deliveries, ending.value
        log("attempt_failed", "ERROR", id=self._claimed.id, attempt=attempt, how=how, why=why)

    async def _stays(self, ending: Ending) -> bool:
        """Whether the job waits here for the engine: nobody else would take it sooner."""
        if ending is Ending.FAILED or self._at.closing.is_set():
            return False
        crashed = ending is Ending.CRASHED
        answer = await self.lease.hand_back(crashed=crashed, unless_alone=True)
        self._crashes += crashed
        return answer in ("kept", "gone")

    async def _generate(self) -> None:
        messages, progress = conversation.of(self._claimed.values or {}), self._progress
        async with contextlib.aclosing(self._at.model.stream(messages, progress.options)) as chunks:
            async for chunk in chunks:
                progress.usage = chunk.usage or progress.usage
                progress.finish_reason = chunk.finish_reason or progress.finish_reason
                if chunk.text:
                    progress.add(chunk.text)
                    self._grown.set()

    def _blame(self, error: ModelError, verdict: Verdict, alone: bool) -> Ending:
        """Whose failure it was.

        An engine that fails again and again with the same job, and with no other, fails by the job.
        """
        if isinstance(error, ModelAwayError) and verdict is Verdict.AWAY:
            return Ending.UNTRIED
        guilty = verdict is Verdict.JOB and not isinstance(error, ModelAwayError)
        again = alone and self._crashes > 0
        return Ending.FAILED if guilty or again or self.is_suspect else Ending.CRASHED

    # --- its replies

    async def _publish(self) -> Written:
        """Writes partial replies until the generation ends, or the reply is not this worker's."""
        written = await self._announce()
        while written is Written.MINE:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._grown.wait(), STILL_THERE_EVERY_S)
            self._grown.clear()
            if self._ended.is_set():
                break
            written = await self._write_partial()
            if written is Written.MINE:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), PARTIAL_EVERY_S)
        return written

    async def _announce(self) -> Written:
        """Writes a reply without text, should the first token take long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._grown.wait(), ANNOUNCE_AFTER_S)
        return Written.MINE if self._grown.is_set() else await self._write_partial()

    async def _write_partial(self) -> Written:
        try:
            return await self._reply.write(self._progress.body("running"))
        except StorageError as error:
            # The next one carries this one's text too.
            log("partial_lost", "WARNING", id=self._claimed.id, why=str(error))
            return Written.MINE

    async def _conclude(self, attempt: "asyncio.Task[None]") -> Ending:
        if attempt.cancelled():
            return await self._finish("cancelled", reason=self._cancelled)
        error = attempt.exception()
        if error is None:
            self.is_done = True
            self._at.gate.answered()
            return await self._finish("done")
        if isinstance(error, JobRefusedError):
            return await self._finish("failed", error=f"the model refused the request: {error}")
        if not isinstance(error, _FailedError):
            raise error
        return await self._after_failure(error.ending, str(error))

    async def _after_failure(self, ending: Ending, why: str) -> Ending:
        last = self._claimed.deliveries >= names.MAX_DELIVERIES and not self._at.closing.is_set()
        return await self._bury(why) if last and ending is Ending.FAILED else ending

    async def _finish(self, status: str, **why: str) -> Ending:
        self._status = status
        body = self._progress.final_body(status, **why)
        written = await self._write_final(body)
        if written is Written.MINE:
            self._progress.log_end(body)
        else:
            attempt, stands = self._claimed.deliveries, written.value
            log("not_mine", id=self._claimed.id, attempt=attempt, wanted=status, stands=stands)
        return _ending(written)

    async def _write_final(self, body: dict[str, object]) -> Written:
        """Writes the final reply, however long S3 takes; the lease is renewed meanwhile."""
        backoff = Backoff()
        while True:
            try:
                return await self._reply.write(body)
            except StorageError as error:
                log("final_delayed", "ERROR", id=self._claimed.id, why=str(error))
                await backoff.pause()


def _ending(written: Written) -> Ending:
    return Ending.LOST if written is Written.LOST else Ending.ANSWERED
