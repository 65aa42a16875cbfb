"""Whether the engine can be trusted with jobs: shut at the first doubt, opened by a real token."""

import asyncio
import time
from enum import Enum

from tlfif.log import log
from worker.completions import ModelAwayError, ModelError, ModelSilentError, ModelStuckError
from worker.host import Host
from worker.model import Model

PROBE_EVERY_S = 0.2
# Jobs that fail within this time failed together: a crash reaches one a little after the other.
SETTLES_S = 0.25
# As many jobs, one after the other and with no answer between them, were not each at fault.
TOO_MANY = 3
# An engine that is there and does not work is restarted after as many probes; again when it has
# worked since, or had the time to load.
STUCK_PROBES, RESTART_AGAIN_S = 2, 120.0
# How long jobs that it refused wait before they ask again: doubled each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0


class Verdict(Enum):
    """Whose failure it was that a generation failed."""

    JOB = "job"  # the engine answers others
    SHARED = "shared"  # other jobs failed as well; the engine answers a probe
    AWAY = "away"  # the engine answers nobody


class _Doubt:
    """The jobs that failed since the gate was shut, until it is known why."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.untried = True
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()


class Gate:
    """Open while the engine answers; jobs are claimed only then.

    Whose generation fails tells it: the gate shuts, and the engine is asked for one token. `why` it
    is shut is for people.
    """

    def __init__(self, model: Model, host: Host):
        self.why = "it loads"
        self._model, self._host = model, host
        self._open, self._doubted = asyncio.Event(), asyncio.Event()
        self._doubt: _Doubt | None = None
        # Jobs that failed since the last answer, of an engine that answered probes.
        self._failed: set[str] = set()
        self._pause_s = FIRST_PAUSE_S
        self._restarted_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the engine has answered and nobody doubts it."""
        return self._open.is_set()

    async def wait(self) -> None:
        """Returns when the gate is open."""
        await self._open.wait()

    def answered(self) -> None:
        """Hears that a job has its answer: what failed before is over."""
        self._failed.clear()
        self._pause_s = FIRST_PAUSE_S

    async def doubt(self, job_id: str, error: ModelError) -> Verdict:
        """Whose failure this was."""
        self._failed.add(job_id)
        if self.is_open:
            self._shut(error)
        if self._doubt is None:
            # Known to be away: this is what became of a generation that it still had.
            return Verdict.AWAY
        self._doubt.jobs.add(job_id)
        self._doubt.untried = self._doubt.untried and isinstance(error, ModelAwayError)
        return await asyncio.shield(self._doubt.verdict)

    def _shut(self, error: ModelError) -> None:
        self.why = f"{type(error).__name__}: {error}"
        log("engine_doubted", "WARNING", why=self.why)
        self._doubt = _Doubt()
        self._open.clear()
        self._doubted.set()

    async def run(self) -> None:
        """Probes; never returns."""
        await self._until_ready(await self._probe(self._model.patience.silence_s))
        while True:
            self._doubted.clear()
            self._open.set()
            await self._doubted.wait()
            await self._judge()

    async def _judge(self) -> None:
        """Says whose failure it was, and returns when the engine answers."""
        settled = asyncio.create_task(asyncio.sleep(SETTLES_S))
        error = await self._probe(self._model.patience.probe_s)
        await settled
        doubt, self._doubt = self._doubt, None
        assert doubt is not None, "whoever shuts the gate says why"
        many = len(self._failed) >= TOO_MANY
        shared = Verdict.SHARED if many or len(doubt.jobs) > 1 else Verdict.JOB
        doubt.verdict.set_result(shared if error is None else Verdict.AWAY)
        if error is not None:
            await self._host.engine_changed(False)
            await self._until_ready(error)
        elif many:
            await self._replace(f"{len(self._failed)} jobs failed one after the other")
        elif doubt.untried:
            # It refuses work and answers: it is too busy.
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    async def _replace(self, why: str) -> None:
        """Has an engine restarted that answers probes and nobody else."""
        await self._host.engine_changed(False)
        await self._restart(why)
        await self._until_ready(await self._probe(self._model.patience.silence_s))

    async def _probe(self, timeout_s: float) -> ModelError | None:
        """Why the engine does not work; None when it does."""
        begun = time.monotonic()
        error = await self._model.probe(timeout_s)
        if isinstance(error, ModelSilentError) and self._model.heard_at > begun:
            # It has no room for a probe: others' tokens flow.
            log("engine_slow", "WARNING", why=str(error))
            return None
        return error

    async def _until_ready(self, error: ModelError | None) -> None:
        """Probes until the engine works, and has one restarted that is there and does not."""
        stuck, patience_s = 0, self._model.patience.probe_s
        while error is not None:
            self._tell(error)
            if isinstance(error, ModelAwayError) and not isinstance(error, ModelStuckError):
                # It loads, and may compile something for its first token.
                stuck, patience_s = 0, self._model.patience.silence_s
            else:
                stuck += 1
            if stuck >= STUCK_PROBES and self._may_restart():
                await self._restart(str(error))
                stuck, patience_s = 0, self._model.patience.silence_s
            await asyncio.sleep(PROBE_EVERY_S)
            error = await self._probe(patience_s)
        self._failed.clear()
        self._restarted_at = None
        await self._host.engine_changed(True)

    def _tell(self, error: ModelError) -> None:
        why = f"{type(error).__name__}: {error}"
        if why != self.why:
            log("engine_not_ready", why=why)
            self.why = why

    def _may_restart(self) -> bool:
        at = self._restarted_at
        return at is None or time.monotonic() - at >= RESTART_AGAIN_S

    async def _restart(self, why: str) -> None:
        log("engine_restart_wanted", "ERROR", why=why)
        self._restarted_at = time.monotonic()
        await self._host.restart_engine(why)
