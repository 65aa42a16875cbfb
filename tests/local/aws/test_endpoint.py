"""The endpoint before a real moto: who may call, what is recorded, and tokens of Cognito's."""

import json
import time
import urllib.request
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from support.calls import REGION, ClientOf, call, code

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from local.aws.principals import Credentials
from recording.model import ACCOUNT_ID

pytestmark = pytest.mark.integration

ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/router"


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
