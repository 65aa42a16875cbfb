"""The guardian's rounds: what the queue knows of nodes and of what money has closed, what was done
about them, and what is closed or open from then on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlfif import names
from tlfif.queue.scripts import Call


@dataclass(frozen=True)
class Told:
    """What the queue knows of one node: its phase and the process that says so, '' for a silent
    one; how long ago it was last ready, None if never; and what was seen of it before, as JSON.
    """

    phase: str = ""
    boot: str = ""
    ready_ago_s: float | None = None
    seen: str = ""


@dataclass(frozen=True)
class Look:
    """`nodes` by instance id; how long ago somebody wanted all to stop, None if never; the latch
    and what else is closed, as the queue has them, None if nothing is.
    """

    nodes: dict[str, Told]
    stop_ago_s: float | None
    latch: dict[str, Any] | None
    closed: dict[str, Any] | None


def look(instances: Sequence[str]) -> Call[Look]:
    """Reads what is known of these nodes, and what money has closed."""
    return Call("rounds/look", [], list(instances), lambda answer: _look(instances, answer))


def _look(instances: Sequence[str], answer: list[Any]) -> Look:
    told, stop_ms, latch, closed = answer
    nodes = {
        instance: Told(phase, boot, _ago_s(ready_ms), seen)
        for instance, (phase, boot, ready_ms, seen) in zip(instances, told, strict=True)
    }
    return Look(nodes, _ago_s(stop_ms), _json(latch), _json(closed))


def _ago_s(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000


def _json(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def looked(seen: Mapping[str, str], failed: Mapping[str, str]) -> Call[str]:
    """Notes what was `seen` of the nodes, JSON by instance id, and whose boot `failed`, and why."""
    told = {
        "seen": dict(seen),
        "failed": [{"node": node, "why": why} for node, why in failed.items()],
        "bound": names.BOOT_FAILURES_BOUND,
        "open_ms": names.BREAKER_OPEN_S * 1000,
        "breaker_s": names.BREAKER_TTL_S,
        "failure_s": names.GAVE_UP_TTL_S,
        "watched_s": names.WATCHED_TTL_S,
    }
    return Call("rounds/looked", [], [json.dumps(told)], str)


def did(what: str, why: str, node: str = "") -> Call[str]:
    """Keeps the guardian's last action for GET /status."""
    told = {"what": what, "why": why, **({"node": node} if node else {})}
    return Call("rounds/did", [], [json.dumps(told), names.WATCHED_TTL_S], str)


def close(closed: dict[str, Any] | None, until: float) -> Call[bool]:
    """Closes what money no longer allows until a time (epoch s), or opens it; whether that changed
    whether anything is.
    """
    text = json.dumps(closed) if closed else ""
    return Call("rounds/close", [], [text, int(until)], bool)


def mend() -> Call[int]:
    """Forgets the boots that failed; how many there were."""
    return Call("rounds/mend", [], [], int)
