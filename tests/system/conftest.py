"""Two users of the running system, and its node in the state that a test begins with."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from support.system import state, until_state
from support.users import User, signed_in

from local.cloud import LocalCloud
from local.node.node import LocalNode


@pytest_asyncio.fixture(loop_scope="session")
async def ada(cloud: LocalCloud) -> AsyncIterator[User]:
    async with signed_in(cloud) as user:
        yield user


@pytest_asyncio.fixture(loop_scope="session")
async def bob(cloud: LocalCloud) -> AsyncIterator[User]:
    async with signed_in(cloud) as user:
        yield user


@pytest_asyncio.fixture(loop_scope="session")
async def http(cloud: LocalCloud) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cloud.api_url) as client:
        yield client


@pytest.fixture
def node(cloud: LocalCloud) -> LocalNode:
    """The stack's only one, in whatever state it is."""
    (node,) = cloud.nodes.values()
    return node


@pytest_asyncio.fixture(loop_scope="session")
async def off(cloud: LocalCloud, node: LocalNode) -> LocalNode:
    """The node, stopped."""
    async with signed_in(cloud) as user:
        if await state(cloud) != "stopped":
            await user.ask(user.client.stop)
        await until_state(cloud, "stopped")
    return node


@pytest_asyncio.fixture(loop_scope="session")
async def up(cloud: LocalCloud, node: LocalNode) -> LocalNode:
    """The node, ready, and for thirty seconds in no mood to stop."""
    if await state(cloud) == "stopping":
        await until_state(cloud, "stopped")
    async with signed_in(cloud) as user:
        assert (await user.final(await user.infer()))["status"] == "done"
    return node
