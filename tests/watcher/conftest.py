"""What the watcher's tests stand on."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.calls import ClientOf
from support.scripted_model import scripted_model
from support.watchers import BUCKET, Bench, Machine

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.valkey import Valkey
from tlfif.queue import scripts
from worker import consumer


@pytest_asyncio.fixture
async def bench(
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(consumer, "BLOCK_MS", 100)
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with contextlib.closing(scripts.connect("127.0.0.1", valkey.port)) as client:
        async with scripted_model() as model:
            yield Bench(client, s3, endpoint, client_of, model, valkey)


@pytest.fixture
def node_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)
