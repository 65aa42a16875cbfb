"""A worker's right to a claimed job, from the claim to its end."""

from collections.abc import Sequence

from tlfif.log import log
from tlfif.queue import working
from tlfif.queue.working import ClaimedJob
from worker.queue import Queue


class Lease:
    """One delivery of a job to this worker; the consumer makes it, and the job carries it.

    `answered`: the final reply stands, so that nothing is left to renew or to hand back.
    `returned`: it was handed back.
    """

    def __init__(self, queue: Queue, job: ClaimedJob, abandoned_ms: int):
        """`abandoned_ms` after its last renewal a lease may be claimed by others."""
        self.job = job
        self.answered = self.returned = False
        self._queue, self._abandoned_ms = queue, abandoned_ms

    @property
    def ids(self) -> tuple[str, str]:
        """The job's stream entry and its id."""
        return self.job.entry, self.job.id

    @property
    def is_held(self) -> bool:
        """Whether there is anything left to renew."""
        return not self.answered and not self.returned

    async def holds(self) -> bool:
        """Whether the queue says that it is this worker's. Raises RedisError: it does not say."""
        (answer,) = await self._queue.ask(working.renew(self._queue.consumer, [self.ids]))
        return answer != "lost"

    async def finish(self, status: str, buried: str = "") -> None:
        """Ends it for good, however long the queue takes; `buried` is why the job is dead."""
        self.answered = True
        await self._queue.insist(working.finish(*self.ids, status=status, buried=buried))

    async def hand_back(
        self,
        *,
        counted: bool = False,
        crashed: bool = False,
        unless_alone: bool = False,
        after_s: float = 0.0,
    ) -> str:
        """Lets any worker claim the job, after `after_s`, however long the queue takes.

        `counted`: as a failed delivery. `crashed`: noted as there when the engine failed.
        `unless_alone`: 'kept' while no other node is ready. 'gone': the queue knows it no more.
        """
        silent_ms = max(0, self._abandoned_ms - int(after_s * 1000))
        call = working.hand_back(
            self._queue.consumer,
            *self.ids,
            silent_ms=silent_ms,
            counted=counted,
            crashed=crashed,
            unless_alone=unless_alone,
        )
        if self.returned:
            return "handed back"
        answer = await self._queue.insist(call)
        self.returned = answer not in ("kept", "gone")
        log("handed_back", id=self.job.id, counted=counted, crashed=crashed, answer=answer)
        return answer


async def renew(queue: Queue, leases: Sequence[Lease]) -> list[str]:
    """Renews many at once, however long the queue takes.

    Per lease: 'held', 'lost', 'gone' (from the queue), or why its job was cancelled.
    """
    return await queue.insist(working.renew(queue.consumer, [lease.ids for lease in leases]))
