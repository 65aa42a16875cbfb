"""The instant lane as a whole: it enters, prepares, serves and leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
import pytest_asyncio
from support.calls import REGION, ClientOf
from support.lanes import SHA256, WEIGHTS, Site, make_site
from support.scripted_model import scripted_model
from support.watchers import BUCKET, Bench

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.valkey import Valkey
from tlfif import names
from tlfif.queue import scripts
from worker import consumer

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


@pytest_asyncio.fixture
async def site(
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    monkeypatch.setattr(consumer, "BLOCK_MS", 100)
    key, secret = endpoint.operator
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with contextlib.closing(scripts.connect("127.0.0.1", valkey.port)) as client:
        async with scripted_model() as model:
            yield make_site(Bench(client, s3, endpoint, client_of, model, valkey), tmp_path)


async def test_it_answers_what_waits_and_leaves(site: Site):
    job = site.bench.submit("tokens=5")
    assert await site.invoke() == "left"
    final = await site.bench.final(job)
    assert (final["status"], final["engine"]) == ("done", names.LANE_ENGINE)
    assert site.engine.loaded == [WEIGHTS]
    assert not site.bench.redis.exists(names.LANE)
