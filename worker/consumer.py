"""Takes jobs off the stream, keeps their leases, hears cancellations, and acknowledges or hands
back.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.exceptions import RedisError, ResponseError

from tlfif import names, queue
from tlfif.log import log
from worker.backoff import Backoff
from worker.job import Ending, Job
from worker.model import Gate
from worker.tasks import end

T = TypeVar("T")

# How long one read waits for a job: a stop waits for it, and abandoned jobs are looked for after
# each.
BLOCK_MS = 1000
CANCEL_POLL_S = 0.4


class Consumer:
    """As many jobs at once as there are slots.

    `run()` goes on until it is cancelled; `close()` first.
    """

    def __init__(
        self,
        redis: Any,
        name: str,
        slots: int,
        gate: Gate,
        start: Callable[[queue.Item], Job],
        on_end: Callable[[Job], None],
        *,
        lease_renew_s: float = names.LEASE_RENEW_S,
        lease_idle_s: float = names.LEASE_IDLE_S,
    ):
        """`redis` is a redis.asyncio client whose socket time-out exceeds BLOCK_MS; `name` the
        consumer's.
        """
        self._redis, self._name, self._slots, self._gate = redis, name, slots, gate
        self._start, self._on_end = start, on_end
        self._renew_s, self._abandoned_ms = lease_renew_s, int(lease_idle_s * 1000)
        self._jobs: dict[Job, asyncio.Task[None]] = {}
        self._read: list[str] = []
        self._reading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def in_flight(self) -> int:
        return len(self._jobs)

    async def run(self) -> None:
        """Takes jobs until closed, and looks after them; returns only by being cancelled or by an
        error of ours.
        """
        await asyncio.gather(self._take_jobs(), self._renew_leases(), self._hear_cancellations())

    async def holds(self, entry: str, job_id: str) -> bool:
        """Whether the queue says that this worker has the lease; no, when the queue does not say."""
        try:
            (answer,) = await self._ask(queue.renew(self._name, [(entry, job_id)]))
        except RedisError:
            return False
        return answer != "lost"

    async def close_if(self, agreed: Callable[[], Awaitable[bool]]) -> bool:
        """Closes if `agreed()` says so, asked while no job can be on its way here."""
        async with self._reading:
            self._closed = self._closed or await agreed()
            return self._closed

    async def close(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Takes nothing more, gives the running jobs `grace_s` (or until `hurry`) and hands the
        others back.
        """
        self._closed = True
        # A read that is under way may still bring jobs; after it there is none.
        async with self._reading:
            pass
        await self._until_done(grace_s, hurry)
        await asyncio.gather(*(self._hand_back(job) for job in list(self._jobs)))

    async def _until_done(self, grace_s: float, hurry: asyncio.Event) -> None:
        done = asyncio.gather(*self._jobs.values(), return_exceptions=True)
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({done, hurried}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()

    async def _take_jobs(self) -> None:
        backoff = Backoff()
        while True:
            await self._gate.wait()
            await self._free_slot()
            async with self._reading:
                if self._closed:
                    return
                try:
                    for item in await self._take():
                        self._begin(item)
                    backoff.reset()
                    continue
                except RedisError as error:
                    log("queue_unavailable", "WARNING", why=str(error))
            # Outside the lock: a node that cannot reach the queue can still be told to stop.
            await backoff.pause()

    async def _free_slot(self) -> None:
        while len(self._jobs) >= self._slots:
            self._changed.clear()
            await self._changed.wait()

    async def _take(self) -> list[queue.Item]:
        """Jobs that were abandoned or handed back, which have waited longest; if there are none,
        new ones.

        Raises RedisError.
        """
        free = self._slots - len(self._jobs)
        try:
            # Entries of a read whose `take` failed are still this worker's.
            items = await self._ask(self._call(self._read, free - len(self._read)))
            if not items:
                self._read = await self._read_stream(free)
                items = await self._ask(self._call(self._read, 0))
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            # The queue lost its memory, or this is its first worker.
            await self._ask(queue.create_group())
            items = []
        self._read = []
        known = {job.item.entry for job in self._jobs}
        return [item for item in items if item.entry not in known]

    def _call(self, entries: list[str], claim: int) -> queue.Call[list[queue.Item]]:
        return queue.take(self._name, entries, claim, abandoned_ms=self._abandoned_ms)

    async def _read_stream(self, count: int) -> list[str]:
        streams = await self._redis.xreadgroup(
            names.GROUP, self._name, {names.STREAM: ">"}, count=count, block=BLOCK_MS
        )
        return [entry for _, entries in streams or () for entry, _ in entries]

    def _begin(self, item: queue.Item) -> None:
        job = self._start(item)
        log("job_taken", id=item.id, attempt=item.deliveries, in_flight=len(self._jobs) + 1)
        self._jobs[job] = asyncio.create_task(self._serve(job))

    async def _serve(self, job: Job) -> None:
        try:
            ending = await self._work(job)
            if ending is Ending.ANSWERED:
                job.settled = True
                await self._persist(queue.finish(job.item.entry, job.item.id, buried=job.buried))
            elif ending is Ending.UNTRIED or (ending is Ending.FAILED and self._closed):
                # Another node may take it at once; a model that is being stopped as well is not the
                # job's failure.
                await self._give_back(job)
            # A failed delivery's lease runs out, and whoever takes the job next counts it.
        except Exception:
            log("job_crashed", "ERROR", id=job.item.id, traceback=traceback.format_exc())
        finally:
            del self._jobs[job]
            self._changed.set()
            self._on_end(job)

    async def _work(self, job: Job) -> Ending:
        ending = await job.work()
        if (
            ending is Ending.FAILED
            and job.item.deliveries >= names.MAX_DELIVERIES
            and not self._closed
        ):
            return await job.bury(job.failure)
        return ending

    async def _hand_back(self, job: Job) -> None:
        task = self._jobs.get(job)
        if job.settled or task is None:
            return
        await end(task)
        await self._give_back(job)

    async def _give_back(self, job: Job) -> None:
        try:
            answer = await self._ask(
                queue.hand_back(self._name, job.item.entry, abandoned_ms=self._abandoned_ms)
            )
        except RedisError as error:
            answer = str(error)
        log("handed_back", id=job.item.id, answer=answer)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            jobs = [job for job in self._jobs if not job.settled]
            if not jobs:
                continue
            leases = [(job.item.entry, job.item.id) for job in jobs]
            for job, answer in zip(
                jobs, await self._persist(queue.renew(self._name, leases)), strict=True
            ):
                if answer == "lost":
                    self._let_go(job)
                elif answer != "held":
                    job.cancel(answer)

    def _let_go(self, job: Job) -> None:
        if job in self._jobs and not job.settled:
            log("lease_lost", "WARNING", id=job.item.id)
            self._jobs[job].cancel()

    async def _hear_cancellations(self) -> None:
        """Between renewals too: somebody who cancels waits for it."""
        while True:
            await asyncio.sleep(CANCEL_POLL_S)
            jobs = list(self._jobs)
            if not jobs:
                continue
            try:
                marks = await self._redis.mget([f"cancelled:{job.item.id}" for job in jobs])
            except RedisError:
                continue
            for job, why in zip(jobs, marks, strict=True):
                if why:
                    job.cancel(why)

    async def _persist(self, call: queue.Call[T]) -> T:
        """Asks until the queue answers."""
        backoff = Backoff()
        while True:
            try:
                return await self._ask(call)
            except RedisError as error:
                log("queue_unavailable", "WARNING", call=call.script, why=str(error))
                await backoff.pause()

    async def _ask(self, call: queue.Call[T]) -> T:
        return await queue.arun(self._redis, call)
