"""One job's life on this worker: generation, partial replies meanwhile, and the final one."""

import asyncio
import contextlib
from enum import Enum

from tlfif import names
from tlfif.log import log
from worker.backoff import Backoff
from worker.lease import Lease
from worker.model import Gate, JobRefusedError, Model, ModelAwayError
from worker.progress import Progress
from worker.replies import Reply, StorageError, Written
from worker.tasks import end

PARTIAL_EVERY_S = 1.0
# A first token that takes longer than this is announced by a reply without text.
ANNOUNCE_AFTER_S = 0.25


class Ending(Enum):
    """How the work on a job ended."""

    ANSWERED = "answered"  # its final reply stands
    FAILED = "failed"  # this delivery did
    UNTRIED = "untried"  # the model took no request
    LOST = "lost"  # the job is another worker's now


class Job:
    """A job that this worker has claimed, with the lease on it."""

    def __init__(
        self, lease: Lease, reply: Reply, model: Model, gate: Gate, closing: asyncio.Event
    ):
        """`closing` is set once this worker claims no more: it may be the model that is stopped."""
        self.lease = lease
        self._claimed = lease.job
        self._reply, self._model, self._gate, self._closing = reply, model, gate, closing
        self._cancelled = self._buried = self._failure = ""
        self._generation: asyncio.Task[None] | None = None
        self._grown, self._ended = asyncio.Event(), asyncio.Event()
        self._progress = Progress(lease.job)

    @property
    def idle_minutes(self) -> float | None:
        """What the job asked for; None when it had expired."""
        values = self._claimed.values
        return float(values["idle_minutes"]) if values else None

    def cancel(self, why: str) -> None:
        """Ends the generation with a `cancelled` reply; too late when it has ended by itself."""
        self._cancelled = self._cancelled or why
        if self._generation is not None:
            self._generation.cancel()

    async def run(self) -> None:
        """Brings the job to its end, and its lease with it.

        Cancelling the task that runs this leaves the job unanswered and the lease as it is.
        """
        ending = await self._work()
        if ending is Ending.FAILED and self._is_last_delivery and not self._closing.is_set():
            ending = await self._bury(self._failure)
        if ending is Ending.ANSWERED:
            await self.lease.finish(self._buried)
        elif ending is Ending.UNTRIED or (ending is Ending.FAILED and self._closing.is_set()):
            # Another worker may claim it at once; a model that is being stopped as well is not the
            # job's failure.
            await self.lease.hand_back()
        # A failed delivery's lease runs out, and whoever claims the job next counts it.

    @property
    def _is_last_delivery(self) -> bool:
        return self._claimed.deliveries >= names.MAX_DELIVERIES

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
        self._generation = asyncio.create_task(self._generate())
        partials = asyncio.create_task(self._publish())
        tasks = (self._generation, partials)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not self._generation.done():
                return _ending(partials.result())
            self._ended.set()
            self._grown.set()
            await asyncio.wait(tasks)
            return await self._conclude(self._generation)
        finally:
            await end(*tasks)

    async def _generate(self) -> None:
        prompt, progress = (self._claimed.values or {})["prompt"], self._progress
        async with contextlib.aclosing(self._model.stream(prompt, progress.options)) as chunks:
            async for chunk in chunks:
                progress.usage = chunk.usage or progress.usage
                progress.finish_reason = chunk.finish_reason or progress.finish_reason
                if chunk.text:
                    progress.add(chunk.text)
                    self._grown.set()

    async def _publish(self) -> Written:
        """Writes partial replies until the generation ends, or the reply is not this worker's."""
        written = await self._announce()
        while written is Written.MINE:
            await self._grown.wait()
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

    async def _conclude(self, generation: "asyncio.Task[None]") -> Ending:
        if generation.cancelled():
            return await self._finish("cancelled", reason=self._cancelled)
        error = generation.exception()
        if error is None:
            return await self._finish("done")
        if isinstance(error, JobRefusedError):
            return await self._finish("failed", error=f"the model refused the request: {error}")
        if isinstance(error, ModelAwayError):
            self._gate.shut(str(error))
            return Ending.UNTRIED
        self._failure = f"{type(error).__name__}: {error}"
        attempt = self._claimed.deliveries
        log("delivery_failed", "ERROR", id=self._claimed.id, attempt=attempt, why=self._failure)
        return Ending.FAILED

    async def _finish(self, status: str, **why: str) -> Ending:
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
