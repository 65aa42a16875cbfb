"""When a node may rest (EC2-004), on a clock that only the tests move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.idle import IdleTimer

pytestmark = pytest.mark.story("EC2-004")

MINUTE = 60.0


def test_an_unused_node_rests_after_the_default() -> None:
    timer = IdleTimer(5 * MINUTE, now=1000)
    assert not timer.due(1000 + 5 * MINUTE - 0.001)
    assert timer.due(1000 + 5 * MINUTE)


def test_work_starts_the_count_again() -> None:
    timer = IdleTimer(5 * MINUTE, now=0)
    timer.busy(4 * MINUTE)
    assert not timer.due(8 * MINUTE)
    assert timer.due(9 * MINUTE)


def test_the_last_job_says_how_long() -> None:
    timer = IdleTimer(5 * MINUTE, now=0)
    timer.job_ended(10, 30 * MINUTE)
    assert not timer.due(29 * MINUTE)
    timer.job_ended(20, 1 * MINUTE)
    assert timer.due(20 + MINUTE)


def test_an_expired_job_counts_as_activity_but_says_nothing() -> None:
    timer = IdleTimer(5 * MINUTE, now=0)
    timer.job_ended(10, 1 * MINUTE)
    timer.job_ended(30, None)
    assert not timer.due(30 + 0.99 * MINUTE)
    assert timer.due(30 + MINUTE)


@given(
    events=st.lists(st.tuples(st.floats(0, 600), st.none() | st.integers(1, 30)), max_size=30),
    waited=st.floats(0, 3600),
)
def test_due_is_exactly_the_last_wish_after_the_last_event(
    events: list[tuple[float, int | None]], waited: float
) -> None:
    timer, now, wish = IdleTimer(5 * MINUTE, now=0), 0.0, 5 * MINUTE
    for pause, minutes in events:
        now += pause
        wish = wish if minutes is None else minutes * MINUTE
        timer.job_ended(now, None if minutes is None else wish)
    assert timer.due(now + waited) == (now + waited - now >= wish)
