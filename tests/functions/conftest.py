"""A node for the tests that wake one, and a hub and a bucket for those that fetch weights."""

from collections.abc import Iterator

import pytest
from support.model_stack import ModelStack
from support.model_stack import model_stack as make_model_stack
from support.world import World

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto


@pytest.fixture
def node(world: World) -> str:
    return world.add_node()


@pytest.fixture
def model_stack(
    endpoint: Endpoint, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelStack]:
    with make_model_stack(endpoint, moto, monkeypatch) as made:
        yield made
