"""What the function that fetches weights works with: a hub that can fail, and a real bucket."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from support.model_hubs import ModelHub
from support.world import BUCKET, MODEL_ROLE, PERFORMED, REGION, session

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from model_fetch import bucket as buckets
from model_fetch import fetch
from model_fetch import hub as hubs
from model_fetch.handler import handler
from tlfif import names

PART = 5 << 20  # S3's smallest
CONTENT = b"GGUF" + random.Random(7).randbytes(2 * PART + 12_345)
FIX = "make model STACK=dev FILE=<the file>"


class ModelStack:
    """A bucket, a hub, and the function between them."""

    def __init__(self, endpoint: Endpoint, moto: Moto, hub: ModelHub) -> None:
        self.endpoint, self.hub = endpoint, hub
        self.s3: Any = moto.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.left_ms = 900_000.0

    async def run(self) -> dict[str, Any]:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: self.left_ms)
        answer = await asyncio.to_thread(handler, {"caller": "test"}, context)
        assert answer.keys() == {"ok", "message"}
        assert "\n" not in answer["message"]
        return answer

    async def refused(self, *parts: str) -> str:
        """Runs it, which must not bring the weights and say all of `parts`."""
        answer = await self.run()
        assert answer["ok"] is False
        for part in parts:
            assert part in answer["message"]
        assert names.model_key(self.hub.sha256) not in self.listed()
        return answer["message"]

    def listed(self) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())
        return [each["Key"] for each in found]

    def uploads(self) -> list[str]:
        return [
            each["Key"] for each in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
        ]

    def _content(self, key: str) -> bytes:
        """As it is kept. boto3 would check it: moto gives a copy the checksum of its source's
        parts, where S3 makes one of the whole.
        """
        where = {"Bucket": BUCKET, "Key": key}
        url = self.s3.generate_presigned_url("get_object", where)
        return httpx.get(url).raise_for_status().content

    def assert_whole(self, sha256: str = "") -> None:
        """The weights are there, whole, and nothing else is."""
        key = names.model_key(sha256 or self.hub.sha256)
        assert self.listed() == [key]
        assert self._content(key) == self.hub.content
        assert self.uploads() == []

    def assert_is_there(self) -> None:
        """The weights are there, whole; another run may have left an upload, which S3 ends."""
        key = names.model_key(self.hub.sha256)
        assert self._content(key) == self.hub.content

    def empty(self) -> None:
        """Takes everything away."""
        for key in self.listed():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        for each in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
            self.s3.abort_multipart_upload(
                Bucket=BUCKET, Key=each["Key"], UploadId=each["UploadId"]
            )

    def put_whole(self) -> None:
        """What another run does that is done."""
        self.empty()
        key = names.model_key(self.hub.sha256)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=self.hub.content)

    def assert_nothing(self) -> None:
        assert (self.listed(), self.uploads()) == ([], [])

    def environment(self) -> dict[str, str]:
        """What the function is told, and what Lambda adds."""
        key, secret = self.endpoint.credentials_for(MODEL_ROLE)
        return {
            "TLFIF_STACK": "dev",
            "TLFIF_REPLIES_BUCKET": BUCKET,
            "TLFIF_MODEL_URL": self.hub.url,
            "TLFIF_MODEL_KEY": names.model_key(self.hub.sha256),
            "TLFIF_MODEL_SHA256": self.hub.sha256,
            "AWS_ENDPOINT_URL": self.endpoint.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }


@contextmanager
def model_stack(
    endpoint: Endpoint, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelStack]:
    """A hub, an empty bucket, and the function told about them; its parts are S3's smallest and its
    pauses short.
    """
    hub = ModelHub(CONTENT)
    made = ModelStack(endpoint, moto, hub)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    # boto3's own session keeps the credentials of the test before.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session())
    for module in (buckets, fetch):
        monkeypatch.setattr(module, "PART_BYTES", PART)
    monkeypatch.setattr(hubs, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(buckets, "PROPAGATION_S", 0.2)
    monkeypatch.setattr(buckets, "PAUSE_S", 0.05)
    yield made
    hub.close()
    PERFORMED.extend(endpoint.calls)
