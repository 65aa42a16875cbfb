"""A worker's right to a claimed job, from the claim to its end."""

from collections.abc import Sequence

from redis.exceptions import RedisError

from tlfif.log import log
from tlfif.queue import working
from tlfif.queue.working import ClaimedJob
from worker.queue import Queue


class Lease:
    """One delivery of a job to this worker; the consumer makes it, and the job carries it.

    `answered`: the final reply stands, so that nothing is left to renew or to hand back.
    """

    def __init__(self, queue: Queue, job: ClaimedJob, abandoned_ms: int):
        """`abandoned_ms` after its last renewal a lease may be claimed by others."""
        self.job = job
        self.answered = False
        self._queue, self._abandoned_ms = queue, abandoned_ms

    @property
    def ids(self) -> tuple[str, str]:
        """The job's stream entry and its id."""
        return self.job.entry, self.job.id

    async def holds(self) -> bool:
        """Whether the queue says that it is this worker's. Raises RedisError: it does not say."""
        (answer,) = await self._queue.ask(working.renew(self._queue.consumer, [self.ids]))
        return answer != "lost"

    async def finish(self, buried: str = "") -> None:
        """Ends it for good, however long the queue takes; `buried` is why the job is dead."""
        self.answered = True
        await self._queue.insist(working.finish(*self.ids, buried=buried))

    async def hand_back(self) -> None:
        """Lets another worker claim the job at once; if the queue is away, the lease runs out."""
        call = working.hand_back(
            self._queue.consumer, self.job.entry, abandoned_ms=self._abandoned_ms
        )
        try:
            answer = await self._queue.ask(call)
        except RedisError as error:
            answer = str(error)
        log("handed_back", id=self.job.id, answer=answer)


async def renew(queue: Queue, leases: Sequence[Lease]) -> list[str]:
    """Renews many at once, however long the queue takes.

    Per lease: 'held', 'lost', or why its job was cancelled.
    """
    return await queue.insist(working.renew(queue.consumer, [lease.ids for lease in leases]))
