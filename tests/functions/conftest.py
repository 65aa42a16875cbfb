"""A node for the tests that wake one, a container of the instant lane, and a hub with a bucket for
those that fetch weights.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
import pytest_asyncio
from support import world as worlds
from support.calls import ClientOf
from support.lanes import Site, environment, make_site
from support.model_stack import ModelStack
from support.model_stack import model_stack as make_model_stack
from support.scripted_model import scripted_model
from support.watchers import BUCKET, Bench
from support.world import World

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.valkey import Valkey
from tlfif.queue import scripts
from worker import consumer


@pytest.fixture
def node(world: World) -> str:
    return world.add_node()


@pytest_asyncio.fixture
async def site(
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    """A container of the instant lane in this process, before a scripted engine."""
    monkeypatch.setattr(consumer, "BLOCK_MS", 100)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", worlds.session())
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with contextlib.closing(scripts.connect("127.0.0.1", valkey.port)) as client:
        async with scripted_model() as model:
            yield make_site(Bench(client, s3, endpoint, client_of, model, valkey), tmp_path)


@pytest.fixture
def model_stack(
    endpoint: Endpoint, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelStack]:
    with make_model_stack(endpoint, moto, monkeypatch) as made:
        yield made
