"""Says when a node is to rest, and why; it acts on nothing, and is handed its clock."""

from dataclasses import dataclass

from watcher.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Limits:
    """In s: how long a node waits for the first job, and how long it may be of no use.

    `last_moment` is when it rests whatever it does, on the machine's monotonic clock.
    """

    idle_s: float
    allowance_s: float
    last_moment: float


class Policy:
    """Counts what passes without work, on one monotonic clock that a restart does not set back.

    - *Idle* is the time with no job and nothing in the way, since the last job ended; loading
      interrupts it and does not begin it anew. A job sets how long the node waits after it.
    - *Obstructed* is the time in which the node could take no job (its engine loads or is away,
      the storage or the queue does not answer), in sum since the last answer.
    """

    def __init__(self, limits: Limits, now: float, memory: Memory | None = None):
        """`memory` is what an earlier process of the same boot left; the time in which there was
        none counts as both, so that one that crashes again and again does not stay for ever.
        """
        self._limits, self._at = limits, now
        self._wish_s = limits.idle_s
        self._idled_s = self._obstructed_s = 0.0
        # Until the first `note` the node can take no job, whatever the reason will be.
        self._in_flight, self._obstacle, self._refused = False, "engine", False
        if memory is not None:
            away_s = now - memory.at
            self._obstructed_s = memory.obstructed_s + away_s
            self._idled_s = memory.idled_s + (0 if memory.obstructed else away_s)
            self._wish_s = limits.idle_s if memory.wish_s is None else memory.wish_s

    @property
    def obstructed_s(self) -> float:
        """How long the node could take no job, since the last answer."""
        return self._obstructed_s

    def note(self, now: float, in_flight: bool, obstacle: str) -> None:
        """Whether jobs are held from now on, and what keeps the node from taking any ('': nothing).

        Until now it was as noted last.
        """
        elapsed_s, self._at = max(0.0, now - self._at), max(now, self._at)
        if self._obstacle:
            self._obstructed_s += elapsed_s
        elif not self._in_flight:
            self._idled_s += elapsed_s
        self._in_flight, self._obstacle = in_flight, obstacle
        if in_flight:
            self._idled_s, self._refused = 0.0, False

    def job_ended(self, idle_s: float | None, answered: bool) -> None:
        """A job is over that asked for `idle_s`; None: it had expired and could not say."""
        self._idled_s, self._refused = 0.0, False
        if idle_s is not None:
            self._wish_s = idle_s
        if answered:
            self._obstructed_s = 0.0

    def refused(self, for_s: float) -> None:
        """The queue did not let the node go: it has work, of which the node gets none."""
        self._refused = True
        self._obstructed_s += for_s

    def reason(self, told: bool = False) -> str:
        """Why the node is to rest as of the last `note`, '' when it is not: "lifetime", "told",
        the obstacle that has used up its allowance, or "idle".
        """
        if self._at >= self._limits.last_moment:
            return "lifetime"
        if told:
            return "told"
        obstacle = self._obstacle or ("queue" if self._refused else "")
        if obstacle and self._obstructed_s >= self._limits.allowance_s:
            return obstacle
        idle = not (self._in_flight or self._obstacle)
        return "idle" if idle and self._idled_s >= self._wish_s else ""

    def due_in(self) -> float:
        """Seconds from the last `note` until there is a reason, if all stays as it is."""
        left_s = self._limits.last_moment - self._at
        if self._obstacle:
            left_s = min(left_s, self._limits.allowance_s - self._obstructed_s)
        elif not self._in_flight:
            left_s = min(left_s, self._wish_s - self._idled_s)
        return max(0.0, left_s)

    def memory(self) -> Memory:
        """What a next process of this boot has to know, as of the last `note`."""
        left_s = max(0.0, self._limits.allowance_s - self._obstructed_s)
        return Memory(
            at=self._at,
            give_up_at=min(self._limits.last_moment, self._at + left_s),
            idled_s=self._idled_s,
            obstructed_s=self._obstructed_s,
            wish_s=self._wish_s,
            obstructed=self._obstacle != "",
        )
