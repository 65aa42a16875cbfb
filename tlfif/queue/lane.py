"""The instant lane's side of the queue: one function at a time says that it is there, and goes."""

import time
from dataclasses import dataclass
from typing import Any

from tlfif import names
from tlfif.queue.scripts import Call


@dataclass(frozen=True)
class Lane:
    """What whoever accepts or guards jobs knows of the instant lane.

    `wakes`: when nodes are woken as well: `always`; for the `backlog` that the lane would not
    finish within `wake_after_s`, or is slow at; `never`. Prompts of more than `prompt_bytes` are
    left to a node where there is one.
    """

    wakes: str = "always"
    wake_after_s: float = 60
    prompt_bytes: int = 1_500


def policy(lane: Lane | None) -> dict[str, Any]:
    """The scripts' view of it; None: the stack has no lane, and nodes are woken for all jobs."""
    told = lane or Lane()
    return {
        "lane": lane is not None,
        "wakes": told.wakes,
        "wake_after_ms": told.wake_after_s * 1000,
        "lane_bytes": told.prompt_bytes,
        "lane_first_ms": names.LANE_FIRST_MS,
        "lane_work_ms": names.LANE_WORK_MS,
        "lane_wake_ttl_s": names.LANE_WAKE_TTL_S,
        "lane_calls": names.LANE_CALLS_BOUND,
        "lane_failure_s": names.LANE_FAILURE_TTL_S,
    }


def consumer_name(token: str) -> str:
    """The lane's name as a consumer, by which the scripts know it."""
    return f"{names.LANE_OWNER}:{token}"


def call(token: str) -> Call[bool]:
    """Claims the right to call the lane: there is none, it serves, and nobody else calls it.

    The call that would be one too many of those nobody answered breaks it instead.
    """
    bounds = [names.LANE_WAKE_TTL_S, names.LANE_CALLS_BOUND, names.LANE_FAILURE_TTL_S]
    return Call("lane/call", [], [token, *bounds], bool)


def uncalled(token: str) -> Call[str]:
    """Gives the right back: Lambda did not take the call."""
    return Call("lane/uncalled", [], [token], str)


def enter(token: str) -> Call[str]:
    """Becomes the lane: 'entered', 'busy' (another is), or 'latched' (the budget is spent)."""
    return Call("lane/enter", [], [token, names.HEARTBEAT_TTL_S], str)


def beat(token: str, phase: str, in_flight: int, used_s: float) -> Call[str]:
    """Says that the lane is there, `loading` or `working`, and has run for `used_s` since.

    'go on', 'node' (one is ready: take no more), 'latched', or 'lost' (another is the lane).
    """
    args = [token, phase, in_flight, names.HEARTBEAT_TTL_S, _month(), f"{used_s:.3f}"]
    return Call("lane/beat", [], args, str)


def answered(first_ms: int | None, work_ms: int) -> Call[str]:
    """Notes what an answer took: from acceptance to its first token, and of the engine's time."""
    first = "" if first_ms is None else first_ms
    return Call("lane/answered", [], [first, work_ms, names.LANE_HISTORY_BOUND], str)


def leave(token: str, used_s: float, *, over: bool = False) -> Call[str]:
    """Goes, when there is nothing to do, or in any case when its time is `over`.

    'left', 'work' (some has come: stay), 'call' (call your successor, you have the right to), or
    'lost' (another is the lane).
    """
    abandoned_ms = names.LEASE_IDLE_S * 1000
    args = [token, int(over), abandoned_ms, names.LANE_WAKE_TTL_S, _month(), f"{used_s:.3f}"]
    return Call("lane/leave", [], args, str)


def fail(token: str, code: str, message: str, used_s: float) -> Call[str]:
    """Goes because it is of no use; nobody calls it for a while, and /status says why."""
    args = [token, code, message, names.LANE_FAILURE_TTL_S, _month(), f"{used_s:.3f}"]
    return Call("lane/fail", [], args, str)


def _month() -> str:
    """The month whose bill it is, in UTC as AWS counts."""
    return time.strftime("%Y-%m", time.gmtime())
