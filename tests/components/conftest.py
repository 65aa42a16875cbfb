"""The recordings that most tests of components/ look at, evaluated once."""

import pytest
from support.program import evaluate

from recording.model import Recording


@pytest.fixture(scope="session", params=["dev", "prod"])
def recording(request: pytest.FixtureRequest) -> Recording:
    """Each of the two stacks that people deploy."""
    return evaluate(request.param)


@pytest.fixture(scope="session")
def dev() -> Recording:
    return evaluate("dev")


@pytest.fixture(scope="session")
def literal() -> Recording:
    return evaluate("literal")
