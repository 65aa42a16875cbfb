"""What the instant lane should not have done, by what every call of it has logged."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from support.chaos.environments import Life

OWN_WORDS = ("", "LaneInterrupted", "LaneFailure")
# A call that may take no longer than this, in s, may not find the time to end in order.
SHORT_S = 7
# In ms. Clocks are read on both sides of a script, on a machine that is busy; and after a queue has
# forgotten, or was away, everybody has yet to say that they are there.
SLACK_MS, SAYS_SO_MS, LEAVES_MS = 1_500, 7_000, 5_000


def violations(
    lives: Sequence[Life], node_lines: Sequence[str], outages: Sequence[int]
) -> Iterator[str]:
    """`node_lines` are the watchers' log, `outages` when the queue was killed, in epoch ms."""
    ready = list(_ready(node_lines))
    yield from _two_at_once(lives, outages)
    for life in lives:
        yield from _unexplained_end(life)
        yield from _worked_beside_a_node(life, ready, outages)


def _two_at_once(lives: Sequence[Life], outages: Sequence[int]) -> Iterator[str]:
    """One lane took a job while another was the lane."""
    entered = [life for life in lives if life.token]
    for one in entered:
        for other in entered:
            if other is one:
                continue
            for ms, job in one.claims:
                within = other.entered_ms + SLACK_MS < ms < other.ended_ms - SLACK_MS
                late = one.entered_ms < other.entered_ms
                if within and late and not _near(ms, outages) and not _was_away(other, ms):
                    yield (
                        f"lane {one.token[:8]} claimed {job} while {other.token[:8]} was the lane"
                    )


def _unexplained_end(life: Life) -> Iterator[str]:
    """Lambda ended it, though nobody had struck it and its time was long enough; or it failed in
    another way than it says itself.
    """
    excused = life.struck or life.frozen or life.limit_s < SHORT_S
    lost = life.over in ("Sandbox.Timedout", "Runtime.ExitError")
    if (lost and not excused) or not (lost or life.over in OWN_WORDS):
        yield f"lane {life.token[:8] or '(none)'} ended by {life.over}"


def _worked_beside_a_node(
    life: Life, ready: Sequence[tuple[int, int]], outages: Sequence[int]
) -> Iterator[str]:
    for since, until in ready:
        for ms, job in life.claims:
            if since + SLACK_MS < ms < until - SLACK_MS and not _near(ms, outages):
                yield f"lane {life.token[:8]} claimed {job} while a node was ready"
        # It leaves once what it had has ended.
        had = max((ms for ms, _ in life.ends if ms > since), default=0)
        due = max(since, life.entered_ms, had) + LEAVES_MS
        struck = life.struck or life.frozen or life.over
        if life.token and due < min(life.ended_ms, until) and not struck:
            yield f"lane {life.token[:8]} stayed {life.ended_ms - due + LEAVES_MS} ms beside a node"


def _was_away(life: Life, ms: int) -> bool:
    """Whether it was frozen, so that another took its place."""
    return any(since < ms for since, _ in life.frozen)


def _near(ms: int, moments: Sequence[int]) -> bool:
    return any(0 <= ms - moment < SAYS_SO_MS for moment in moments)


def _ready(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """From when to when each node was ready by its own word; a killed one stays so for others."""
    since: dict[str, int] = {}
    instance = ""
    for line in lines:
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        instance = entry.pop("node", instance)
        match entry:
            case {"event": "phase", "phase": "ready"}:
                since.setdefault(instance, entry["time"])
            case {"event": "phase" | "started" | "told_to_stop" | "resting"}:
                if instance in since:
                    yield since.pop(instance), entry["time"]
            case _:
                pass


def summary(lives: Sequence[Life]) -> str:
    """One line of a run's sum."""
    ends = Counter(life.over or life.why or "busy" for life in lives)
    struck = Counter(kind for life in lives for kind in life.struck)
    told = ", ".join(f"{n} {how}" for how, n in sorted(ends.items()))
    hit = ", ".join(f"{n} {kind}" for kind, n in sorted(struck.items())) or "none"
    claims = sum(len(life.claims) for life in lives)
    warm = sum(life.warm for life in lives)
    return f"  lane: {len(lives)} calls, {warm} of them warm ({told}), {claims} jobs taken; struck at work: {hit}"
