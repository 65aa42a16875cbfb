"""What became of every prompt of a simulation, and for how long machines ran."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.weeks.clock import Clock


@dataclass
class Asked:
    """One accepted prompt; times in epoch ms. `opens` its caller's session."""

    at_ms: int
    opens: bool
    then: Callable[[], None]
    first_ms: int | None = None
    ended_ms: int | None = None
    by: str = ""


@dataclass
class Record:
    """Seconds are simulated ones; `lanes` is how many work now."""

    clock: Clock
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    gpu_s: float = 0.0
    boots: int = 0
    lane_s: float = 0.0
    invocations: int = 0
    cold_starts: int = 0
    lanes: int = 0

    def first_token(self, job_id: str) -> None:
        """An answer begins."""
        self.asked[job_id].first_ms = self.clock.now_ms

    def begin_again(self, job_id: str) -> None:
        """Its answer was given up, and another worker begins it anew."""
        self.asked[job_id].first_ms = None

    def ended(self, job_id: str, by: str) -> float:
        """An answer is there; after how many s its first token was."""
        asked = self.asked[job_id]
        assert asked.ended_ms is None and asked.first_ms is not None, "no answer ends twice"
        asked.ended_ms, asked.by = self.clock.now_ms, by
        asked.then()
        return (asked.first_ms - asked.at_ms) / 1000

    def expired(self, job_id: str) -> None:
        """Nobody answered in time."""
        asked = self.asked[job_id]
        asked.ended_ms, asked.by = self.clock.now_ms, "expired"
        asked.then()
