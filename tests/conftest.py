"""Servers for the tests, and their order: one moto for all, emptied before each test, and what stands
before it.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from support.calls import REGION, ClientOf
from support.world import UserPool, World
from support.world import world as make_world

from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.aws.principals import Credentials
from local.cloud import LocalCloud, Options
from local.machine.processes import Processes
from local.machine.valkey import Valkey, start_valkey


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Moto]:
    async with Processes(tmp_path_factory.mktemp("moto")) as procs:
        yield await start_moto(procs, REGION)


@pytest.fixture
def moto(moto_server: Moto) -> Moto:
    """An empty moto."""
    moto_server.reset()
    return moto_server


@pytest_asyncio.fixture
async def endpoint(moto: Moto) -> AsyncIterator[Endpoint]:
    """A endpoint before an empty moto; instances take a tenth of a second to start."""
    async with Endpoint(moto, delays=Delays(pending_s=0.1, stopping_s=0.1)) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    """One for all: reading the services' models is what takes boto3 long."""
    return boto3.Session(region_name=REGION)


@pytest.fixture
def client_of(endpoint: Endpoint, boto_session: boto3.Session) -> ClientOf:
    """Blocking boto3 clients through the endpoint: call them with `asyncio.to_thread`."""

    def client(
        service: str, key: Credentials | None = None, url: str = endpoint.url, **config: Any
    ) -> Any:
        access_key, secret = key or endpoint.operator
        options = Config(**{"retries": {"max_attempts": 0}, "proxies": {}, **config})
        return boto_session.client(
            service,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            endpoint_url=url,
            config=options,
        )

    return client


@pytest_asyncio.fixture
async def procs(tmp_path: Path) -> AsyncIterator[Processes]:
    async with Processes(tmp_path / "logs") as procs:
        yield procs


@pytest_asyncio.fixture
async def valkey(procs: Processes) -> Valkey:
    """A server of the test's own, up in 0.1 s."""
    return await start_valkey(procs)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cloud() -> AsyncIterator[LocalCloud]:
    """The whole system, one for all tests; a minute lasts a second, and a lost worker's lease only
    two.
    """
    options = Options(
        config={"tl-fif:gpu": {"slots": 4, "maxLifetimeHours": 24}},
        seconds_per_minute=1.0,
        delays=Delays(pending_s=0.2, stopping_s=0.2),
        watcher={"TLFIF_LEASE_RENEW_S": "0.5", "TLFIF_LEASE_IDLE_S": "2"},
    )
    async with LocalCloud(options) as cloud:
        # The replies' whole history is evidence.
        cloud.moto.client("s3").put_bucket_versioning(
            Bucket=cloud.output("replies_bucket"), VersioningConfiguration={"Status": "Enabled"}
        )
        yield cloud


@pytest.fixture(scope="session")
def pool() -> Iterator[UserPool]:
    """A user pool's keys, and the tokens they are for."""
    pool = UserPool()
    yield pool
    pool.close()


@pytest.fixture
def world(
    endpoint: Endpoint,
    moto: Moto,
    valkey: Valkey,
    pool: UserPool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """The functions in this process, with a queue, EC2 and S3 of the test's own; no node yet."""
    with make_world(endpoint, moto, valkey, pool, monkeypatch) as made:
        yield made


LAST = "test_permissions_used.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
