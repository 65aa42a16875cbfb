"""One deployment of the router, and what is left of it whatever fails."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_lambda import (
    PROBE_ARN,
    ROUTER_ARN,
    WELL,
    FakeAlarms,
    FakeLambda,
    KilledError,
)

from tlfif import environment
from tools.delivery.rollback import rolled_back
from tools.delivery.shifting import Deployment, Outcome, Pace, Plan, Stopped
from tools.delivery.versions import DeliveryError, Router

pytestmark = pytest.mark.story("CI-004")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VARIABLES = environment.Router.variables(
    redis_host="queue",
    redis_port=6379,
    stack="dev",
    replies_bucket="replies",
    gpu_count=1,
    gpu_slots=4,
    user_pool_id="us-east-1_pool",
    client_id="client",
    backlog_cap=100,
    idle_minutes=5,
    cap_eur=20.0,
)
ALARMS = ["router-errors", "api-errors"]


class Clock:
    """Time passes when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        return self.time


@dataclass
class World:
    """A deployed router; `deploy` is one run of the command."""

    aws: FakeLambda = field(default_factory=lambda: FakeLambda(dict(VARIABLES)))
    alarms: FakeAlarms = field(default_factory=lambda: FakeAlarms(list(ALARMS)))
    said: list[str] = field(default_factory=list)

    @property
    def router(self) -> Router:
        return Router(self.aws, ROUTER_ARN, lambda seconds: None)

    def deploy(self, code: bytes, minutes: float = 0.5) -> Outcome:
        plan = Plan(percent=10, minutes=minutes, alarms=ALARMS, probe_arn=PROBE_ARN)
        clock = Clock()
        pace = Pace(60, clock.sleep, clock.now)
        deployment = Deployment(self.router, self.aws, self.alarms, plan, pace, self.said.append)
        return deployment.run(code, f"{COMMIT} a subject")

    @property
    def serving(self) -> tuple[str, dict[str, float]]:
        return self.aws.alias["FunctionVersion"], dict(self.aws.weights())


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
    # Called before the shift, in the canary, and with all of the traffic.
    assert shapes == [("2", {}), ("2", {"3": 0.1}), ("3", {})]
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
    # The same commit again is the same version, and is judged again.
    world.aws.bad = set()
    assert world.deploy(b"third").version == "3"
    assert world.serving == ("3", {})


@pytest.mark.parametrize("look", [1, 3, 6, 8])
def test_an_alarm_takes_the_traffic_back(world: World, look: int) -> None:
    """In the canary, and when all of the traffic was shifted."""
    world.alarms.looks = 0
    world.alarms.rings = lambda number: {"api-errors"} if number >= look else set()
    outcome = world.deploy(b"third")
    assert outcome.failure == "api-errors rings"
    assert "version 2 alone serves" in outcome.notes
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


def test_ten_deployments_leave_five_versions_and_those_in_use() -> None:
    world = World()
    for number in range(10):
        world.deploy(b"code %d" % number)
    # The first made a version of what had served.
    assert world.serving == ("11", {})
    assert list(world.aws.versions) == ["6", "7", "8", "9", "10", "11"]
    # One that is rolled back to is in use, however old it gets.
    assert rolled_back(world.router, "6").startswith(f"version 6 (commit {COMMIT}) serves all")
    world.router.prune()
    assert list(world.aws.versions) == ["6", "7", "8", "9", "10", "11"]
    outcome = world.deploy(b"code 99")
    assert outcome.notes[-1] == "deleted: version 6"
    assert list(world.aws.versions) == ["7", "8", "9", "10", "11", "12"]


def test_rolled_back_and_back_again(world: World) -> None:
    world.deploy(b"third")
    assert "version 2 (commit" in rolled_back(world.router, None)
    assert (
        rolled_back(world.router, None) == "version 1 serves all of the traffic, before: version 2"
    )
    with pytest.raises(DeliveryError, match="below 1, which serves; there are: 1, 2, 3"):
        rolled_back(world.router, None)
    with pytest.raises(DeliveryError, match="has no version 7; there are: 1, 2, 3"):
        rolled_back(world.router, "7")
    with pytest.raises(DeliveryError, match="VERSION = new: it is the number of a published"):
        rolled_back(world.router, "new")
    rolled_back(world.router, "3")
    assert rolled_back(world.router, "3") == "version 3 serves already"
    # What was rolled back is deployed again by its commit, as the version that it is.
    rolled_back(world.router, "2")
    assert world.deploy(b"third").version == "3"


def test_a_rollback_in_a_canary_takes_the_shift_back(world: World) -> None:
    def intrude(aws: FakeLambda) -> None:
        aws.fault = lambda number, operation: None
        assert world.serving == ("2", {"3": 0.1})
        rolled_back(world.router, None)

    at = iter(range(100))
    world.aws.fault = lambda number, operation: (
        intrude if operation == "GetAlias" and next(at) == 3 else None
    )
    outcome = world.deploy(b"third")
    assert outcome.failure == "somebody else moved the alias: it names version 2"
    assert world.serving == ("2", {})


def test_of_two_deployments_at_once_one_is_told(world: World) -> None:
    def other(aws: FakeLambda) -> None:
        aws.fault = lambda number, operation: None
        assert world.deploy(b"other").failure == ""

    at = iter(range(100))
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
        if not raised:
            raised.append(True)
            raise Stopped("stopped by SIGTERM")

    world.aws.stop = stop


def _check(world: World) -> None:
    known = {*world.aws.versions, "$LATEST"}
    assert world.aws.named() <= known, "the alias names versions that are there"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b", b"c", b"bad"]),
            st.sampled_from([*FAULTS, "none", "alarm", "probe"]),
            st.integers(0, 70),
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
        _stop_once(world)
        world.aws.fault = _at(fault, number)
        world.aws.probe = {"ping": False} if fault == "probe" else dict(WELL)
        world.alarms.looks = 0
        world.alarms.rings = lambda look, on=fault == "alarm", at=number: (
            {"api-errors"} if on and look >= 1 + at % 10 else set()
        )
        try:
            outcome = world.deploy(code)
        except KilledError:
            world.aws.dead = False
        except (DeliveryError, BotoCoreError, ClientError, Stopped):
            # It ended before it had settled what one that was killed had left, or after.
            assert world.serving[1] in ({}, left), "nothing was shifted yet"
        else:
            assert world.serving[1] == {}, "what ended by itself is settled"
            if outcome.failure and served != "$LATEST":
                assert world.serving[0] == served, "the old version alone serves"
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
    assert len(unused) <= 5
    _check(world)


@pytest.mark.parametrize("fault", ["kill", "killed after"])
def test_killed_at_each_call_and_rolled_back(fault: str) -> None:
    """`make rollback` settles it as well as the next deployment."""
    for number in range(60):
        world = World()
        world.deploy(b"second")
        world.aws.fault = _at(fault, number)
        try:
            world.deploy(b"third")
        except KilledError:
            world.aws.dead = False
        else:
            assert number > 20, "it makes more calls than that"
            break
        world.aws.fault = lambda number, operation: None
        _check(world)
        before = world.serving
        rolled_back(world.router, None)
        assert world.serving == (before[0] if before[1] else str(int(before[0]) - 1), {})
