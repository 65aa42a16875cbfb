"""The endpoint before a real moto: who may call, what is recorded, what can be made to fail, S3's
and EC2's rules.
"""

import asyncio
import io
import json
import time
import urllib.request
from collections import Counter
from typing import Any

import botocore.exceptions
import httpx
import pytest
from botocore.exceptions import ClientError
from support.calls import REGION, ClientOf, call, eventually

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from local.aws.principals import Credentials
from local.lambda_.model import InvokeResult, LambdaApiError
from local.machine.ports import listen
from local.machine.serving import serving
from recording.model import ACCOUNT_ID

pytestmark = pytest.mark.integration

ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/router"


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer: Any = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


@pytest.fixture
def s3(client_of: ClientOf, moto: Moto) -> Any:
    moto.client("s3").create_bucket(Bucket="replies")
    return client_of("s3")


# --- who may call


@pytest.mark.parametrize(
    ("service", "method", "params", "refusal"),
    [
        ("sts", "get_caller_identity", {}, (403, "InvalidClientTokenId")),
        ("ec2", "describe_instances", {}, (401, "AuthFailure")),
        ("s3", "list_buckets", {}, (403, "InvalidAccessKeyId")),
        ("ssm", "get_parameter", {"Name": "x"}, (400, "UnrecognizedClientException")),
        ("lambda", "invoke", {"FunctionName": "f"}, (403, "UnrecognizedClientException")),
    ],
)
async def test_refuses_an_unknown_key_as_each_service_does(
    client_of: ClientOf, service: str, method: str, params: dict[str, str], refusal: tuple[int, str]
) -> None:
    stranger = client_of(service, Credentials("AKIASTRANGER", "secret"))

    with pytest.raises(ClientError) as error:
        await call(getattr(stranger, method), **params)

    assert code(error) == refusal


async def test_an_unsigned_read_of_a_bucket_is_denied(endpoint: Endpoint, s3: Any) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{endpoint.url}/replies/k")

    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text


def test_a_role_has_one_key_and_each_instance_its_own(endpoint: Endpoint) -> None:
    instance = f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/i-1"
    keys = [
        endpoint.credentials_for(ROLE),
        endpoint.credentials_for(ROLE, instance),
        endpoint.operator,
    ]

    assert endpoint.credentials_for(ROLE) == keys[0]
    assert len({key.access_key for key in keys}) == 3


# --- what is recorded


async def test_records_who_called_what(endpoint: Endpoint, client_of: ClientOf, s3: Any) -> None:
    as_role = client_of("s3", endpoint.credentials_for(ROLE))
    await call(as_role.put_object, Bucket="replies", Key="a", Body=b"x")
    with pytest.raises(ClientError):
        await call(s3.get_object, Bucket="replies", Key="missing")

    put, get = endpoint.calls
    assert (put.role_arn, put.action, put.status) == (ROLE, "s3:PutObject", 200)
    assert (put.params["Bucket"], put.params["Key"]) == ("replies", "a")
    assert "Body" not in put.params
    assert (get.role_arn, get.operation, get.status) == (None, "GetObject", 404)
    assert time.time() - 10 < put.time <= get.time
    assert put.duration_ms > 0


# --- S3


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

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal overall
        path = scope["path"]
        inside[path] += 1
        most[path], overall = max(most[path], inside[path]), max(overall, inside.total())
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


# --- faults


async def test_an_injected_error_is_the_services_own(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    ec2 = client_of("ec2")
    endpoint.faults.add(
        Fault(
            "ec2", "DescribeVpcs", status=500, code="InsufficientInstanceCapacity", message="none"
        )
    )

    with pytest.raises(ClientError, match="none") as error:
        await call(ec2.describe_vpcs)

    assert code(error) == (500, "InsufficientInstanceCapacity")
    assert (await call(ec2.describe_vpcs))["Vpcs"], "once is once"
    assert [each.status for each in endpoint.calls] == [500, 200]


async def test_a_fault_hits_only_its_role_service_and_operation(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    fault = Fault(
        "ec2", "DescribeVpcs", role_arn=ROLE, status=503, code="RequestLimitExceeded", times=None
    )
    with endpoint.faults.injected(fault):
        await call(client_of("ec2").describe_vpcs)
        await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_subnets)
        for _ in range(2):
            with pytest.raises(ClientError, match="RequestLimitExceeded"):
                await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_vpcs)
    await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_vpcs)


async def test_a_reset_breaks_the_connection_before_or_after_the_effect(
    endpoint: Endpoint, s3: Any
) -> None:
    for after in (False, True):
        endpoint.faults.add(Fault("s3", "PutObject", reset=True, after=after))
        with pytest.raises(botocore.exceptions.ConnectionClosedError, match="closed"):
            await call(s3.put_object, Bucket="replies", Key=f"{after}", Body=b"x")

    listed = await call(s3.list_objects_v2, Bucket="replies")
    assert [each["Key"] for each in listed["Contents"]] == ["True"]
    assert [each.status for each in endpoint.calls][:2] == [None, None]


async def test_a_hang_lasts_until_the_client_gives_up(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    endpoint.faults.add(Fault("ec2", hang=True))
    impatient = client_of("ec2", read_timeout=0.2)

    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        await call(impatient.describe_vpcs)

    assert endpoint.calls[0].status is None
    assert (await call(impatient.describe_subnets))["Subnets"]


async def test_a_call_takes_effect_though_its_client_left(
    endpoint: Endpoint, client_of: ClientOf, s3: Any
) -> None:
    endpoint.faults.add(Fault("s3", "PutObject", delay_s=0.3))
    impatient = client_of("s3", read_timeout=0.1)

    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        await call(impatient.put_object, Bucket="replies", Key="late", Body=b"x")

    async def written() -> bool:
        return "Contents" in await call(s3.list_objects_v2, Bucket="replies")

    await eventually(written)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 500},
        {"code": "Throttling"},
        {"hang": True, "reset": True},
        {"status": 500, "code": "X", "hang": True},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a fault"):
        Fault("ec2", **wrong)


async def test_a_moto_that_is_gone_is_a_service_that_is_unavailable(client_of: ClientOf) -> None:
    async with Endpoint(Moto("http://127.0.0.1:1", REGION)) as alone:
        ssm = client_of("ssm", alone.operator, url=alone.url)
        with pytest.raises(ClientError, match="moto does not answer") as error:
            await call(ssm.get_parameter, Name="x")

    assert code(error) == (503, "ServiceUnavailable")


# --- Cognito


async def test_tokens_verify_against_the_key_set(endpoint: Endpoint, client_of: ClientOf) -> None:
    from jose import jwt

    idp = client_of("cognito-idp")
    pool = (await call(idp.create_user_pool, PoolName="users", UsernameAttributes=["email"]))[
        "UserPool"
    ]["Id"]
    app = await call(idp.create_user_pool_client, UserPoolId=pool, ClientName="c")
    client_id = app["UserPoolClient"]["ClientId"]
    await call(
        idp.admin_create_user, UserPoolId=pool, Username="a@b.example", MessageAction="SUPPRESS"
    )
    password = {
        "UserPoolId": pool,
        "Username": "a@b.example",
        "Password": "Correct-horse1",
        "Permanent": True,
    }
    await call(idp.admin_set_user_password, **password)

    # The call that a browser makes: unsigned.
    signed_in = await call(
        idp.initiate_auth,
        ClientId=client_id,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "a@b.example", "PASSWORD": "Correct-horse1"},
    )
    keys = json.loads(await call(lambda: urllib.request.urlopen(endpoint.jwks_url(pool)).read()))
    claims = jwt.decode(
        signed_in["AuthenticationResult"]["AccessToken"],
        keys,
        algorithms=["RS256"],
        issuer=f"https://cognito-idp.{REGION}.amazonaws.com/{pool}",
    )

    assert (claims["client_id"], claims["token_use"]) == (client_id, "access")
    assert {"sub", "exp", "iat", "auth_time", "jti", "scope", "username"} <= claims.keys()
    assert [each.operation for each in endpoint.calls][-2:] == ["InitiateAuth", "GetJwks"]


async def test_the_key_set_can_fail_like_an_operation(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault("cognito-idp", "GetJwks", status=503, code="ServiceUnavailable"))

    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(endpoint.jwks_url("us-east-1_x"))).status_code == 503


# --- Lambda


async def test_invokes_functions_by_their_host(endpoint: Endpoint, client_of: ClientOf) -> None:
    async def host(name: str, payload: bytes, client_context: str | None) -> InvokeResult:
        if name == "busy":
            raise LambdaApiError(429, "TooManyRequestsException", "Rate Exceeded.")
        if name != "echo":
            raise LookupError(name)
        error = "Unhandled" if b"fail" in payload else None
        return InvokeResult(
            payload=payload,
            error=error,
            log_tail="a line",
            duration_ms=1,
            cold=False,
            request_id=str(client_context),
        )

    endpoint.on_invoke = host
    lambda_ = client_of("lambda")

    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:echo:prod"
    answer = await call(
        lambda_.invoke, FunctionName=arn, Payload=b'{"a": 1}', LogType="Tail", ClientContext="e30="
    )
    assert json.loads(await call(answer["Payload"].read)) == {"a": 1}
    assert (answer["LogResult"], answer["ResponseMetadata"]["RequestId"]) == ("YSBsaW5l", "{}")
    assert "FunctionError" not in answer

    failed = await call(lambda_.invoke, FunctionName="echo", Payload=b'"fail"')
    assert failed["FunctionError"] == "Unhandled"
    assert (await call(lambda_.invoke, FunctionName="echo", InvocationType="Event"))[
        "StatusCode"
    ] == 202

    for name, refusal in (
        ("none", (404, "ResourceNotFoundException")),
        ("busy", (429, "TooManyRequestsException")),
    ):
        with pytest.raises(ClientError) as error:
            await call(lambda_.invoke, FunctionName=name)
        assert code(error) == refusal
