"""Which nodes are to be stopped because they no longer do themselves, and which boots failed.

Pure: what EC2, the queue and the last look say of a node, in; a verdict, out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tlfif import names
from tlfif.nodes import Node
from tlfif.queue.rounds import Told

# A queue that lost its memory knows nothing of a node that was ready: one look is none.
UNREADY_LOOKS = 2
# So many processes of the watcher without a ready one, and it is not slow but crashes.
CRASHES = 3
ENDED = ("stopping", "stopped")


@dataclass(frozen=True)
class Seen:
    """What was seen of one life of a node: since `launched` (epoch s) it was silent, or not ready,
    at so many looks in a row, and so many processes of its watcher spoke.

    `ready`: it was, in this life. `counted`: the life whose boot was counted as failed, `stopped`
    why the guardian stopped this one.
    """

    launched: int = 0
    silent: int = 0
    unready: int = 0
    watchers: int = 0
    boot: str = ""
    ready: bool = False
    counted: int = 0
    stopped: str = ""

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> "Seen | None":
        """None where nothing was seen yet, or what a newer or older guardian wrote."""
        try:
            told: Mapping[str, Any] = json.loads(text or "null")
            return cls(**told)
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Limits:
    """After `boot_s` a node that was never ready is of no use, after `lifetime_s` any is too old;
    `minute_s` is the time from one look to the next.
    """

    boot_s: float
    lifetime_s: float
    minute_s: float = 60.0


@dataclass(frozen=True)
class Verdict:
    """What was seen, why to stop the node, and why its boot failed; '' for neither."""

    seen: Seen
    stop: str = ""
    failed: str = ""


def judge(
    node: Node, told: Told, limits: Limits, now: float, stop_ago_s: float | None = None
) -> Verdict:
    """Judges one node at `now` (epoch s); `stop_ago_s`: how long ago somebody wanted all to stop.

    A boot that somebody ended, or that EC2 had no machine for, did not fail.
    """
    before = Seen.parse(told.seen)
    launched = int(node.launched_at)
    ready_at = None if told.ready_ago_s is None else now - told.ready_ago_s
    stop_at = None if stop_ago_s is None else now - stop_ago_s
    if before is None or before.launched != launched:
        failed = before is not None and _ended_unready(before, ready_at, stop_at)
        counted = before.launched if before and failed else 0
        seen = Seen(launched=launched, ready=_since(ready_at, launched), counted=counted)
        verdict = _judge_life(node, told, seen, limits, stop_at, is_known=before is not None)
        if failed and not verdict.failed:
            return replace(verdict, failed="it went down before it was ready")
        return verdict
    seen = replace(before, ready=before.ready or _since(ready_at, launched))
    return _judge_life(node, told, seen, limits, stop_at)


def _since(at: float | None, launched: int) -> bool:
    return at is not None and at >= launched


def _ended_unready(before: Seen, ready_at: float | None, stop_at: float | None) -> bool:
    """Whether the life before this one, whose end nobody saw, was a boot that failed."""
    excused = before.ready or before.stopped or before.counted == before.launched
    return not (excused or _since(ready_at, before.launched) or _since(stop_at, before.launched))


def _judge_life(
    node: Node,
    told: Told,
    seen: Seen,
    limits: Limits,
    stop_at: float | None,
    *,
    is_known: bool = True,
) -> Verdict:
    if node.state == "running":
        return _judge_running(node, told, _looked(told, seen), limits)
    if node.state not in ENDED or seen.ready or seen.counted == seen.launched or not is_known:
        return Verdict(seen)
    excused = node.failure or node.latched or seen.stopped or _since(stop_at, seen.launched)
    if excused or node.state == "stopping":  # EC2 says why when it has stopped
        return Verdict(replace(seen, counted=seen.launched) if excused else seen)
    how = "its machine powered itself off" if node.powered_off else "it stopped"
    return _failed(seen, f"{how} before it was ready")


def _looked(told: Told, seen: Seen) -> Seen:
    another = told.boot not in ("", seen.boot)
    return replace(
        seen,
        silent=0 if told.phase else seen.silent + 1,
        unready=0 if told.phase == "ready" else seen.unready + 1,
        ready=seen.ready or told.phase == "ready",
        watchers=seen.watchers + another,
        boot=told.boot or seen.boot,
    )


def _judge_running(node: Node, told: Told, seen: Seen, limits: Limits) -> Verdict:
    age_s, minutes = node.started_ago_s, round(node.started_ago_s / limits.minute_s)
    if seen.stopped:
        return Verdict(seen, stop=seen.stopped)  # EC2 has not done it yet
    if age_s > limits.lifetime_s:
        hours = minutes / 60
        return _stop(seen, f"it has been up for {hours:.1f} hours, past gpu:maxLifetimeHours")
    if not seen.ready and age_s > limits.boot_s and seen.unready >= UNREADY_LOOKS:
        why = f"it is not ready {minutes} minutes after its start: {_how(told, seen)}"
        is_counted = seen.counted == seen.launched
        return _stop(_failed(seen, why).seen, why, failed="" if is_counted else why)
    if seen.ready and seen.silent >= names.SILENT_LOOKS:
        return _stop(seen, f"it was ready, and has been silent for {seen.silent} minutes")
    if seen.ready and seen.unready * limits.minute_s > limits.boot_s:
        why = f"it has not been ready for {seen.unready} minutes: {_how(told, seen)}"
        return _stop(seen, why)
    return Verdict(seen)


def _how(told: Told, seen: Seen) -> str:
    if seen.watchers >= CRASHES:
        return f"its watcher crashes, {seen.watchers} have begun"
    if told.phase:
        return f"it says {told.phase}"
    return "it is silent" if seen.watchers else "nothing was heard of it"


def _stop(seen: Seen, why: str, failed: str = "") -> Verdict:
    return Verdict(replace(seen, stopped=why), why, failed)


def _failed(seen: Seen, why: str) -> Verdict:
    return Verdict(replace(seen, counted=seen.launched), failed=why)
