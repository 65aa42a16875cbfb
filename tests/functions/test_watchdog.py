"""Which nodes the guardian stops, and which boots it counts as failed: every case by itself."""

from dataclasses import replace

import pytest

from guardian.watchdog import Limits, Seen, Verdict, judge
from tlfif.nodes import Node
from tlfif.queue.rounds import Told

pytestmark = pytest.mark.story("OPS-003")

NOW, MINUTE = 1_800_000_000.0, 60
LIMITS = Limits(boot_s=13 * MINUTE, lifetime_s=250 * MINUTE)


def node(state: str = "running", minutes: float = 5, **also: object) -> Node:
    """Started so many minutes ago."""
    launched = NOW - minutes * MINUTE
    made = Node("i-1", state, started_ago_s=minutes * MINUTE, launched_at=launched)
    return replace(made, **also)


def told(
    phase: str = "", boot: str = "", ready_min: float | None = None, seen: Seen | None = None
) -> Told:
    """What the queue knows: the phase, and how long ago the node was ready."""
    ready_ago_s = None if ready_min is None else ready_min * MINUTE
    return Told(phase, boot, ready_ago_s, seen.text() if seen else "")


def seen(minutes: float = 5, **also: object) -> Seen:
    """What was seen of the life that began so many minutes ago."""
    return replace(Seen(launched=int(NOW - minutes * MINUTE)), **also)


def judged(node: Node, told: Told, stop_min: float | None = None) -> Verdict:
    stop_ago_s = None if stop_min is None else stop_min * MINUTE
    return judge(node, told, LIMITS, NOW, stop_ago_s)


@pytest.mark.parametrize(
    ("minutes", "known"),
    [
        (1, told()),
        (12.9, told("loading", "b1", seen=seen(12.9, unready=12, boot="b1", watchers=1))),
        (200, told("ready", "b1", 190, seen(200, ready=True, boot="b1", watchers=1))),
        (200, told("", "", 190, seen(200, ready=True, silent=1))),  # a failover, say
        (200, told("loading", "b2", 190, seen(200, ready=True, unready=9))),  # its engine restarts
        (200, told("ready", "b1")),  # the queue lost its memory
        (200, told("loading", "b1")),  # and the engine was away just then
        (200, told("draining", "b1", 190, seen(200, ready=True, unready=1))),
    ],
)
def test_a_node_that_does_what_it_may_runs_on(minutes: float, known: Told) -> None:
    verdict = judged(node(minutes=minutes), known)
    assert (verdict.stop, verdict.failed) == ("", "")


@pytest.mark.parametrize(
    ("known", "how"),
    [
        (told(seen=seen(14, silent=12, unready=12)), "nothing was heard of it"),
        (told("loading", "b1", seen=seen(14, unready=12, boot="b1", watchers=1)), "says loading"),
        (
            told("booting", "b9", seen=seen(14, unready=12, boot="b8", watchers=8)),
            "its watcher crashes, 9 have begun",
        ),
        (told(seen=seen(14, unready=12, boot="b1", watchers=1)), "it is silent"),
        (told(ready_min=20, seen=seen(14, unready=12)), "nothing was heard of it"),
    ],
    ids=["silent", "loading", "crash loop", "fell silent", "ready in another life"],
)
def test_past_its_boot_allowance_it_is_stopped_and_the_boot_failed(known: Told, how: str) -> None:
    verdict = judged(node(minutes=14), known)
    assert "it is not ready 14 minutes after its start" in verdict.stop
    assert how in verdict.stop
    assert verdict.failed == verdict.stop


@pytest.mark.parametrize(
    ("minutes", "known", "why"),
    [
        (100, told("", "", 90, seen(100, ready=True, silent=2)), "silent for 3 minutes"),
        (100, told("loading", "b2", 90, seen(100, ready=True, unready=13)), "for 14 minutes"),
        (251, told("ready", "b1", 240, seen(251, ready=True)), "past gpu:maxLifetimeHours"),
        (251, told("loading", "b1", None), "past gpu:maxLifetimeHours"),
    ],
)
def test_a_node_that_was_ready_is_stopped_when_it_no_longer_is_or_is_too_old(
    minutes: float, known: Told, why: str
) -> None:
    verdict = judged(node(minutes=minutes), known)
    assert why in verdict.stop
    assert verdict.failed == "", "its boot was none that failed"


def test_a_stop_that_was_asked_for_is_the_same_one_until_ec2_did_it() -> None:
    first = judged(node(minutes=14), told(seen=seen(14, unready=12)))
    again = judged(node(minutes=14), told(seen=first.seen))
    assert (again.stop, again.failed) == (first.stop, "")
    ended = judged(node("stopped", 14), told(seen=again.seen))
    assert (ended.stop, ended.failed) == ("", "")


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (node("stopped", powered_off=True), "its machine powered itself off"),
        (node("stopped"), "it stopped before it was ready"),
    ],
)
def test_a_boot_that_ended_by_itself_failed_and_counts_once(ended: Node, why: str) -> None:
    verdict = judged(ended, told(seen=seen(silent=2)))
    assert why in verdict.failed
    assert judged(ended, told(seen=verdict.seen)).failed == ""


@pytest.mark.parametrize(
    ("ended", "known", "stop_min"),
    [
        (node("stopped"), told(ready_min=3, seen=seen()), None),
        (node("stopped"), told(seen=seen()), 2),
        (node("stopped", failure="Server.InsufficientInstanceCapacity"), told(seen=seen()), None),
        (node("stopped", latched=True), told(seen=seen()), None),
        (node("stopped"), told(), None),
        (node("stopping"), told(seen=seen()), None),
        (node("pending", 0.1), told(), None),
    ],
    ids=["it was ready", "/stop", "no machine", "latched", "long ago", "not over", "just begun"],
)
def test_what_ended_for_another_reason_is_no_failed_boot(
    ended: Node, known: Told, stop_min: float | None
) -> None:
    verdict = judged(ended, known, stop_min)
    assert (verdict.stop, verdict.failed) == ("", "")


@pytest.mark.parametrize(
    ("known", "stop_min", "failed"),
    [
        (told(seen=seen(9)), None, True),
        (told(ready_min=7, seen=seen(9)), None, False),
        (told(seen=seen(9)), 7, False),
        (told(seen=seen(9, stopped="it was silent")), None, False),
        (told(seen=seen(9, counted=int(NOW - 9 * MINUTE))), None, False),
    ],
    ids=["unseen", "ready meanwhile", "/stop", "by the guardian", "counted"],
)
def test_a_boot_that_failed_between_two_looks_counts_when_the_next_began(
    known: Told, stop_min: float | None, *, failed: bool
) -> None:
    verdict = judged(node(minutes=1), known, stop_min)
    assert bool(verdict.failed) is failed
    assert verdict.stop == ""
    assert judged(node(minutes=1), replace(known, seen=verdict.seen.text()), stop_min).failed == ""


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"another": 1}', "null"])
def test_what_another_guardian_saw_is_forgotten(text: str) -> None:
    assert Seen.parse(text) is None
