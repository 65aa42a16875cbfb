"""What a run says of the instant lane is believed only because it can say otherwise."""

import json

import pytest
from support.chaos.environments import Life
from support.chaos.lane_account import violations

SECOND = 1_000
NODE = "i-0a"


def lane(token: str, entered: float, ended: float, *claims: float, **more: object) -> Life:
    """A lane's life; times in s."""
    life = Life(
        begun_ms=int(entered * SECOND),
        token=token,
        entered_ms=int(entered * SECOND),
        ended_ms=int(ended * SECOND),
        claims=[(int(at * SECOND), "j") for at in claims],
        ends=[(int(at * SECOND) + 500, "j") for at in claims],
    )
    for name, value in more.items():
        setattr(life, name, value)
    return life


def phase(phase: str, at: float) -> str:
    told = {"node": NODE, "time": int(at * SECOND), "event": "phase", "phase": phase}
    return json.dumps(told)


READY = [phase("ready", 100), phase("draining", 200)]


@pytest.mark.parametrize(
    ("lives", "what"),
    [
        ([lane("one", 0, 90, 10, 80), lane("two", 40, 95, 50)], "while two was the lane"),
        ([lane("one", 90, 104, 110)], "while a node was ready"),
        ([lane("one", 90, 120, 95)], "stayed 20000 ms beside a node"),
        ([lane("one", 0, 20, over="Sandbox.Timedout")], "ended by Sandbox.Timedout"),
        ([lane("one", 0, 20, over="TypeError")], "ended by TypeError"),
    ],
)
def test_it_sees_what_no_lane_may_do(lives: list[Life], what: str) -> None:
    found = list(violations(lives, READY, outages=[]))
    assert found
    assert all(what in each for each in found), found


@pytest.mark.parametrize(
    ("lives", "outages"),
    [
        # One after the other; and the first hears from the queue that it is no more.
        ([lane("one", 0, 30, 10), lane("two", 31, 90, 40)], []),
        ([lane("one", 0, 41, 39), lane("two", 40, 90, 50)], []),
        # The queue forgot who was the lane, and who was ready.
        ([lane("one", 0, 45, 43), lane("two", 41, 90)], [40 * SECOND]),
        ([lane("one", 90, 104.5, 103)], [102 * SECOND]),
        # Where a node comes, what runs may end.
        ([lane("one", 90, 105, 99, 100.5)], []),
        ([lane("one", 90, 130, 95, struck=["freeze lane"])], []),
        ([lane("one", 0, 20, over="Sandbox.Timedout", limit_s=3.0)], []),
        ([lane("one", 0, 20, over="LaneInterrupted")], []),
    ],
)
def test_it_says_nothing_of_what_may_happen(lives: list[Life], outages: list[int]) -> None:
    assert list(violations(lives, READY, outages)) == []
