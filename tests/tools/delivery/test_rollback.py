"""Which version serves again, and what is asked of it first."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.fake_lambda import FakeLambda, refusal
from support.releases import COMMIT, World

from tools.delivery.rollback import rolled_back
from tools.delivery.versions import DeliveryError

pytestmark = pytest.mark.story("CI-004")


@pytest.fixture
def world() -> World:
    """With versions 1, 2 and 3, which serves."""
    made = World()
    made.deploy(b"second")
    made.deploy(b"third")
    assert made.serving == ("3", {})
    return made


def test_ten_deployments_leave_five_versions_and_those_in_use() -> None:
    world = World()
    for number in range(10):
        world.deploy(b"code %d" % number)
    # The first made a version of what had served.
    assert world.serving == ("11", {})
    assert list(world.aws.versions) == ["6", "7", "8", "9", "10", "11"]
    # One that is rolled back to is in use, however old it gets.
    assert rolled_back(world.router, "6").startswith(f"version 6 (commit {COMMIT}) serves all")
    world.router.prune(())
    assert list(world.aws.versions) == ["6", "7", "8", "9", "10", "11"]
    outcome = world.deploy(b"code 99")
    # It is what the next one returns to, beside the newest five.
    assert list(world.aws.versions) == ["6", "7", "8", "9", "10", "11", "12"]
    assert (outcome.previous, world.deploy(b"code 100").notes[-1]) == ("6", "deleted: version 6, 7")
    assert list(world.aws.versions) == ["8", "9", "10", "11", "12", "13"]


def test_rolled_back_and_back_again(world: World) -> None:
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
        assert world.serving == ("3", {"4": 0.1})
        rolled_back(world.router, None)

    at = iter(range(100))
    world.aws.fault = lambda number, operation: (
        intrude if operation == "GetAlias" and next(at) == 3 else None
    )
    outcome = world.deploy(b"fourth")
    assert outcome.failure == "somebody else moved the alias: it names version 3"
    assert world.serving == ("3", {})


def test_from_a_version_that_proved_bad(world: World) -> None:
    """It is deleted, so that no rollback comes to it and none of the five is it."""
    said = rolled_back(world.router, "2", bad="3")
    assert said.endswith("serves all of the traffic, before: version 3; version 3 is deleted")
    assert (world.serving, list(world.aws.versions)) == (("2", {}), ["1", "2"])
    # Once it is gone there is nothing to do: somebody was here before.
    for _ in range(2):
        said = rolled_back(world.router, "1", bad="3")
        assert said == "nothing is rolled back: the alias does not name version 3, but version 2"
    assert world.serving == ("2", {})
    for arguments, message in ((("2", "2"), "another version than VERSION"), (("1", "x"), "FROM")):
        with pytest.raises(DeliveryError, match=message):
            rolled_back(world.router, arguments[0], bad=arguments[1])


@pytest.mark.parametrize(
    ("bad", "serving", "left"),
    [
        # Only the shift to it is taken back, whatever version is named.
        ("3", ("2", {}), ["1", "2"]),
        # What another is being shifted to from goes with the shift.
        ("2", ("1", {}), ["1", "3"]),
        ("9", ("2", {"3": 0.1}), ["1", "2", "3"]),
    ],
)
def test_from_one_that_has_a_part(
    world: World, bad: str, serving: tuple[str, dict[str, float]], left: list[str]
) -> None:
    world.aws.move("2", {"AdditionalVersionWeights": {"3": 0.1}})
    rolled_back(world.router, "1", bad=bad)
    assert (world.serving, list(world.aws.versions)) == (serving, left)


def test_one_that_does_not_answer_is_refused_unless_it_is_forced(world: World) -> None:
    world.aws.bad = {b"second"}
    refused = r"version 2 is bad: it answered 500 \(3 times in a row\); the alias was not moved"
    for version in ("2", None):
        with pytest.raises(DeliveryError, match=refused):
            rolled_back(world.router, version)
    assert world.serving == ("3", {})
    rolled_back(world.router, "2", forced=True)
    assert world.serving == ("2", {})
    # A shift is taken back whatever its old version answers: it serves already.
    world.aws.move("2", {"AdditionalVersionWeights": {"3": 0.1}})
    rolled_back(world.router, None)
    assert world.serving == ("2", {})


def test_one_that_sleeps_is_woken_and_one_that_cannot_run_is_refused(world: World) -> None:
    called: list[Any] = []
    world.aws.states = {"2": "Inactive"}
    world.aws.fault = lambda number, operation: called.append((operation, dict(world.aws.states)))
    rolled_back(world.router, "2")
    assert ("UpdateAlias", {}) in called
    world.aws.states = {"1": "Failed"}
    with pytest.raises(DeliveryError, match="Lambda cannot run version 1 of router: no reason"):
        rolled_back(world.router, "1")
    assert world.serving == ("2", {})


def test_who_may_not_list_versions_is_told_of_a_missing_one_all_the_same(world: World) -> None:
    """The smoke test's role."""

    def denied(aws: FakeLambda) -> None:
        raise refusal("AccessDeniedException", ClientError)

    world.aws.fault = lambda number, operation: (
        denied if operation == "list_versions_by_function" else None
    )
    with pytest.raises(DeliveryError, match=r"^the function router has no version 7$"):
        rolled_back(world.router, "7")


def test_a_bad_version_that_cannot_be_deleted_is_told_of(world: World) -> None:
    world.aws.fault = lambda number, operation: "error" if operation == "DeleteFunction" else None
    said = rolled_back(world.router, "2", bad="3")
    assert "; version 3 could not be deleted: Could not connect" in said
    assert world.serving == ("2", {})
    with pytest.raises(ValueError, match=r"\$LATEST"):
        world.router.discard("$LATEST")
