"""The instant lane's side of the queue: one function at a time says that it is there, and goes."""

import time
import uuid
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
    if lane is None:
        return {"lane": False}
    told = {
        "wakes": lane.wakes,
        "wake_after_ms": lane.wake_after_s * 1000,
        "prompt_bytes": lane.prompt_bytes,
        "first_ms": names.LANE_FIRST_MS,
        "work_ms": names.LANE_WORK_MS,
        "wake_ttl_s": names.LANE_WAKE_TTL_S,
        "calls": names.LANE_CALLS_BOUND,
        "failure_s": names.LANE_FAILURE_TTL_S,
    }
    return {"lane": told}


def consumer_name(token: str) -> str:
    """The lane's name as a consumer, by which the scripts know it."""
    return f"{names.LANE_OWNER}:{token}"


def call(token: str) -> Call[bool]:
    """Claims the right to call the lane: jobs wait for it, it serves, and nobody else calls it.

    For whoever was to wake a node and had none. The call that would be one too many of those that
    came to nothing breaks it instead.
    """
    bounds = [names.LANE_WAKE_TTL_S, names.LANE_CALLS_BOUND, names.LANE_FAILURE_TTL_S]
    return Call("lane/call", [], [token, names.LET_GO_S * 1000, *bounds], bool)


def uncalled(
    token: str,
    code: str = "Refused",
    message: str = "Lambda did not take the call of the instant lane.",
) -> Call[str]:
    """Gives the right back: Lambda did not take the call, and this is why.

    Others may call in 30 s; until then the lane is not counted on.
    """
    return Call("lane/uncalled", [], [token, code, message, names.LANE_WAKE_TTL_S], str)


def enter(token: str) -> Call[str]:
    """Becomes the lane: 'entered', 'busy' (another is), or 'latched' (the budget is spent)."""
    return Call("lane/enter", [], [token, names.HEARTBEAT_TTL_S], str)


def beat(token: str, phase: str, in_flight: int, used_s: float) -> Call[str]:
    """Says that the lane is there, `loading` or `working`, and has run for `used_s` since.

    'go on', 'node' (one is ready: take no more), 'latched', or 'lost' (another is the lane).
    """
    args = [token, phase, in_flight, names.HEARTBEAT_TTL_S, *_use(used_s)]
    return Call("lane/beat", [], args, str)


def answered(first_ms: int | None, work_ms: int) -> Call[str]:
    """Notes what an answer took: from acceptance to its first token, and of the engine's time."""
    first = "" if first_ms is None else first_ms
    return Call("lane/answered", [], [first, work_ms, names.LANE_HISTORY_BOUND], str)


def leave(token: str, used_s: float, *, over: bool = False) -> Call[str]:
    """Goes, when there is nothing to do, or in any case when its time is `over`.

    The last thing it does in any case but `fail`, after all its jobs were ended or handed back:
    what was handed back later nobody might look for. 'left', 'work' (some has come: stay, and
    count on), 'call' (call your successor, you have the right to), or 'lost' (another is the lane).
    """
    let_go_ms = names.LET_GO_S * 1000
    args = [token, int(over), let_go_ms, names.LANE_WAKE_TTL_S, *_use(used_s)]
    return Call("lane/leave", [], args, str)


def fail(
    token: str, code: str, message: str, used_s: float, *, for_s: int = names.LANE_FAILURE_TTL_S
) -> Call[str]:
    """Goes because it is of no use; nobody calls it `for_s`, and /status says why."""
    args = [token, code, message, for_s, *_use(used_s)]
    return Call("lane/fail", [], args, str)


def month() -> str:
    """The month whose bill it is now, in UTC as AWS counts."""
    return time.strftime("%Y-%m", time.gmtime())


def _use(used_s: float) -> tuple[str, str, str]:
    """What is counted, and a name for it: a call that is sent twice is counted once."""
    return month(), f"{used_s:.3f}", uuid.uuid4().hex
