"""S3 through the endpoint: bodies and headers unchanged, conditional writes as S3 answers them."""

import asyncio
import io
from collections import Counter
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from support.calls import REGION, ClientOf, call, code

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.ports import listen
from local.machine.serving import serving

pytestmark = pytest.mark.integration


async def test_hands_bodies_and_headers_on_unchanged(
    endpoint: Endpoint, client_of: ClientOf, s3: Any
) -> None:
    key = "a b/ü+%.json"
    put = await call(
        s3.put_object,
        Bucket="replies",
        Key=key,
        Body=b"\x00\xff" * 3000,
        ContentType="application/x-y",
    )
    got = await call(s3.get_object, Bucket="replies", Key=key)
    head = await call(s3.head_object, Bucket="replies", Key=key)

    assert (await asyncio.to_thread(got["Body"].read)) == b"\x00\xff" * 3000
    assert put["ETag"] == got["ETag"] == head["ETag"]
    assert (head["ContentLength"], head["ContentType"]) == (6000, "application/x-y")
    part = await call(s3.get_object, Bucket="replies", Key=key, Range="bytes=1-2")
    assert (await asyncio.to_thread(part["Body"].read)) == b"\xff\x00"
    with pytest.raises(ClientError) as error:
        await call(s3.get_object, Bucket="replies", Key=key, IfNoneMatch=put["ETag"])
    assert code(error) == (304, "304")


async def test_takes_bodies_of_unknown_length_and_expectations(s3: Any) -> None:
    class Stream(io.RawIOBase):
        """Cannot be measured, so boto3 sends it aws-chunked with a trailing checksum."""

        def __init__(self) -> None:
            self._rest = b"x" * 200_000

        def read(self, size: int | None = -1) -> bytes:
            taken = len(self._rest) if size is None or size < 0 else size
            part, self._rest = self._rest[:taken], self._rest[taken:]
            return part

        def readable(self) -> bool:
            return True

    await call(s3.upload_fileobj, Fileobj=Stream(), Bucket="replies", Key="stream")
    await call(s3.put_object, Bucket="replies", Key="expect", Body=b"y" * 2_000_000)

    listed = await call(s3.list_objects_v2, Bucket="replies")
    assert {each["Key"]: each["Size"] for each in listed["Contents"]} == {
        "stream": 200_000,
        "expect": 2_000_000,
    }


async def test_presigned_addresses_work(endpoint: Endpoint, s3: Any) -> None:
    await call(s3.put_object, Bucket="replies", Key="a", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": "replies", "Key": "a"})

    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url)).content == b"x"


async def test_half_a_request_writes_nothing(endpoint: Endpoint, s3: Any) -> None:
    """Whoever is killed while he writes leaves what was there before."""
    params = {"Bucket": "replies", "Key": "half"}
    await call(s3.put_object, **params, Body=b"before")
    url = httpx.URL(await call(s3.generate_presigned_url, ClientMethod="put_object", Params=params))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = b"PUT %s HTTP/1.1\r\nhost: s3\r\ncontent-length: 100\r\n\r\n" % url.raw_path
    writer.write(head + b"af")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    assert await reader.read() == b""
    await asyncio.sleep(0.1)
    got = await call(s3.get_object, **params)
    assert await asyncio.to_thread(got["Body"].read) == b"before"


async def test_conditional_writes_answer_as_s3_does(s3: Any) -> None:
    async def write(key: str, **condition: str) -> tuple[int, str]:
        try:
            await call(s3.put_object, Bucket="replies", Key=key, Body=b"x", **condition)
        except ClientError as error:
            answer: Any = error.response
            return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]
        return 200, ""

    etag = (await call(s3.put_object, Bucket="replies", Key="a", Body=b"first", IfNoneMatch="*"))[
        "ETag"
    ]
    assert await write("a", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert await write("a", IfMatch=etag) == (200, "")
    assert await write("a", IfMatch=etag) == (412, "PreconditionFailed")
    assert await write("missing", IfMatch=etag) == (404, "NoSuchKey")


@pytest.mark.parametrize("condition", ["none-match", "match"])
async def test_of_racing_conditional_writes_one_wins(s3: Any, condition: str) -> None:
    for round_ in range(5):
        key = f"{round_}"
        wanted = {"IfNoneMatch": "*"}
        if condition == "match":
            wanted = {
                "IfMatch": (await call(s3.put_object, Bucket="replies", Key=key, Body=b"first"))[
                    "ETag"
                ]
            }
        writes = [
            call(s3.put_object, Bucket="replies", Key=key, Body=b"%d" % n, **wanted)
            for n in range(8)
        ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(not isinstance(outcome, ClientError) for outcome in outcomes) == 1


async def test_writes_of_one_object_reach_moto_one_at_a_time(client_of: ClientOf) -> None:
    """moto checks a condition and then writes: the race is too rare to see there, so this looks at
    the order.
    """
    inside, most, overall = Counter[str](), Counter[str](), 0
    both = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal overall
        path = scope["path"]
        inside[path] += 1
        most[path], overall = max(most[path], inside[path]), max(overall, inside.total())
        if inside.total() == 2:
            both.set()
        async with asyncio.timeout(10):
            await both.wait()
        # Time for a third to come in, were it let.
        await asyncio.sleep(0.03)
        inside[path] -= 1
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})

    async with serving(slow, listen(0, "a slow S3")) as url, Endpoint(Moto(url, REGION)) as alone:
        s3 = client_of("s3", alone.operator, url=alone.url)
        keys = ["a", "a", "a", "b", "b"]
        await asyncio.gather(
            *(call(s3.put_object, Bucket="replies", Key=key, Body=b"x") for key in keys)
        )

    assert most == {"/replies/a": 1, "/replies/b": 1}
    assert overall == 2, "different objects do not wait for each other"
