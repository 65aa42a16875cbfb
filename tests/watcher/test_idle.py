"""When a node is to rest (EC2-004), on a clock that only the tests move."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.memory import Memory
from watcher.resting import Limits, Policy

pytestmark = pytest.mark.story("EC2-004")

MINUTE = 60.0
LIMITS = Limits(idle_s=5 * MINUTE, allowance_s=10 * MINUTE, last_moment=4 * 60 * MINUTE)


def policy(memory: Memory | None = None, now: float = 0.0) -> Policy:
    made = Policy(LIMITS, now, memory)
    made.note(now, in_flight=False, obstacle="")
    return made


def reason(looked_at: Policy, now: float, *, told: bool = False) -> str:
    """After nothing has changed until `now`."""
    looked_at.note(now, in_flight=False, obstacle="")
    return looked_at.reason(told)


def test_an_unused_node_rests_after_the_default() -> None:
    node = policy()
    assert reason(node, 5 * MINUTE - 0.001) == ""
    assert reason(node, 5 * MINUTE) == "idle"


def test_the_last_job_says_how_long() -> None:
    node = policy()
    node.note(10, in_flight=False, obstacle="")
    node.job_ended(30 * MINUTE, answered=True)
    assert reason(node, 29 * MINUTE) == ""
    node.job_ended(1 * MINUTE, answered=True)
    assert reason(node, 30 * MINUTE) == "idle"


def test_an_expired_job_counts_as_activity_but_says_nothing() -> None:
    node = policy()
    node.job_ended(1 * MINUTE, answered=True)
    node.note(30, in_flight=False, obstacle="")
    node.job_ended(None, answered=False)
    assert reason(node, 30 + 0.99 * MINUTE) == ""
    assert reason(node, 30 + MINUTE) == "idle"


def test_a_held_job_keeps_a_node_up_until_its_last_moment() -> None:
    node = policy()
    node.note(1, in_flight=True, obstacle="")
    node.note(3 * 60 * MINUTE, in_flight=True, obstacle="")
    assert node.reason() == ""
    node.note(4 * 60 * MINUTE, in_flight=True, obstacle="")
    assert node.reason() == "lifetime"


def test_loading_is_not_idle_and_does_not_begin_the_idle_time_anew() -> None:
    node = policy()
    node.note(4 * MINUTE, in_flight=False, obstacle="engine")
    node.note(7 * MINUTE, in_flight=False, obstacle="")
    assert node.reason() == ""
    assert reason(node, 8 * MINUTE - 0.001) == ""
    assert reason(node, 8 * MINUTE) == "idle", "four minutes before it, and one after it"


@pytest.mark.parametrize("obstacle", ["engine", "storage", "queue"])
def test_an_obstacle_without_end_uses_up_its_allowance(obstacle: str) -> None:
    node = policy()
    node.note(0, in_flight=True, obstacle=obstacle)
    node.note(10 * MINUTE - 0.001, in_flight=True, obstacle=obstacle)
    assert node.reason() == ""
    node.note(10 * MINUTE, in_flight=True, obstacle=obstacle)
    assert node.reason() == obstacle


def test_an_engine_that_flaps_uses_up_the_allowance_too_and_an_answer_gives_it_back() -> None:
    node, now = policy(), 0.0
    for answered in (True, False):
        for _ in range(9):
            node.note(now, in_flight=False, obstacle="engine")
            node.note(now + MINUTE, in_flight=True, obstacle="")
            now += 2 * MINUTE
        node.note(now, in_flight=False, obstacle="")
        node.job_ended(30 * MINUTE, answered=answered)
    assert node.reason() == ""
    node.note(now, in_flight=False, obstacle="engine")
    node.note(now + MINUTE, in_flight=False, obstacle="engine")
    assert node.reason() == "engine"


def test_a_node_that_the_queue_does_not_let_go_gives_up_too() -> None:
    node = policy()
    assert reason(node, 5 * MINUTE) == "idle"
    for _ in range(600):
        node.refused(1)
    assert reason(node, 15 * MINUTE) == "queue"


def test_being_told_counts_at_once() -> None:
    assert reason(policy(), 1, told=True) == "told"


def test_a_next_process_goes_on_counting_and_counts_the_time_without_one() -> None:
    node = policy()
    node.job_ended(8 * MINUTE, answered=True)
    node.note(3 * MINUTE, in_flight=False, obstacle="")
    again = policy(node.memory(), now=4 * MINUTE)
    assert again.obstructed_s == MINUTE
    assert reason(again, 8 * MINUTE - 0.001) == ""
    assert reason(again, 8 * MINUTE) == "idle", "the last job's wish"


def test_a_watcher_that_crashes_while_it_loads_uses_up_the_allowance() -> None:
    node, now = policy(), 0.0
    while True:
        node.note(now, in_flight=False, obstacle="engine")
        if node.reason():
            break
        node, now = Policy(LIMITS, now + 2, node.memory()), now + 3
    assert node.reason() == "engine"
    assert now == pytest.approx(10 * MINUTE, abs=3)


# --- whatever happens

PAUSE = st.floats(0, 400)
STATE = st.tuples(st.booleans(), st.sampled_from(["", "", "engine", "storage", "queue"]))
EVENTS = st.lists(
    st.tuples(
        PAUSE, STATE, st.sampled_from(["", "", "answered", "failed", "expired", "crash"]),
        st.integers(1, 30),
    ),
    max_size=60,
)  # fmt: skip


@dataclass
class Played:
    """How a node's life ended, and what it was of use for until then."""

    reason: str = ""
    at: float = 0.0
    held: bool = False
    useless_s: float = 0.0
    since_work_s: float = 0.0
    wish_s: float = 5 * MINUTE


def play(events: list[tuple[float, tuple[bool, str], str, int]], *, works: bool = True) -> Played:
    """Lives through the events until the policy says to rest, and then goes on with the last."""
    node, played, (held, obstacle) = policy(), Played(), (False, "")
    step_s = 20.0
    for pause_s, (now_held, now_obstacle), event, minutes in [*events, (1e5, (False, ""), "", 1)]:
        end = played.at + pause_s
        while played.at < end:
            elapsed_s = min(step_s, node.due_in() + 1e-6, end - played.at)
            played.at += elapsed_s
            played.useless_s += elapsed_s if obstacle else 0
            played.since_work_s = 0 if held else played.since_work_s + elapsed_s
            node.note(played.at, held, obstacle)
            played.reason, played.held = node.reason(), held
            if played.reason:
                return played
        held, obstacle = (now_held and works, now_obstacle if works else "engine")
        if event == "crash":
            # The next process comes two seconds later and begins with an engine to be asked.
            left = node.memory()
            played.at += 2
            played.since_work_s += 2
            if played.at >= left.give_up_at:
                # As `python -m watcher` looks before anything else.
                played.reason = "late"
                return played
            node, held = Policy(LIMITS, played.at, left), False
        node.note(played.at, held, obstacle)
        if works and event in ("answered", "failed", "expired"):
            wish_s = None if event == "expired" else minutes * MINUTE
            node.job_ended(wish_s, event == "answered")
            played.since_work_s = 0.0
            played.wish_s = played.wish_s if wish_s is None else wish_s
            if event == "answered":
                played.useless_s = 0.0
    raise AssertionError("it never rests")


@given(EVENTS)
@settings(max_examples=300)
def test_every_life_ends_in_time_and_for_a_reason(
    events: list[tuple[float, tuple[bool, str], str, int]],
) -> None:
    played = play(events)
    assert played.at <= LIMITS.last_moment + 2 + 1e-3, "never longer than the lifetime"
    if played.reason == "idle":
        assert not played.held, "never while a lease is held"
        assert played.since_work_s >= played.wish_s - 1e-3
    if played.reason in ("engine", "storage", "queue"):
        crashes = sum(event == "crash" for _, _, event, _ in events)
        assert played.useless_s + 2 * crashes >= LIMITS.allowance_s - 1e-3, "not before its time"


@given(EVENTS)
@settings(max_examples=300)
def test_an_engine_that_never_works_keeps_no_node_up_for_longer_than_its_allowance(
    events: list[tuple[float, tuple[bool, str], str, int]],
) -> None:
    played = play([(0, (False, "engine"), "", 1), *events], works=False)
    assert played.at <= LIMITS.allowance_s + 2 + 1e-3
    assert played.reason in ("engine", "late")
