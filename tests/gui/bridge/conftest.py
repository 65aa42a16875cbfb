"""The bridge, and the stack that it stands before."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.bridges import Running, bridging
from support.scripted_stack import ScriptedStack


@pytest.fixture
def stack() -> ScriptedStack:
    return ScriptedStack()


@pytest_asyncio.fixture
async def running(stack: ScriptedStack) -> AsyncIterator[Running]:
    async with bridging(stack) as running:
        yield running
