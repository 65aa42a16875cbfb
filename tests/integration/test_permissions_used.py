"""After all other tests: every AWS call that a role made in the cloud was granted to it, and nothing more is."""

from pathlib import Path

import pytest

from local.cloud import LocalCloud
from local.permissions import Verdict, grants, judge

# Granted, and used by no test: action of a policy's statement to the reason.
NOT_REACHED: dict[str, str] = {}


@pytest.fixture(scope="module")
def verdict(cloud: LocalCloud) -> Verdict:
    return judge(grants(cloud.recording), cloud.forwarder.calls)


@pytest.fixture
def everything_ran(request: pytest.FixtureRequest) -> None:
    """Skips where only some of the integration tests were asked for: then much is not used, rightly."""
    config = request.config
    chosen = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("lf", default=False)
    ran = {item.path for item in request.session.items}
    if chosen or not set(Path(__file__).parent.glob("test_*.py")) <= ran:
        pytest.skip("only with all the integration tests in the same run: without them much is granted and not used")


@pytest.mark.story("OPS-003")
def test_no_role_made_a_call_that_its_policy_does_not_grant(verdict: Verdict) -> None:
    assert verdict.refused == []


@pytest.mark.story("OPS-003")
@pytest.mark.usefixtures("everything_ran")
def test_no_role_is_granted_an_action_that_nothing_used(verdict: Verdict) -> None:
    assert [text for text in verdict.unused if text not in NOT_REACHED] == []
    assert NOT_REACHED.keys() <= set(verdict.unused), "used after all: take it off the list"
