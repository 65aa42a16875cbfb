"""What became of every prompt of a simulation, and for how long machines ran."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.weeks.clock import Clock
from bench.weeks.load import Prompt


@dataclass
class Asked:
    """One accepted prompt; times in epoch ms. `opens` its caller's session."""

    at_ms: int
    prompt: Prompt
    opens: bool
    then: Callable[[], None]
    first_ms: int | None = None
    ended_ms: int | None = None
    by: str = ""

    @property
    def first_s(self) -> float:
        """After how long its first token was there."""
        assert self.first_ms is not None
        return (self.first_ms - self.at_ms) / 1000

    @property
    def whole_s(self) -> float:
        """After how long all of it was."""
        assert self.ended_ms is not None
        return (self.ended_ms - self.at_ms) / 1000


@dataclass
class Record:
    """Seconds are simulated ones; `lanes` is how many work now."""

    clock: Clock
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    gpu_s: float = 0.0
    boots: int = 0
    lane_s: float = 0.0
    invocations: int = 0
    lanes: int = 0
    open: int = 0
    held: int = 0

    def accepted(self, job_id: str, asked: Asked) -> None:
        """A prompt waits for its answer."""
        self.asked[job_id] = asked
        self.open += 1

    @property
    def waiting(self) -> int:
        """How many jobs no worker has: without one, nobody needs to ask the queue for any."""
        return self.open - self.held

    def first_token(self, job_id: str) -> None:
        """An answer begins."""
        self.asked[job_id].first_ms = self.clock.now_ms

    def begin_again(self, job_id: str) -> None:
        """Its answer was given up, and another worker begins it anew."""
        self.asked[job_id].first_ms = None
        self.held -= 1

    def ended(self, job_id: str, by: str) -> float:
        """An answer is there; after how many s its first token was."""
        asked = self.asked[job_id]
        self.open -= 1
        self.held -= 1
        assert asked.ended_ms is None, "no answer ends twice"
        asked.ended_ms, asked.by = self.clock.now_ms, by
        asked.then()
        return asked.first_s

    def expired(self, job_id: str) -> None:
        """Nobody answered in time."""
        asked = self.asked[job_id]
        self.open -= 1
        asked.ended_ms, asked.by = self.clock.now_ms, "expired"
        asked.then()
