"""One simulated stack and its users: the router and the guardian ask the real queue what to do."""

import random
import uuid
from dataclasses import dataclass

import redis

from bench.weeks.clock import Clock, SimulatedQueue
from bench.weeks.lane import Lane
from bench.weeks.load import DAY_S, Person
from bench.weeks.node import IDLE_S, SLOTS, Node
from bench.weeks.record import Asked, Record
from components.settings import CpuSettings, Settings
from tlfif import names
from tlfif.queue import accepting, guarding
from tlfif.queue import lane as lanes

GUARDIAN_EVERY_S, RETRY_S, RETRIES = 60.0, 3.0, 10
# A Monday, and what is left of a week after its last session.
BEGIN_MS = 1_798_416_000_000


@dataclass(frozen=True)
class Policy:
    """A row of the table: `wake` is gpu:wake, None for a stack without the lane, `prompt_bytes` is
    cpu:maxPromptBytes.
    """

    name: str
    wake: str | None
    prompt_bytes: int = CpuSettings().max_prompt_bytes


POLICIES = (
    Policy("no lane (`cpu:enabled: false`)", None),
    Policy("`always`", "always"),
    Policy("`backlog`", "backlog"),
    Policy("`backlog`, `cpu:maxPromptBytes: 6000`", "backlog", names.MAX_PROMPT_BYTES),
    Policy("`never`", "never"),
)


class World:
    """Everything of one run; `record` is what came of it."""

    def __init__(
        self, client: "redis.Redis", policy: Policy, settings: Settings, seed: int
    ) -> None:
        self.clock = Clock(BEGIN_MS)
        self.record = Record(self.clock)
        self._queue = SimulatedQueue(client, self.clock)
        cpu, gpu = settings.cpu, settings.gpu
        self._told = None
        if policy.wake is not None:
            self._told = lanes.Lane(policy.wake, gpu.wake_after_seconds, policy.prompt_bytes)
        self._limits = accepting.Limits(
            # The stories' limits, which no person here comes near, are not what is measured.
            burst=10**6,
            sustained=10**6,
            node_count=1,
            slots=SLOTS,
            lane=self._told,
        )
        self._node = Node(self.clock, self._queue, self.record, seed)
        self._lane = Lane(self.clock, self._queue, self.record, cpu.slots)
        self._chance = random.Random(f"ids {seed}")

    def run(self, users: list[Person], weeks: int) -> Record:
        """Lets these people work for so many weeks; what became of it."""
        for person in users:
            self._begin_session(person, 0)
        self._guard()
        self.clock.run(BEGIN_MS + weeks * 7 * DAY_S * 1000)
        open_jobs = [job for job in self.record.asked.values() if job.ended_ms is None]
        assert not open_jobs, f"{len(open_jobs)} have no end"
        assert self._queue.depth() == 0, "the queue keeps what has ended"
        return self.record

    def used_s(self) -> float:
        """For how many seconds the lane ran, by what the queue was told."""
        return sum(self._queue.ask(accepting.status()).lane["use_s"].values())

    # --- people

    def _begin_session(self, person: Person, number: int) -> None:
        if number == len(person.sessions):
            return
        begins_ms = BEGIN_MS + person.sessions[number].begins_s * 1000
        # Whoever still waits for an answer begins the next session later.
        wait_s = max(0.0, (begins_ms - self.clock.now_ms) / 1000)
        self.clock.after(wait_s, lambda: self._ask(person, number, 0))

    def _ask(self, person: Person, number: int, place: int) -> None:
        prompts = person.sessions[number].prompts
        if place == len(prompts):
            self._begin_session(person, number + 1)
            return
        prompt = prompts[place]

        def answered() -> None:
            self.clock.after(prompt.think_s, lambda: self._ask(person, number, place + 1))

        self._infer(person.name, Asked(self.clock.now_ms, prompt, place == 0, answered))

    # --- the router

    def _infer(self, sub: str, asked: Asked) -> None:
        job = accepting.NewJob(
            id=self._new_id(),
            sub=sub,
            prompt="x" * asked.prompt.size,
            idle_minutes=int(IDLE_S / 60),
            options={"max_tokens": asked.prompt.tokens},
        )
        answer = self._queue.ask(accepting.accept(job, self._limits))
        assert isinstance(answer, accepting.Accepted), answer
        self.record.accepted(job.id, asked)
        if answer.call:
            self._lane.call(job.id)
        if answer.wake:
            self._wake(job.id)
        self._node.look()
        self._lane.look()

    def _wake(self, token: str) -> str:
        """Whoever wakes in vain calls the lane for what was left to the node."""
        found = self._node.wake(token)
        caller = self._new_id()
        if found == "stopping" and self._told and self._queue.ask(lanes.call(caller)):
            self._lane.call(caller)
        return found

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    # --- the guardian

    def _guard(self) -> None:
        # Without jobs it would hear nothing to do.
        if self.record.open:
            self._reconcile(self._new_id(), RETRIES)
            self._sweep()
        self.clock.after(GUARDIAN_EVERY_S, self._guard)

    def _reconcile(self, token: str, retries: int) -> None:
        """A node that is still stopping can be started soon."""
        caller = self._new_id()
        found = self._queue.ask(guarding.reconcile(token, 1, SLOTS, self._told, caller))
        if found.call:
            self._lane.call(caller)
        stopping = bool(found.wake) and self._wake(token) == "stopping"
        if stopping and retries:
            self.clock.after(RETRY_S, lambda: self._reconcile(token, retries - 1))

    def _sweep(self) -> None:
        _, ended = self._queue.ask(guarding.sweep(ttl_s=names.JOB_TTL_S))
        for reply in ended:
            self.record.expired(reply.id)
        if ended:
            self._queue.ask(guarding.clear([reply.id for reply in ended]))
