"""The Lambda proxy integration: the event of version 1.0, and what a function may answer."""

import re
from typing import Any

import httpx
import pytest
from support.gateways import API_ARN, Cloud, client, document

from local.apigateway.model import FunctionError, InvocationRefused
from local.apigateway.spec import GatewaySpec


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Root=1-6b04aff2-b9960c0bfe20427a9610d5cf", True),
        (
            "Self=1-6b04aff2-b9960c0bfe20427a9610d5ce;"
            "Root=1-6b04aff2-b9960c0bfe20427a9610d5cf;Sampled=1",
            True,
        ),
        ("Root=1-x", False),
        ("½".encode("latin-1"), False),
    ],
)
async def test_a_trace_id_is_passed_on_only_if_it_is_one(
    api: httpx.AsyncClient, cloud: Cloud, sent: str | bytes, kept: bool
) -> None:
    headers: list[tuple[str | bytes, str | bytes]] = [
        ("Authorization", "t"),
        ("X-Amzn-Trace-Id", sent),
    ]
    await api.patch("/echo/7?must=x", headers=headers)
    passed = cloud.events[0]["headers"]["X-Amzn-Trace-Id"]
    assert (passed == sent) == kept
    assert "Root=1-" in passed


async def test_proxy_event_has_all_of_version_1(api: httpx.AsyncClient, cloud: Cloud) -> None:
    url = "/echo/7?a=1&a=2&must=%C3%A9+x&empty="
    headers = [
        ("Authorization", "t"),
        ("X-Two", "1"),
        ("X-Two", "2"),
        ("X-Forwarded-For", "203.0.113.5"),
        ("TE", "x"),
    ]
    await api.patch(url, headers=[*headers, ("User-Agent", "test")], content='{"p": "é"}'.encode())
    event = cloud.events[0]
    context = event.pop("requestContext")
    trace = event["headers"]["X-Amzn-Trace-Id"]
    assert event == {
        "resource": "/echo/{id}",
        "path": "/echo/7",
        "httpMethod": "PATCH",
        "headers": event["headers"],
        "multiValueHeaders": event["multiValueHeaders"],
        "queryStringParameters": {"a": "2", "must": "é x", "empty": ""},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "must": ["é x"], "empty": [""]},
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "body": '{"p": "é"}',
        "isBase64Encoded": False,
    }
    assert event["headers"] == {
        "Authorization": "t",
        "Host": "abcde12345.local",
        "User-Agent": "test",
        "accept": "*/*",
        "accept-encoding": event["headers"]["accept-encoding"],
        "x-two": "2",
        "X-Amzn-Trace-Id": trace,
        "X-Forwarded-For": "203.0.113.5, 192.0.2.7",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    assert event["multiValueHeaders"]["x-two"] == ["1", "2"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", trace)
    assert re.fullmatch(
        r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context.pop("requestTime")
    )
    for name in (
        "requestId",
        "extendedRequestId",
        "requestTimeEpoch",
        "resourceId",
        "deploymentId",
        "authorizer",
    ):
        assert context.pop(name)
    identity = context.pop("identity")
    assert {name: value for name, value in identity.items() if value} == {
        "sourceIp": "192.0.2.7",
        "userAgent": "test",
    }
    assert {"accountId", "caller", "cognitoIdentityId", "userArn", "user"} <= identity.keys()
    assert context == {
        "accountId": "123456789012",
        "apiId": "abcde12345",
        "domainName": "abcde12345.local",
        "domainPrefix": "abcde12345",
        "httpMethod": "PATCH",
        "operationName": "echo",
        "path": "/v1/echo/7",
        "protocol": "HTTP/1.1",
        "resourcePath": "/echo/{id}",
        "stage": "v1",
    }


async def test_what_a_request_does_not_have_is_null(cloud: Cloud) -> None:
    gateway = cloud.gateway(GatewaySpec.parse(document(), api_arn=API_ARN, stage="v1"))
    async with client(gateway) as http:
        await http.post("/open")
    absent = (
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    )
    assert {cloud.events[0][name] for name in absent} == {None}
    assert "authorizer" not in cloud.events[0]["requestContext"]


async def test_bodies_are_text_without_binary_media_types(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    cloud.router = {"statusCode": 200, "body": "AAH/", "isBase64Encoded": True}
    assert (await api.post("/open", content=b"\xff")).content == b"AAH/"
    assert (cloud.events[0]["body"], cloud.events[0]["isBase64Encoded"]) == ("\ufffd", False)


async def test_proxy_answers(api: httpx.AsyncClient, cloud: Cloud) -> None:
    cloud.router = {
        "statusCode": 202,
        "headers": {
            "Location": "/x",
            "X-Flag": True,
            "Server": "mine",
            "Transfer-Encoding": "chunked",
        },
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "é",
    }
    response = await api.post("/open")
    assert (response.status_code, response.content) == (202, "é".encode())
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    own = {
        "date",
        "x-amzn-requestid",
        "x-amz-apigw-id",
        "x-amzn-trace-id",
        "content-length",
        "set-cookie",
    }
    assert {name: value for name, value in response.headers.items() if name not in own} == {
        "location": "/x",
        "x-flag": "true",
        "content-type": "application/json",
        "x-amzn-remapped-server": "mine",
    }
    assert own <= response.headers.keys()


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        {"statusCode": 200, "extra": 1},
        {"statusCode": "abc"},
        {"statusCode": 1000},
        {"statusCode": 200, "body": {}},
        {"statusCode": 200, "headers": {"Retry-After": 5}},
        {"statusCode": 200, "headers": []},
        {"statusCode": 200, "multiValueHeaders": {"A": "b"}},
        {"statusCode": 200, "headers": {"X": "a\r\nSet-Cookie: b"}},
        {"statusCode": 200, "headers": {"X Y": "a"}},
        {"errorMessage": "it is a normal result of the wrong format"},
    ],
)
async def test_malformed_proxy_answers_are_502(
    api: httpx.AsyncClient, cloud: Cloud, result: Any
) -> None:
    cloud.router = lambda event: result
    response = await api.post("/open")
    assert (response.status_code, response.headers["x-amzn-errortype"]) == (
        502,
        "InternalServerErrorException",
    )


@pytest.mark.parametrize(
    ("result", "status", "kind"),
    [
        (FunctionError("boom"), 502, "DEFAULT_5XX"),
        (InvocationRefused("429 TooManyRequestsException", 429), 500, "DEFAULT_5XX"),
        (ValueError("a bug of ours"), 500, "DEFAULT_5XX"),
        (0.2, 504, "INTEGRATION_TIMEOUT"),
    ],
)
async def test_functions_that_fail(
    api: httpx.AsyncClient, cloud: Cloud, result: Any, status: int, kind: str
) -> None:
    cloud.router = result
    response = await api.post("/open")
    assert (response.status_code, response.json()["error"]) == (status, kind)


async def test_what_lambda_finds_too_large_is_a_413(api: httpx.AsyncClient, cloud: Cloud) -> None:
    cloud.router = InvocationRefused("RequestTooLargeException", 413)
    response = await api.post("/open")
    assert (response.status_code, response.json()) == (413, {"message": "Request Too Long"})
