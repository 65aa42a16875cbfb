"""Servers that the integration tests share; each test begins with an empty AWS and an empty queue."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local.aws import Moto, start_moto
from local.ec2 import Delays
from local.forwarder import Forwarder
from local.processes import Processes

REGION = "us-east-1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    async with Processes(tmp_path_factory.mktemp("logs")) as procs:
        yield procs


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto_server(processes: Processes) -> Moto:
    return await start_moto(processes, REGION)


@pytest.fixture
def moto(moto_server: Moto) -> Moto:
    moto_server.reset()
    return moto_server


@pytest_asyncio.fixture
async def forwarder(moto: Moto) -> AsyncIterator[Forwarder]:
    async with Forwarder(moto, delays=Delays(pending_s=0.1, stopping_s=0.05)) as forwarder:
        yield forwarder
