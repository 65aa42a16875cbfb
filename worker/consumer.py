"""Claims jobs, keeps their leases, hears cancellations, and closes without losing any."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError, ResponseError

from tlfif import names
from tlfif.log import log
from tlfif.queue import working
from tlfif.queue.working import ClaimedJob
from worker import lease as leases
from worker.backoff import Backoff
from worker.gate import Gate
from worker.host import Host
from worker.job import Job, Workplace
from worker.lease import Lease
from worker.meter import Meter
from worker.model import Model
from worker.queue import Queue
from worker.replies import Replies, Reply, StorageError
from worker.tasks import end, poll
from worker.turns import Turns

# How long one read waits for a job: whoever closes waits for it, and jobs that come back are looked
# for after each.
BLOCK_MS = 250
CANCEL_POLL_S = 0.4


class Consumer:
    """Works on jobs while its engine answers, as many at once as there are slots.

    - `queue`: the queue, asked in this consumer's name; its socket time-out exceeds BLOCK_MS
    - `model`: the engine that answers
    - `replies`: where the answers go
    - `host`: who is told of ended jobs and of the engine
    - `slots`: how many jobs at once; at least 1
    - `engine`: its name in replies, such as "vllm"
    - `eur_per_hour`: what the machine costs while it runs, in EUR; None: unknown
    - `lease_renew_s`: seconds between two renewals of a lease (default 5)
    - `lease_idle_s`: seconds without renewal after which others may claim it (default 20)

    `run()` goes on until it is cancelled; `close()` first.
    """

    def __init__(
        self,
        queue: Queue,
        model: Model,
        replies: Replies,
        host: Host,
        slots: int,
        *,
        engine: str,
        eur_per_hour: float | None,
        lease_renew_s: float = names.LEASE_RENEW_S,
        lease_idle_s: float = names.LEASE_IDLE_S,
    ):
        self._queue, self._replies, self._host = queue, replies, host
        self._slots, self._renew_s = slots, lease_renew_s
        self._abandoned_ms = int(lease_idle_s * 1000)
        self._gate = Gate(model, host)
        self._jobs: dict[Job, asyncio.Task[None]] = {}
        self._read: list[str] = []
        self._looked_at = 0.0
        self._reading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        meter = Meter(eur_per_hour)
        self._workplace = Workplace(
            model, self._gate, Turns(), meter, engine, self._closing, self._changed
        )

    @property
    def in_flight(self) -> int:
        """How many jobs it works on now."""
        return len(self._jobs)

    @property
    def obstacle(self) -> str:
        """What keeps it from taking jobs now, '' for nothing: "engine: …" or "storage: …"."""
        if not self._gate.is_open:
            return f"engine: {self._gate.why}"
        return f"storage: {self._replies.why_not}" if self._replies.why_not else ""

    async def run(self) -> None:
        """Claims jobs until closed, and looks after them.

        Returns only by being cancelled or by an error of ours.
        """
        await asyncio.gather(
            self._gate.run(),
            self._warm_up(),
            self._claim_jobs(),
            poll(self._renew_s, self._renew_leases),
            poll(CANCEL_POLL_S, self._hear_cancellations),
        )

    async def close_if(self, agreed: Callable[[], Awaitable[bool]]) -> bool:
        """Closes if `agreed()` says so, asked while no job can be on its way here."""
        async with self._reading:
            if not self._closing.is_set() and await agreed():
                self._closing.set()
            return self._closing.is_set()

    async def close(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Claims nothing more, waits for the running jobs, and hands back what is left of them.

        They have `grace_s` seconds, or until `hurry` is set.
        """
        self._closing.set()
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

    async def _hand_back(self, job: Job) -> None:
        task = self._jobs.get(job)
        if job.lease.answered or task is None:
            return
        await end(task)
        await job.give_up()

    async def _warm_up(self) -> None:
        try:
            await self._replies.warm_up()
        except StorageError as error:
            log("replies_unavailable", "ERROR", bucket=self._replies.bucket, why=str(error))

    # --- claiming

    async def _claim_jobs(self) -> None:
        backoff = Backoff()
        while True:
            await self._replies.until_well()
            await self._free_slot()
            await self._gate.wait()
            async with self._reading:
                if self._closing.is_set():
                    return
                try:
                    for claimed in await self._claim():
                        self._begin(claimed)
                    backoff.reset()
                    continue
                except RedisError as error:
                    log("queue_unavailable", "WARNING", why=str(error))
            # Outside the lock: a worker that cannot reach the queue can still be told to stop.
            await backoff.pause()

    async def _free_slot(self) -> None:
        while self._free_slots() < 1 or any(job.is_suspect for job in self._jobs):
            self._changed.clear()
            await self._changed.wait()

    def _free_slots(self) -> int:
        """How many jobs the engine has room for.

        Who waits for S3 does not keep it from working; but they must not become too many.
        """
        leaving = sum(job.is_leaving for job in self._jobs)
        return self._slots - len(self._jobs) + min(leaving, self._slots)

    async def _claim(self) -> list[ClaimedJob]:
        """Jobs that were abandoned or handed back, which have waited longest; else new ones.

        Raises RedisError.
        """
        free = self._free_slots()
        try:
            # Entries that were read, but whose claim failed, are still this worker's.
            claimed = await self._claim_again(free)
            if not claimed:
                self._read = await self._queue.read(free, BLOCK_MS)
                claimed = await self._ask_for(self._read, abandoned=0)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            # The queue lost its memory, or this is its first worker.
            await self._queue.ask(working.create_group())
            claimed = []
        self._read = []
        # What was handed back may come back before its task has ended.
        known = {job.lease.job.entry for job in self._jobs if not job.lease.returned}
        return [each for each in claimed if each.entry not in known]

    async def _claim_again(self, free: int) -> list[ClaimedJob]:
        """What was read and not claimed, or comes back to the queue, which is looked for in turns:
        new jobs do not wait for it each time.
        """
        now = time.monotonic()
        if not self._read and now < self._looked_at + BLOCK_MS / 1000:
            return []
        self._looked_at = now
        return await self._ask_for(self._read, abandoned=free - len(self._read))

    async def _ask_for(self, entries: list[str], abandoned: int) -> list[ClaimedJob]:
        name, after_ms = self._queue.consumer, self._abandoned_ms
        return await self._queue.ask(working.claim(name, entries, abandoned, abandoned_ms=after_ms))

    def _begin(self, claimed: ClaimedJob) -> None:
        lease = Lease(self._queue, claimed, self._abandoned_ms)
        job = Job(lease, Reply(self._replies, lease), self._workplace)
        in_flight = len(self._jobs) + 1
        log("job_claimed", id=claimed.id, attempt=claimed.deliveries, in_flight=in_flight)
        self._jobs[job] = asyncio.create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        try:
            await job.run()
        except Exception:
            log("job_crashed", "ERROR", id=job.lease.job.id, traceback=traceback.format_exc())
        finally:
            del self._jobs[job]
            self._changed.set()
            self._host.job_ended(job.ended())

    # --- looking after leases

    async def _renew_leases(self) -> None:
        jobs = [job for job in self._jobs if job.lease.is_held]
        if not jobs:
            return
        answers = await leases.renew(self._queue, [job.lease for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            if answer == "lost":
                self._let_go(job)
            elif answer == "gone":
                job.outlive_queue()
            elif answer != "held":
                job.cancel(answer)

    def _let_go(self, job: Job) -> None:
        if job in self._jobs and job.lease.is_held:
            log("lease_lost", "WARNING", id=job.lease.job.id)
            self._jobs[job].cancel()

    async def _hear_cancellations(self) -> None:
        """Between renewals too: somebody who cancels waits for it."""
        jobs = list(self._jobs)
        if not jobs:
            return
        try:
            marks = await self._queue.cancellations([job.lease.job.id for job in jobs])
        except RedisError:
            return
        for job, why in zip(jobs, marks, strict=True):
            if why:
                job.cancel(why)
