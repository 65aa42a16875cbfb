"""What a worker tells whoever runs it: a GPU node's watcher, or a function."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Ended:
    """A job that is over here, however it ended.

    `idle_minutes` are what it asked its node to wait after it; None when it had expired.
    `answered`: the engine generated its answer to the end. `first_ms`: from acceptance to the first
    token, None without one; `work_ms`: the engine's time for it, shared with other jobs.
    """

    idle_minutes: float | None
    answered: bool
    first_ms: int | None = None
    work_ms: int = 0


class Host(Protocol):
    """The machine or the process around a worker.

    A host makes queue client, engine and S3 client, hands them to a `Consumer` and runs it; the
    worker asks nothing of its host and knows nothing else of it.
    """

    def job_ended(self, job: Ended) -> None:
        """Hears that a job is over here."""

    async def engine_changed(self, ready: bool) -> None:
        """Hears that the engine answers (again), or was found away."""

    async def restart_engine(self, why: str) -> None:
        """Ends the engine's process, which does not answer, so that a new one takes its place.

        The worker goes on probing meanwhile; a host that cannot do it only says so.
        """
