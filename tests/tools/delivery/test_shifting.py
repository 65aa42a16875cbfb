"""One deployment of the router, and what is left of it whatever fails."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_lambda import WELL, FakeLambda, KilledError
from support.releases import COMMIT, World

from tools.delivery.rollback import rolled_back
from tools.delivery.shifting import Stopped
from tools.delivery.versions import DeliveryError

pytestmark = pytest.mark.story("CI-004")


@pytest.fixture
def world() -> World:
    """With version 1 serving and version 2 deployed after it."""
    made = World()
    made.deploy(b"second")
    assert made.serving == ("2", {})
    return made


def test_the_first_deployment_makes_a_version_of_what_served(world: World) -> None:
    assert world.aws.codes == {"1": b"first", "2": b"second"}
    assert "what served until now is version 1" in world.said
    assert world.router.commit_of("2") == COMMIT


def test_it_gets_a_part_then_all_of_the_traffic(world: World) -> None:
    seen: list[Any] = []
    world.aws.fault = lambda number, operation: (
        seen.append(world.serving) if operation == "Invoke" else None
    )
    outcome = world.deploy(b"third", minutes=5)
    shapes = [shape for shape, _ in itertools.groupby(seen)]
    # Called before the shift, in the canary, and with all of the traffic, which is the alias's own
    # version's only when all is well.
    assert shapes == [("2", {}), ("2", {"3": 0.1}), ("2", {"3": 1.0})]
    assert world.serving == ("3", {})
    # For three minutes it is watched, and the probe called.
    assert seen.count(("2", {"3": 1.0})) == 3 * 12 + 1 + 1
    assert seen.count(("2", {"3": 0.1})) == 5 * 12 + 1
    assert (outcome.version, outcome.previous, outcome.failure) == ("3", "2", "")
    assert outcome.previous_commit == COMMIT
    assert outcome.trace.startswith("1-")


def test_what_serves_already_is_not_deployed_again(world: World) -> None:
    outcome = world.deploy(b"second")
    assert outcome.unchanged
    assert (outcome.version, outcome.previous) == ("2", "2")
    assert list(world.aws.versions) == ["1", "2"]


def test_settings_that_changed_come_with_a_new_version_of_the_same_code(world: World) -> None:
    world.aws.variables["TLFIF_CAP_EUR"] = "30"
    assert world.deploy(b"second").version == "3"
    assert world.aws.versions["3"]["Environment"]["Variables"]["TLFIF_CAP_EUR"] == "30"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TLFIF_BACKLOG_CAP", None, r"lacks TLFIF_BACKLOG_CAP, .*: pulumi up first"),
        ("TLFIF_GPU_COUNT", "many", r"has TLFIF_GPU_COUNT = 'many' is no int, .*pulumi up first"),
    ],
)
def test_without_the_environment_it_needs_nothing_is_changed(
    world: World, variable: str, value: str | None, message: str
) -> None:
    del world.aws.variables[variable]
    world.aws.variables |= {variable: value} if value else {}
    with pytest.raises(DeliveryError, match=message):
        world.deploy(b"third")
    assert world.aws.code == b"second"
    assert world.serving == ("2", {})


def test_a_version_that_fails_gets_no_traffic(world: World) -> None:
    world.aws.bad = {b"third"}
    moves: list[str] = []
    world.aws.fault = lambda number, operation: (
        moves.append(operation) if operation == "UpdateAlias" else None
    )
    outcome = world.deploy(b"third")
    assert outcome.failure == "version 3 is bad: it answered 500 (3 times in a row)"
    assert moves == []
    assert outcome.notes == ["version 2 alone serves", "version 3 is deleted"]
    assert list(world.aws.versions) == ["1", "2"]
    # The same commit again is another version, and is judged again.
    world.aws.bad = set()
    assert world.deploy(b"third").version == "4"
    assert world.serving == ("4", {})


@pytest.mark.parametrize("look", [1, 3, 6, 8, 44])
def test_an_alarm_takes_the_traffic_back(world: World, look: int) -> None:
    """In the canary, and when all of the traffic was shifted."""
    world.alarms.looks = 0
    world.alarms.rings = lambda number: {"api-errors"} if number >= look else set()
    outcome = world.deploy(b"third")
    assert outcome.failure == "api-errors rings"
    assert outcome.notes == ["version 2 alone serves", "version 3 is deleted"]
    assert world.serving == ("2", {})


def test_an_alarm_that_rang_before_is_named_and_counts_once_it_was_calm(world: World) -> None:
    world.alarms.looks = 0
    world.alarms.rings = lambda number: {"router-errors"}
    outcome = world.deploy(b"third")
    assert "router-errors rings already, and does not count" in outcome.notes
    assert world.serving == ("3", {})
    world.alarms.looks = 0
    world.alarms.rings = lambda number: set() if number in (2, 3) else {"router-errors"}
    assert world.deploy(b"fourth").failure == "router-errors rings"
    assert world.serving == ("3", {})


def test_without_its_alarms_there_is_no_canary(world: World) -> None:
    world.alarms.names.remove("api-errors")
    outcome = world.deploy(b"third")
    assert outcome.failure == "there is no alarm api-errors to end a canary: pulumi up first"
    assert world.serving == ("2", {})


def test_the_integration_test_decides_in_the_end(world: World) -> None:
    world.aws.probe = {"ping": True, "queue-health": False}
    outcome = world.deploy(b"third")
    assert outcome.failure == (
        'the integration test fails: the probe answered {"ping": true, "queue-health": false}'
    )
    assert world.serving == ("2", {})


def test_of_two_deployments_at_once_one_is_told(world: World) -> None:
    def other(aws: FakeLambda) -> None:
        aws.fault = lambda number, operation: None
        assert world.deploy(b"other").failure == ""

    at = iter(range(1000))
    world.aws.fault = lambda number, operation: (
        other if operation == "GetAlias" and next(at) == 3 else None
    )
    outcome = world.deploy(b"third")
    assert outcome.failure == "somebody else moved the alias: it names version 4"
    assert world.serving == ("4", {})


def test_code_that_another_deployment_brought_is_not_published_as_this_commits(
    world: World,
) -> None:
    def other(aws: FakeLambda) -> None:
        aws.code = b"other"

    world.aws.fault = lambda number, operation: other if operation == "PublishVersion" else None
    with pytest.raises(DeliveryError, match="somebody else changed the code"):
        world.deploy(b"third")
    assert list(world.aws.versions) == ["1", "2"]


def test_versions_of_two_roles_are_not_shared_by_an_alias(world: World) -> None:
    """Lambda refuses it: all of the traffic is shifted at once, and taken back as ever."""
    world.aws.role = "another"
    moves: list[Any] = []
    world.aws.fault = lambda number, operation: moves.append(world.serving)
    world.alarms.looks = 0
    world.alarms.rings = lambda look: {"api-errors"} if look > 5 else set()
    outcome = world.deploy(b"third")
    assert (outcome.failure, world.serving) == ("api-errors rings", ("2", {}))
    world.alarms.rings = lambda look: set()
    outcome = world.deploy(b"third")
    assert (outcome.failure, world.serving) == ("", ("4", {}))
    assert any("has another execution role than version 2" in note for note in outcome.notes)
    assert {weight for _, weights in moves for weight in weights} == set()
    # From then on it is a shift as any other.
    world.aws.fault = lambda number, operation: moves.append(world.serving)
    world.deploy(b"fourth")
    assert ("4", {"5": 0.1}) in moves


def test_what_nobody_called_for_weeks_is_woken_before_it_shares_the_traffic(world: World) -> None:
    states: list[Any] = []
    world.aws.states = {"2": "Inactive", "3": "Inactive"}
    world.aws.fault = lambda number, operation: (
        states.append(dict(world.aws.states)) if operation == "UpdateAlias" else None
    )
    assert world.deploy(b"third").failure == ""
    assert states == [{}, {}, {}], "a shift, all of it, and for good"


def test_one_that_lambda_cannot_run_gets_no_traffic_but_may_be_replaced(world: World) -> None:
    world.aws.states = {"3": "Failed"}
    outcome = world.deploy(b"third")
    assert outcome.failure == "Lambda cannot run version 3 of router: no reason"
    assert (world.serving, list(world.aws.versions)) == (("2", {}), ["1", "2"])
    world.aws.states = {"2": "Failed"}
    outcome = world.deploy(b"third")
    assert (outcome.failure, world.serving) == ("", ("4", {}))
    assert any("Lambda cannot run version 2" in note for note in outcome.notes)


def test_killed_while_all_of_the_traffic_is_watched_it_is_not_taken_for_good(
    world: World,
) -> None:
    world.aws.fault = lambda number, operation: (
        "kill" if operation == "Invoke" and world.serving[1] == {"3": 1.0} else None
    )
    with pytest.raises(KilledError):
        world.deploy(b"third")
    world.aws.dead, world.aws.fault = False, lambda number, operation: None
    outcome = world.deploy(b"third")
    assert (outcome.previous, outcome.version, outcome.unchanged) == ("2", "4", False)
    assert outcome.notes[:2] == [
        "a deployment was never finished (version 2, 100% of it version 3): version 2 alone serves",
        "version 3 is deleted",
    ]


def test_stopped_when_it_is_decided_it_ends_well(world: World) -> None:
    _stop_once(world)
    world.aws.fault = lambda number, operation: "stop" if operation == "list_aliases" else None
    outcome = world.deploy(b"third")
    assert (outcome.failure, world.serving) == ("", ("3", {}))


def test_what_failed_keeps_no_place_of_the_version_to_return_to(world: World) -> None:
    for number in range(6):
        world.alarms.looks = 0
        world.alarms.rings = lambda look: {"api-errors"} if look >= 2 else set()
        assert world.deploy(b"bad %d" % number).failure
    world.alarms.rings = lambda look: set()
    outcome = world.deploy(b"third")
    assert list(world.aws.versions) == ["1", "2", outcome.version]
    rolled_back(world.router, None, bad=outcome.version)
    assert world.serving == (outcome.previous, {}) == ("2", {})


def test_pruning_leaves_the_version_to_return_to(world: World) -> None:
    """However many there are between it and the one that serves: of dead deployments."""
    for number in range(6):
        world.aws.fault = lambda number, operation: (
            "killed after" if operation == "Invoke" else None
        )
        with pytest.raises(KilledError):
            world.deploy(b"killed %d" % number)
        world.aws.dead = False
    world.aws.fault = lambda number, operation: None
    outcome = world.deploy(b"third")
    assert (outcome.previous, outcome.notes[-1]) == ("2", "deleted: version 1, 3")
    assert list(world.aws.versions) == ["2", "4", "5", "6", "7", "8", "9"]


# --- whatever fails, and whenever

FAULTS = ("error", "lost", "kill", "killed after", "stop")


def _at(fault: str, number: int) -> Callable[[int, str], str | None]:
    first: list[int] = []

    def strike(call: int, operation: str) -> str | None:
        first[:1] = first[:1] or [call]
        return fault if call - first[0] == number else None

    return strike


def _stop_once(world: World) -> None:
    """As the handler does: it raises once, and later signals are ignored."""
    raised: list[bool] = []

    def stop() -> None:
        if not raised and not world.decided:
            raised.append(True)
            raise Stopped("stopped by SIGTERM")

    world.aws.stop = stop


def _check(world: World) -> None:
    known = {*world.aws.versions, "$LATEST"}
    assert world.aws.named() <= known, "the alias names versions that are there"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b", b"c", b"bad"]),
            st.sampled_from([*FAULTS, "none", "alarm", "probe"]),
            st.integers(0, 150),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_fails_the_next_deployment_settles_it(
    runs: list[tuple[bytes, str, int]],
) -> None:
    world = World()
    world.aws.bad = {b"bad"}
    for code, fault, number in runs:
        served, left = world.serving
        world.aws.probed = 0
        _stop_once(world)
        world.aws.fault = _at(fault, number)
        world.aws.probe = {"ping": False} if fault == "probe" else dict(WELL)
        world.alarms.looks = 0
        world.alarms.rings = lambda look, on=fault == "alarm", at=number: (
            {"api-errors"} if on and look >= 1 + at % 44 else set()
        )
        try:
            outcome = world.deploy(code)
        except KilledError:
            world.aws.dead = False
            # Another serves alone only when it has passed everything.
            if world.serving[0] != served and served != "$LATEST":
                assert (world.aws.probed, world.serving[1]) == (1, {})
        except (DeliveryError, BotoCoreError, ClientError, Stopped):
            # It ended before it had settled what one that was killed had left, or after.
            assert world.serving[1] in ({}, left), "nothing was shifted yet"
        else:
            assert world.serving[1] == {}, "what ended by itself is settled"
            if outcome.failure and served != "$LATEST":
                assert world.serving[0] == served, "the old version alone serves"
            if outcome.failure:
                assert outcome.version not in world.aws.versions, "nobody rolls back to it"
            assert outcome.previous in world.aws.versions, "the smoke test may return to it"
            if not outcome.failure:
                assert world.serving[0] == outcome.version
        _check(world)
    world.aws.fault = lambda number, operation: None
    world.aws.probe = dict(WELL)
    world.alarms.rings = lambda look: set()
    outcome = world.deploy(b"last")
    assert (outcome.failure, world.serving) == ("", (outcome.version, {}))
    assert world.aws.codes[outcome.version] == b"last"
    unused = world.aws.versions.keys() - world.aws.named()
    assert len(unused - {outcome.previous}) <= 5
    _check(world)


@pytest.mark.parametrize("fault", ["kill", "killed after"])
def test_killed_at_each_call_and_rolled_back(fault: str) -> None:
    """`make rollback` settles it as well as the next deployment."""
    for number in range(200):
        world = World()
        world.deploy(b"second")
        world.aws.fault = _at(fault, number)
        try:
            world.deploy(b"third")
        except KilledError:
            world.aws.dead = False
        else:
            assert number > 90, "it makes more calls than that"
            break
        world.aws.fault = lambda number, operation: None
        _check(world)
        before = world.serving
        assert before[0] == "2" or (before == ("3", {}) and world.aws.probed == 2)
        rolled_back(world.router, None)
        assert world.serving == (before[0] if before[1] else str(int(before[0]) - 1), {})
