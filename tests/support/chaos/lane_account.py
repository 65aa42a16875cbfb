"""What the instant lane should not have done, by what every call of it has logged and what the
queue was seen to know.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from support.chaos.environments import Life

OWN_WORDS = ("", "LaneInterrupted", "LaneFailure")
# A call that may take no longer than this, in s, may not find the time to end in order.
SHORT_S = 7
# In ms: for how long something must have been so before a claim, and be so after it, that no claim
# can have been made before; and how soon a lane leaves that has nothing left to do.
BEFORE_MS, AFTER_MS, LEAVES_MS = 1_200, 100, 5_000
# Looks at the queue are made so often, in ms. Where not even half of them were, they tell nothing:
# it was away, or the machine was late, and so may a lane have been.
LOOK_EVERY_MS = 100
LATE_MS = 300


@dataclass(frozen=True)
class Seen:
    """What the queue knew at a moment: whether a node is ready, and the token of the lane or ""."""

    ms: int
    ready: bool
    token: str


def violations(lives: Sequence[Life], seen: Sequence[Seen]) -> Iterator[str]:
    """`seen` is in the order of time."""
    for life in lives:
        yield from _unexplained_end(life)
        name = f"lane {life.token[:8]}"
        for ms, job in life.claims:
            window = _window(seen, ms - BEFORE_MS, ms + AFTER_MS)
            others = {each.token for each in window}
            if window and others.isdisjoint({life.token, ""}):
                yield f"{name} claimed {job} while {others.pop()[:8]} was the lane"
            if window and all(each.ready for each in window):
                yield f"{name} claimed {job} while a node was ready"
        if _stayed(life, seen):
            yield f"{name} stayed for {LEAVES_MS} ms beside a node"


def _unexplained_end(life: Life) -> Iterator[str]:
    """Lambda ended it, though nobody had struck it and its time was long enough; or it failed in
    another way than it says itself.
    """
    # Who counts its time may be late itself, and then takes no answer that came in time.
    late = life.ended_ms - life.called_ms > life.limit_s * 1000 + LATE_MS
    excused = life.struck or life.frozen or life.limit_s < SHORT_S or late
    lost = life.over in ("Sandbox.Timedout", "Runtime.ExitError")
    if (lost and not excused) or not (lost or life.over in OWN_WORDS):
        yield f"lane {life.token[:8] or '(none)'} ended by {life.over}"


def _stayed(life: Life, seen: Sequence[Seen]) -> bool:
    """Whether it was there with nothing to do, while a node was ready, for too long."""
    since = life.ended_ms - LEAVES_MS
    window = _window(seen, since, life.ended_ms)
    idle = all(ms < since for ms in (life.entered_ms, *_busy(life)))
    struck = life.struck or life.frozen or life.over
    return bool(
        life.token and window and idle and all(each.ready for each in window) and not struck
    )


def _busy(life: Life) -> list[int]:
    return [ms for ms, _ in (*life.claims, *life.ends)]


def _window(seen: Sequence[Seen], since_ms: int, until_ms: int) -> list[Seen]:
    found = [each for each in seen if since_ms <= each.ms <= until_ms]
    return found if 2 * len(found) * LOOK_EVERY_MS >= until_ms - since_ms else []


def summary(lives: Sequence[Life]) -> str:
    """Two lines of a run's sum."""
    ends = Counter(life.over or life.why or "busy" for life in lives)
    struck = Counter(kind for life in lives for kind in life.struck)
    told = ", ".join(f"{n} {how}" for how, n in sorted(ends.items()))
    hit = ", ".join(f"{n} {kind}" for kind, n in sorted(struck.items())) or "none"
    warm, claims = sum(life.warm for life in lives), sum(len(life.claims) for life in lives)
    return (
        f"  lane: {len(lives)} calls, {warm} of them warm ({told})\n"
        f"  lane: {claims} jobs taken; struck at work: {hit}"
    )
