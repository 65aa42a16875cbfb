"""A node for the tests that wake one."""

import pytest
from support.world import World


@pytest.fixture
def node(world: World) -> str:
    return world.add_node()
