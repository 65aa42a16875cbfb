"""What a run says of the instant lane is believed only because it can say otherwise."""

import pytest
from support.chaos.environments import Life
from support.chaos.lane_account import Seen, violations

SECOND = 1_000


def lane(token: str, entered: float, ended: float, *claims: float, **more: object) -> Life:
    """A lane's life; times in s."""
    life = Life(
        called_ms=int(entered * SECOND),
        token=token,
        entered_ms=int(entered * SECOND),
        ended_ms=int(ended * SECOND),
        claims=[(int(at * SECOND), "j") for at in claims],
        ends=[(int(at * SECOND) + 500, "j") for at in claims],
    )
    for name, value in more.items():
        setattr(life, name, value)
    return life


def seen(ready: bool, token: str, since: float, until: float) -> list[Seen]:
    """What was so for a while, looked at ten times a second."""
    looks = range(int(since * SECOND), int(until * SECOND), 100)
    return [Seen(ms, ready, token) for ms in looks]


LANES = [*seen(False, "one", 0, 40), *seen(False, "two", 40, 100)]
NODE = [*LANES, *seen(True, "two", 100, 200)]
LATE = [each for number, each in enumerate(seen(True, "two", 300, 320)) if number % 3 == 0]


@pytest.mark.parametrize(
    ("lives", "what"),
    [
        ([lane("one", 0, 90, 10, 80)], "claimed j while two was the lane"),
        ([lane("two", 40, 112, 110)], "claimed j while a node was ready"),
        ([lane("two", 40, 120, 95)], "stayed for 5000 ms beside a node"),
        ([lane("one", 0, 10, over="Sandbox.Timedout")], "ended by Sandbox.Timedout"),
        ([lane("one", 0, 20, over="TypeError")], "ended by TypeError"),
    ],
)
def test_it_sees_what_no_lane_may_do(lives: list[Life], what: str) -> None:
    found = list(violations(lives, NODE))
    assert found
    assert all(what in each for each in found), found


@pytest.mark.parametrize(
    "lives",
    [
        # One after the other; and the first hears from the queue that it is no more.
        [lane("one", 0, 41, 10, 40.5), lane("two", 40, 90, 50)],
        # Where a node comes, what runs may end.
        [lane("two", 40, 105, 99, 100.2)],
        [lane("two", 40, 130, 95, struck=["freeze lane"])],
        [lane("one", 0, 3, over="Sandbox.Timedout", limit_s=3.0)],
        [lane("one", 0, 20, over="LaneInterrupted")],
        # Whoever counts was late.
        [lane("one", 0, 12, over="Sandbox.Timedout")],
        # Who looks was late: so may a lane have been that claims.
        [lane("late", 299, 312, 310)],
        # The queue was away: nobody looked.
        [lane("three", 250, 260, 255)],
    ],
)
def test_it_says_nothing_of_what_may_happen(lives: list[Life]) -> None:
    assert list(violations(lives, [*NODE, *LATE])) == []
