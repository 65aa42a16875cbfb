"""How long the two engines take: what was measured, where it was."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.weeks.clock import Clock
from tlfif.queue.working import ClaimedJob

BYTES_PER_TOKEN = 4
# The lane, measured with a model of TinyLlama's shape (1.1B, Q4_0, 660 MB) on one thread of a
# 2-core EPYC, which is what 3,008 MB of Lambda's memory buy, or a little more: 15 to 17 tokens/s;
# the first token of 61 prompt tokens after 0.5 s, of 331 after 8.5 s; 0.9 to 1.3 s to load.
LANE_TOKENS_PER_S = 15.0
LANE_PREFILL = ((61, 0.5), (331, 8.5))
LANE_LOAD_S = 1.1
# Not measured: a Python function's cold start with the engine's import, and 660 MB from S3 at the
# 75 MB/s that others report of Lambda.
LANE_INIT_S, LANE_READ_S, LANE_WARM_S = 1.0, 8.8, 0.05
# The GPU, by others: 90 s (the story) to 195 s until it is ready, 40 to 60 tokens/s a stream. Its
# prefill is of the same order for every prompt that the API takes.
BOOT_S, GPU_TOKENS_PER_S, GPU_PREFILL_S = (90.0, 195.0), (40.0, 60.0), 0.5


@dataclass(frozen=True)
class Work:
    """What a job asks of an engine that has nothing else to do, in s."""

    first_s: float
    rest_s: float


def prompt_tokens(job: ClaimedJob) -> int:
    """How many tokens its prompt has, about."""
    return len((job.values or {})["prompt"]) // BYTES_PER_TOKEN + 1


def answer_tokens(job: ClaimedJob) -> int:
    """How many tokens its answer will have: every caller here asks for that many."""
    return int(json.loads((job.values or {})["options"])["max_tokens"])


def on_lane(job: ClaimedJob) -> Work:
    """On one processor."""
    (few, fast_s), (many, slow_s) = LANE_PREFILL
    tokens = prompt_tokens(job)
    beyond_s = (tokens - few) * (slow_s - fast_s) / (many - few)
    first_s = fast_s + beyond_s if tokens > few else fast_s * tokens / few
    return Work(first_s, answer_tokens(job) / LANE_TOKENS_PER_S)


def on_gpu(job: ClaimedJob) -> Work:
    """In one of many streams."""
    speed = random.Random(f"{prompt_tokens(job)} {answer_tokens(job)}").uniform(*GPU_TOKENS_PER_S)
    return Work(GPU_PREFILL_S, answer_tokens(job) / speed)


@dataclass
class Running:
    """A job with the engine; `left_s` of its work to the next of the events that it waits for."""

    left_s: float
    rest_s: float
    on_first: Callable[[], None]
    on_end: Callable[[], None]
    has_begun: bool = False


class Engine:
    """Works on several jobs at once. One that is `shared` has one processor for all of them, else
    each has its own.
    """

    def __init__(self, clock: Clock, *, shared: bool) -> None:
        self._clock, self._shared = clock, shared
        self._jobs: dict[str, Running] = {}
        self._since_ms = clock.now_ms
        self._version = 0

    def begin(
        self, job_id: str, work: Work, on_first: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Begins a job; tells of its first token and of its end."""
        self._advance()
        self._jobs[job_id] = Running(work.first_s, work.rest_s, on_first, on_end)
        self._plan()

    def abort(self, job_id: str) -> None:
        """Forgets a job."""
        self._advance()
        self._jobs.pop(job_id, None)
        self._plan()

    @property
    def _speed(self) -> float:
        return 1 / len(self._jobs) if self._shared and self._jobs else 1.0

    def _advance(self) -> None:
        done_s = (self._clock.now_ms - self._since_ms) / 1000 * self._speed
        self._since_ms = self._clock.now_ms
        for job in self._jobs.values():
            job.left_s -= done_s

    def _plan(self) -> None:
        self._version += 1
        if self._jobs:
            version = self._version
            soonest_s = max(0.0, min(job.left_s for job in self._jobs.values())) / self._speed
            self._clock.after(soonest_s + 0.001, lambda: self._due(version))

    def _due(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        due = {job_id: job for job_id, job in self._jobs.items() if job.left_s <= 0}
        for job_id, job in due.items():
            if job.has_begun:
                del self._jobs[job_id]
            job.left_s += job.rest_s
        for job in due.values():
            told, job.has_begun = (job.on_end if job.has_begun else job.on_first), True
            told()
        self._plan()
