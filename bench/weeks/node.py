"""The GPU node and EC2, as the queue sees them."""

import random

from bench.weeks import engines
from bench.weeks.clock import Clock, SimulatedQueue
from bench.weeks.engines import Engine
from bench.weeks.record import Record
from tlfif import names
from tlfif.queue import accepting, working
from tlfif.queue.working import ClaimedJob

INSTANCE = "i-0123456789abcdef0"
# The watcher beats every 3 s; all that matters here is that its key lives for 15.
BEAT_S = 12.0
HEARD_OF_S, STOPPING_S, RENEW_S = 25.0, 45.0, 60.0
IDLE_S = names.DEFAULT_IDLE_MINUTES * 60.0
DRAIN_EVERY_S = 1.0
SLOTS = names.ENGINE_SEQUENCES


class Node:
    """One instance: stopped, booting, up, stopping; its watcher asks what the real one asks."""

    def __init__(self, clock: Clock, queue: SimulatedQueue, record: Record, seed: int) -> None:
        self.state = "stopped"
        self._clock, self._queue, self._record = clock, queue, record
        self._chance = random.Random(f"boots {seed}")
        self._boots = 0
        self._phase, self._boot = "", ""
        self._engine = Engine(clock, shared=False)
        self._held: dict[str, ClaimedJob] = {}
        self._started_ms = self._ended_ms = 0

    # --- EC2

    def wake(self, token: str) -> str:
        """What tlfif.waking.start does, for one node: 'started', 'coming' or 'stopping'."""
        found = {"stopped": "started", "stopping": "stopping"}.get(self.state, "coming")
        if self._phase == "draining":
            found = "stopping"
        if found == "started":
            self._start()
        started = [INSTANCE] if found == "started" else []
        kept = found != "stopping"
        if started or not kept:
            self._queue.ask(accepting.woken(token, started, kept=kept))
        return found

    def _start(self) -> None:
        self.state, self._started_ms = "running", self._clock.now_ms
        self._boots += 1
        self._boot = f"b{self._boots}"
        boot_s = self._chance.uniform(*engines.BOOT_S)
        self._clock.after(HEARD_OF_S, lambda: self._enter("booting"))
        self._clock.after(boot_s / 2, lambda: self._enter("loading"))
        self._clock.after(boot_s, self._ready)
        self._clock.after(HEARD_OF_S + BEAT_S, self._beat)
        self._clock.after(RENEW_S, self._renew)

    def _stop(self) -> None:
        self._record.gpu_s += (self._clock.now_ms - self._started_ms) / 1000
        self.state, self._phase = "stopping", ""
        self._clock.after(STOPPING_S, self._stopped)

    def _stopped(self) -> None:
        self.state = "stopped"

    # --- its watcher

    def _enter(self, phase: str, boot_ms: int | None = None) -> None:
        self._phase = phase
        told = (INSTANCE, self._boot, phase, len(self._held), {}, boot_ms)
        self._queue.ask(working.heartbeat(*told))

    def _beat(self) -> None:
        if self.state == "running":
            self._enter(self._phase)
            self._clock.after(BEAT_S, self._beat)

    def _renew(self) -> None:
        if self.state == "running":
            held = [(job.entry, job.id) for job in self._held.values()]
            if held:
                self._queue.ask(working.renew(self._consumer, held))
            self._clock.after(RENEW_S, self._renew)

    def _ready(self) -> None:
        self._record.boots += 1
        self._enter("ready", self._clock.now_ms - self._started_ms)
        self._ended_ms = self._clock.now_ms
        self._queue.ask(working.create_group())
        self._clock.after(IDLE_S, self._rest)
        self.look()

    @property
    def _consumer(self) -> str:
        return working.consumer_name(INSTANCE, self._boot)

    def look(self) -> None:
        """Takes what there is, as a blocked read does at once."""
        while self._phase == "ready" and len(self._held) < SLOTS and self._record.waiting:
            claimed = self._queue.claim(self._consumer, SLOTS - len(self._held))
            if not claimed:
                return
            for job in claimed:
                self._begin(job)

    def _begin(self, job: ClaimedJob) -> None:
        if job.values is None:
            self._queue.ask(working.finish(job.entry, job.id))
            self._record.expired(job.id)
            return
        self._held[job.id] = job
        self._record.held += 1
        told = self._record.first_token
        self._engine.begin(
            job.id, engines.on_gpu(job), lambda: told(job.id), lambda: self._end(job)
        )

    def _end(self, job: ClaimedJob) -> None:
        del self._held[job.id]
        self._queue.ask(working.finish(job.entry, job.id))
        self._ended_ms = self._clock.now_ms
        self._clock.after(IDLE_S, self._rest)
        self._record.ended(job.id, "gpu")
        self.look()

    def _rest(self) -> None:
        """Goes if it has been idle for long enough, and the queue lets it."""
        idle = self._clock.now_ms - self._ended_ms >= IDLE_S * 1000
        if self._phase != "ready" or self._held or not idle:
            return
        if self._queue.ask(working.drain(INSTANCE, self._boot)) != "draining":
            self._clock.after(DRAIN_EVERY_S, self._rest)
            return
        self._phase = "draining"
        self._clock.after(1.0, self._stop)
