"""One job's life on this worker: generation, partial replies while it runs, and the final one."""

import asyncio
import contextlib
import json
import time
from enum import Enum
from typing import Any

from tlfif import names
from tlfif.log import log
from tlfif.queue import Item
from worker.backoff import Backoff
from worker.model import Gate, JobRefusedError, Model, ModelAwayError, Usage
from worker.replies import Reply, StorageError, Written
from worker.tasks import end

PARTIAL_EVERY_S = 1.0
# A first token that takes longer than this is announced by a reply without text.
ANNOUNCE_AFTER_S = 0.25


class Ending(Enum):
    """How the work on a job ended.

    Its final reply stands, this delivery failed, the model took no request, or the job is another
    worker's now.
    """

    ANSWERED = "answered"
    FAILED = "failed"
    UNTRIED = "untried"
    LOST = "lost"


class Job:
    """A job this worker has taken.

    `settled`: its final reply stands, though the queue may not know it yet.
    """

    def __init__(self, item: Item, reply: Reply, model: Model, gate: Gate):
        self.item = item
        self.settled = False
        self.buried = ""
        self.failure = ""
        self._reply, self._model, self._gate = reply, model, gate
        self._cancelled = ""
        self._generation: asyncio.Task[None] | None = None
        self._grown, self._ended = asyncio.Event(), asyncio.Event()
        self._pieces: list[str] = []
        self._usage: Usage | None = None
        self._started_at = _now_ms()
        self._first_token_at: int | None = None

    @property
    def idle_minutes(self) -> float | None:
        """What the job asked for; None when it had expired."""
        return float(self.item.job["idle_minutes"]) if self.item.job else None

    def cancel(self, why: str) -> None:
        """Ends the generation with a `cancelled` reply; too late when it has ended by itself."""
        self._cancelled = self._cancelled or why
        if self._generation is not None:
            self._generation.cancel()

    async def work(self) -> Ending:
        """Brings the job to its end.

        Cancelling the task that runs this leaves the job unanswered.
        """
        if self.item.cancelled:
            return await self._finish("cancelled", reason=self.item.cancelled)
        if self.item.job is None:
            return await self._finish("expired", reason="no node was ready in time")
        if self.item.deliveries > names.MAX_DELIVERIES:
            return await self.bury("its workers died")
        return await self._answer()

    async def bury(self, why: str) -> Ending:
        """Ends a job that failed as often as it may."""
        self.buried = why
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
                return self._stands(partials.result())
            self._ended.set()
            self._grown.set()
            await asyncio.wait(tasks)
            return await self._conclude(self._generation)
        finally:
            await end(*tasks)

    async def _generate(self) -> None:
        assert self.item.job is not None
        options = json.loads(self.item.job.get("options") or "{}")
        async with contextlib.aclosing(
            self._model.stream(self.item.job["prompt"], options)
        ) as chunks:
            async for chunk in chunks:
                self._usage = chunk.usage or self._usage
                self._grow(chunk.text)

    def _grow(self, text: str) -> None:
        if not text:
            return
        if self._first_token_at is None:
            self._first_token_at = _now_ms()
            log("first_token", id=self.item.id, latency_ms=self._first_token_at - self._started_at)
        self._pieces.append(text)
        self._grown.set()

    async def _publish(self) -> Written:
        """Writes partial replies until the generation ends or the reply turns out not to be this
        worker's.
        """
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._grown.wait(), ANNOUNCE_AFTER_S)
        if (
            not self._grown.is_set()
            and (written := await self._write_partial()) is not Written.MINE
        ):
            return written
        while True:
            await self._grown.wait()
            self._grown.clear()
            if self._ended.is_set():
                return Written.MINE
            if (written := await self._write_partial()) is not Written.MINE:
                return written
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), PARTIAL_EVERY_S)

    async def _write_partial(self) -> Written:
        try:
            return await self._reply.write(self._body("running"))
        except StorageError as error:
            # The next one carries this one's text too.
            log("partial_lost", "WARNING", id=self.item.id, why=str(error))
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
        self.failure = f"{type(error).__name__}: {error}"
        log(
            "delivery_failed",
            "ERROR",
            id=self.item.id,
            attempt=self.item.deliveries,
            why=self.failure,
        )
        return Ending.FAILED

    async def _finish(self, status: str, **extra: str) -> Ending:
        """Writes the final reply, however long S3 takes; the lease is renewed meanwhile."""
        body = self._body(status, finished_at=_now_ms(), **extra)
        backoff = Backoff()
        while True:
            try:
                written = await self._reply.write(body)
                break
            except StorageError as error:
                log("final_delayed", "ERROR", id=self.item.id, why=str(error))
                await backoff.pause()
        if written is Written.MINE:
            self._log(body)
        else:
            log(
                "not_mine",
                id=self.item.id,
                attempt=self.item.deliveries,
                wanted=status,
                stands=written.value,
            )
        return self._stands(written)

    def _stands(self, written: Written) -> Ending:
        return Ending.LOST if written is Written.LOST else Ending.ANSWERED

    def _body(self, status: str, **extra: Any) -> dict[str, Any]:
        usage, first = self._usage, self._first_token_at
        now = _now_ms()
        return {
            "id": self.item.id,
            "status": status,
            "text": "".join(self._pieces),
            "created_at": self._created_at,
            "started_at": self._started_at,
            "first_token_at": first,
            "updated_at": now,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "tokens_per_second": _speed(usage, first, extra.get("finished_at", now)),
            **extra,
        }

    @property
    def _created_at(self) -> int:
        """When the job was accepted, in epoch ms; the stream's entry says so too."""
        job = self.item.job or {}
        return int(job.get("created_at") or self.item.entry.partition("-")[0])

    def _log(self, body: dict[str, Any]) -> None:
        told = ("status", "completion_tokens", "tokens_per_second", "reason", "error")
        fields = {key: body[key] for key in told if body.get(key) is not None}
        latency = body["finished_at"] - self._created_at
        log(
            "job_ended", id=self.item.id, attempt=self.item.deliveries, latency_ms=latency, **fields
        )


def _speed(usage: Usage | None, first_at: int | None, end: int) -> float | None:
    """Tokens a second after the first one, which waited for the prompt; None while it cannot be
    told.
    """
    if usage is None or first_at is None or usage.completion_tokens < 2 or end <= first_at:
        return None
    return round((usage.completion_tokens - 1) * 1000 / (end - first_at), 1)


def _now_ms() -> int:
    return int(time.time() * 1000)
