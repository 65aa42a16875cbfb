"""The local gateway answers as API Gateway does: a small API, a fake function, a fake S3."""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import yaml

from components.gateway import ACCESS_LOG_FORMAT, BURST, RATE_PER_SECOND
from components.openapi import OPENAPI, render
from local.apigateway.gateway import FunctionError, Gateway, GatewaySpec, InvocationRefused
from local.apigateway.integrations import s3_path
from local.apigateway.model import SpecError
from local.apigateway.template_values import VtlError
from local.iam.policy import PolicyError
from local.machine.serving import serving
from recording import kinds
from recording.evaluate import evaluate
from recording.model import Recording

API_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcde12345"
ALLOW_ALL = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": f"{API_ARN}/*/*"}
DENY_ALL = {**ALLOW_ALL, "Effect": "Deny"}
ALLOWED = {"principalId": "p", "policyDocument": {"Statement": [ALLOW_ALL]}}
MALFORMED = "AuthorizerConfigurationException"
ROLE = "arn:aws:iam::123456789012:role/replies"
VPC = "2600:1f18:aa:bb00::/56"
JOB = "0f8fad5b-d9cb-4d7d-a2f0-0123456789ab"


def function_uri(name: str) -> str:
    arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{name}"
    return f"arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{arn}/invocations"


DOCUMENT = """
openapi: 3.0.1
x-amazon-apigateway-request-validators: {parameters: {validateRequestParameters: true, validateRequestBody: false}}
x-amazon-apigateway-request-validator: parameters
x-amazon-apigateway-gateway-responses:
  MISSING_AUTHENTICATION_TOKEN:
    statusCode: 404
    responseTemplates: {application/json: '{"error":"not_found","message":$context.error.messageString}'}
  UNAUTHORIZED:
    responseParameters:
      gatewayresponse.header.WWW-Authenticate: "'Bearer'"
      gatewayresponse.header.X-Origin: method.request.header.Origin
  DEFAULT_5XX:
    responseParameters: {gatewayresponse.header.Retry-After: "'5'"}
    responseTemplates: {application/json: '{"error":"$context.error.responseType","id":"$context.requestId"}'}
paths:
  /echo/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    x-amazon-apigateway-any-method:
      operationId: echo
      security: [{jwt: []}]
      parameters: [{name: must, in: query, required: true, schema: {type: string}}]
      x-amazon-apigateway-integration: &router {type: aws_proxy, httpMethod: POST, uri: ROUTER, timeoutInMillis: 50}
  /open: {post: {x-amazon-apigateway-integration: *router}}
  /open/fixed: {post: {x-amazon-apigateway-integration: *router}}
  /open/{name}:
    post:
      parameters: [{name: name, in: path, required: true, schema: {type: string}}]
      x-amazon-apigateway-integration: *router
  /files/{rest+}:
    get:
      parameters: [{name: rest, in: path, required: true, schema: {type: string}}]
      x-amazon-apigateway-integration: *router
  /secret: {post: {security: [{jwt: []}], x-amazon-apigateway-integration: *router}}
  /mock:
    get:
      parameters: [{name: code, in: query, schema: {type: string}}]
      responses:
        "200": {headers: {X-Fixed: {schema: {type: string}}, X-Id: {schema: {type: string}}}}
        "418": {description: teapot}
      x-amazon-apigateway-integration:
        type: mock
        passthroughBehavior: never
        requestTemplates:
          application/json: |
            #set($code = $input.params('code'))
            #if($code == 'none'){}#elseif($code == ''){"statusCode": 200}#{else}{"statusCode": $code}#end
        responses:
          "2\\\\d\\\\d":
            statusCode: 200
            responseParameters:
              method.response.header.X-Fixed: "'fixed'"
              method.response.header.X-Id: context.requestId
            responseTemplates:
              application/json: '{"path":"$context.resourcePath","mode":"$stageVariables.mode"}'
              text/plain: plain
          "4\\\\d\\\\d":
            statusCode: 418
            responseTemplates:
              application/json: |-
                #set($context.responseOverride.status = 499)
                #set($context.responseOverride.header.X-Over = "ridden")
                {}
  /function:
    post:
      responses: {"200": {description: ok}, "400": {description: bad}}
      x-amazon-apigateway-integration:
        type: aws
        httpMethod: POST
        uri: ROUTER
        requestTemplates: {application/json: '{"got":$input.json("$.a")}'}
        responses:
          default: {statusCode: 200}
          "bad.*": {statusCode: 400, responseTemplates: {application/json: '{"why":$input.json("$.errorMessage")}'}}
  /replies/{id}:
    get:
      security: [{jwt: []}]
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses:
        "200": {headers: {Content-Type: {schema: {type: string}}, ETag: {schema: {type: string}}}}
        "404": {description: none}
        "502": {description: broken}
      x-amazon-apigateway-integration:
        type: aws
        httpMethod: GET
        uri: arn:aws:apigateway:eu-west-1:s3:path/bucket/replies/{sub}/{id}.json
        credentials: ROLE
        passthroughBehavior: never
        timeoutInMillis: 300
        requestParameters:
          integration.request.path.id: method.request.path.id
          integration.request.path.sub: context.authorizer.sub
          integration.request.header.X-Fixed: "'one'"
          integration.request.querystring.versionId: stageVariables.mode
        requestTemplates:
          application/json: |-
            #set($context.requestOverride.header.X-Over = "$input.params('id')!")
        responses:
          "200":
            statusCode: 200
            responseParameters:
              method.response.header.ETag: integration.response.header.ETag
              method.response.header.Content-Type: "'text/reply'"
          "404": {statusCode: 404, responseTemplates: {application/json: '{"error":"not_found"}'}}
          default: {statusCode: 502, responseTemplates: {application/json: '{"error":"storage"}'}}
components:
  securitySchemes:
    jwt:
      type: apiKey
      in: header
      name: Authorization
      x-amazon-apigateway-authtype: custom
      x-amazon-apigateway-authorizer:
        type: token
        authorizerUri: AUTHORIZER
        authorizerResultTtlInSeconds: 60
        identityValidationExpression: "[^ ]+"
"""
DOCUMENT = DOCUMENT.replace("ROUTER", function_uri("router")).replace(
    "AUTHORIZER", function_uri("authorizer")
)
DOCUMENT = DOCUMENT.replace("ROLE", ROLE)


def document(change: str = " => ") -> dict[str, Any]:
    """The document, with one text replaced (`old => new`)."""
    old, new = change.split(" => ")
    assert old in DOCUMENT
    return yaml.safe_load(DOCUMENT.replace(old, new, 1))


class Cloud:
    """What stands behind the gateway in these tests: two functions and a bucket, all of them
    settable.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.tokens: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.requests: list[httpx.Request] = []
        self.router: Any = {"statusCode": 200, "body": "{}"}
        self.authorizer: Any = None
        self.s3_status: int | Exception | None = None

    async def invoke(self, arn: str, event: dict[str, Any]) -> Any:
        name = arn.rpartition(":")[2]
        (self.tokens if name == "authorizer" else self.events).append(event)
        result = getattr(self, name)
        if result is None:
            sub = event["authorizationToken"]
            result = {**ALLOWED, "principalId": sub, "context": {"sub": sub, "n": 1, "b": True}}
        if callable(result):
            result = result(event)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, float):
            await asyncio.sleep(result)
        return json.loads(json.dumps(result))

    def handle_s3(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.s3_status, Exception):
            raise self.s3_status
        key = unquote(request.url.raw_path.decode().partition("?")[0].removeprefix("/bucket/"))
        status = self.s3_status or (200 if key in self.objects else 404)
        return httpx.Response(
            status, content=self.objects.get(key, b"<Error/>"), headers={"ETag": '"1"'}
        )

    def gateway(self, spec: GatewaySpec) -> Gateway:
        return Gateway(
            spec,
            invoke=self.invoke,
            aws_endpoint="http://127.0.0.1:5000",
            credentials_for=lambda role: ({ROLE: "AKIDREPLIES"}[role], "secret"),
            access_log=self.lines.append,
            transport=httpx.MockTransport(self.handle_s3),
        )


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def parse(doc: dict[str, Any] | None = None, **more: Any) -> GatewaySpec:
    return GatewaySpec.parse(
        doc or document(), api_arn=API_ARN, stage="v1", stage_variables={"mode": "test"}, **more
    )


def client(gateway: Gateway, source_ip: str = "192.0.2.7") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=gateway.app, client=(source_ip, 1234))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://abcde12345.local/v1")


@pytest.fixture
async def api(cloud: Cloud) -> AsyncIterator[httpx.AsyncClient]:
    gateway = cloud.gateway(parse())
    async with client(gateway) as http:
        yield http
    await gateway.aclose()


async def raw(
    gateway: Gateway, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes]:
    """A request whose path no client has tidied up."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": pairs,
    }
    await gateway.app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


# Routing and gateway responses


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("GET", "/open"), ("HEAD", "/mock"), ("PROPFIND", "/mock"), ("GET", "/")],
)
async def test_unknown_routes_get_the_documents_answer(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await api.request(method, path)
    assert response.status_code == 404
    assert response.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    if method != "HEAD":
        assert response.json() == {"error": "not_found", "message": "Missing Authentication Token"}
    assert int(response.headers["content-length"]) > 0


async def test_another_stage_is_forbidden(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    assert await raw(gateway, "/v2/mock") == (403, b'{"message":"Forbidden"}')
    assert (await raw(gateway, "/mock"))[0] == 403


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/open", "/open", None),
        ("/open/", "/open", None),
        ("/open/fixed", "/open/fixed", None),
        ("/open/other", "/open/{name}", {"name": "other"}),
        ("/open/a%2Fb", "/open/{name}", {"name": "a%2Fb"}),
    ],
)
async def test_fixed_paths_come_before_parameters(
    api: httpx.AsyncClient,
    cloud: Cloud,
    path: str,
    resource: str,
    parameters: dict[str, str] | None,
) -> None:
    assert (await api.post(path)).status_code == 200
    event = cloud.events[0]
    assert (event["resource"], event["pathParameters"], event["path"]) == (
        resource,
        parameters,
        path,
    )


async def test_greedy_parameters_take_the_rest(api: httpx.AsyncClient, cloud: Cloud) -> None:
    await api.get("/files/a/b%20c/d.txt")
    assert cloud.events[0]["pathParameters"] == {"rest": "a/b%20c/d.txt"}
    assert (await api.get("/files")).status_code == 404


async def test_nothing_in_a_path_is_normalised(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    for path in (
        "/v1//mock",
        "/v1/./mock",
        "/v1/open/../mock",
        "/v1/%6dock",
        "/v1/open/%2e%2e/mock",
    ):
        assert (await raw(gateway, path))[0] == 404, path
    assert (await raw(gateway, "/v1/open/..", "POST"))[0] == 200
    assert cloud.events[0]["pathParameters"] == {"name": ".."}


async def test_default_gateway_responses_apply_to_their_class(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    cloud.router = {"nonsense": 1}
    response = await api.post("/open")
    assert (response.status_code, response.headers["retry-after"]) == (502, "5")
    assert response.json() == {"error": "DEFAULT_5XX", "id": response.headers["x-amzn-requestid"]}


# Authorizer


async def test_no_token_is_401_without_an_invocation(api: httpx.AsyncClient, cloud: Cloud) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "does not match"}):
        response = await api.post("/secret", headers={**headers, "Origin": "http://localhost"})
        assert (response.status_code, response.json()) == (401, {"message": "Unauthorized"})
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-origin"] == "http://localhost"
    assert cloud.tokens == []
    assert cloud.events == []


async def test_the_authorizers_context_reaches_the_function(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    await api.post("/secret", headers={"authorization": "t1"})
    assert cloud.tokens == [
        {"type": "TOKEN", "authorizationToken": "t1", "methodArn": f"{API_ARN}/v1/POST/secret"}
    ]
    got = cloud.events[0]["requestContext"]["authorizer"]
    assert got.pop("integrationLatency") >= 0
    assert got == {"principalId": "t1", "sub": "t1", "n": "1", "b": "true"}


async def test_authorizer_results_are_cached_by_token_across_routes(
    api: httpx.AsyncClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("local.apigateway.authorizer.time.monotonic", lambda: now)
    for token in ("t1", "t1", "t2"):
        await api.post("/secret", headers={"Authorization": token})
        await api.get("/echo/1?must=1", headers={"Authorization": token})
    assert [event["authorizationToken"] for event in cloud.tokens] == ["t1", "t2"]
    now += 61
    await api.post("/secret", headers={"Authorization": "t1"})
    assert len(cloud.tokens) == 3


async def test_a_cached_policy_is_evaluated_for_each_method(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    only = {**ALLOW_ALL, "Resource": f"{API_ARN}/v1/POST/secret"}
    cloud.authorizer = {"principalId": "p", "policyDocument": {"Statement": only}}
    headers = {"Authorization": "t"}
    assert (await api.post("/secret", headers=headers)).status_code == 200
    assert (await api.get("/echo/1?must=1", headers=headers)).status_code == 403
    assert len(cloud.tokens) == 1


@pytest.mark.parametrize(
    ("result", "status", "error_type"),
    [
        (FunctionError("Unauthorized"), 401, "UnauthorizedException"),
        (FunctionError("unauthorized"), 500, "AuthorizerFailureException"),
        (FunctionError("KeyError: 'x'"), 500, "AuthorizerFailureException"),
        (InvocationRefused("429"), 500, MALFORMED),
        ("text", 500, MALFORMED),
        ({"policyDocument": {"Statement": [ALLOW_ALL]}}, 500, MALFORMED),
        ({"principalId": "p"}, 500, MALFORMED),
        (
            {"principalId": "p", "policyDocument": {"Statement": [{"Effect": "allow"}]}},
            500,
            MALFORMED,
        ),
        ({**ALLOWED, "context": {"a": []}}, 500, MALFORMED),
        (
            {"principalId": "p", "policyDocument": {"Statement": [DENY_ALL, ALLOW_ALL]}},
            403,
            "AccessDeniedException",
        ),
    ],
)
async def test_authorizers_that_do_not_allow(
    api: httpx.AsyncClient, cloud: Cloud, result: Any, status: int, error_type: str
) -> None:
    cloud.authorizer = lambda event: result
    response = await api.post("/secret", headers={"Authorization": "t"})
    assert (response.status_code, response.headers["x-amzn-errortype"]) == (status, error_type)
    assert cloud.events == []


@pytest.mark.parametrize(
    ("authorizer", "resource", "status"),
    [
        # Table A of "How API Gateway resource policies affect authorization workflow".
        ("Allow", "Allow", 200),
        ("Allow", None, 200),
        ("Allow", "Deny", 403),
        (None, "Allow", 200),
        (None, None, 403),
        (None, "Deny", 403),
        ("Deny", "Allow", 403),
        ("Deny", None, 403),
        ("Deny", "Deny", 403),
    ],
)
async def test_both_policies_decide_by_table_a(
    cloud: Cloud, authorizer: str | None, resource: str | None, status: int
) -> None:
    def policy(effect: str | None) -> dict[str, Any]:
        return {"Statement": [{**ALLOW_ALL, "Effect": effect}] if effect else []}

    cloud.authorizer = {"principalId": "p", "policyDocument": policy(authorizer)}
    async with client(cloud.gateway(parse(policy=policy(resource)))) as http:
        response = await http.post("/secret", headers={"Authorization": "t"})
    assert response.status_code == status
    # The resource policy's denial comes before the authorizer is asked.
    assert len(cloud.tokens) == (resource != "Deny")


# Resource policy


def fence(*statements: dict[str, Any]) -> dict[str, Any]:
    return {
        "Statement": [{**ALLOW_ALL, "Principal": "*", "Resource": "execute-api:/*"}, *statements]
    }


async def test_resource_policy_fences_a_route_to_the_vpc(cloud: Cloud) -> None:
    outside = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "execute-api:Invoke",
        "Resource": "execute-api:/*/GET/mock",
        "Condition": {"NotIpAddress": {"aws:SourceIp": [VPC, "198.51.100.0/24"]}},
    }
    gateway = cloud.gateway(parse(policy=fence(outside)))
    addresses = {
        "192.0.2.1": 403,
        "198.51.100.9": 200,
        "2600:1f18:aa:bbff::1": 200,
        "2600:1f18:aa:bc00::1": 403,
    }
    for address, status in addresses.items():
        async with client(gateway, address) as http:
            assert (await http.get("/mock")).status_code == status, address
            assert (
                await http.get("/mock/", headers={"X-Forwarded-For": "198.51.100.9"})
            ).status_code == status
            assert (await http.post("/open")).status_code == 200
    inside = httpx.ASGITransport(app=gateway.inside_vpc("2600:1f18:aa:bb00::5"))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=inside, base_url="http://x/v1") as http:
        assert (await http.get("/mock")).status_code == 200
        await http.post("/open")
    assert cloud.events[-1]["requestContext"]["identity"]["sourceIp"] == "2600:1f18:aa:bb00::5"


async def test_a_policy_that_allows_nothing_denies_open_routes(cloud: Cloud) -> None:
    async with client(cloud.gateway(parse(policy={"Statement": []}))) as http:
        assert (await http.post("/open")).status_code == 403


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny", "NotAction": "x", "Resource": "*"},
        {"Effect": "Deny", "Action": "*"},
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Principal": {"AWS": "arn:aws:iam::1:root"},
        },
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"NumericEquals": {"a": "1"}},
        },
        {"Effect": "Deny", "Action": "*", "Resource": 1},
    ],
)
def test_policies_beyond_the_evaluator_are_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse(policy=fence(statement))


# Validation, limits, throttle


async def test_required_parameters(api: httpx.AsyncClient, cloud: Cloud) -> None:
    for path in ("/echo/1", "/echo/1?must="):
        response = await api.get(path, headers={"Authorization": "t"})
        assert response.status_code == 400
        assert response.json() == {"message": "Missing required request parameters: [must]"}
    assert cloud.events == []
    assert len(cloud.tokens) == 1  # the authorizer comes first


async def test_limits_of_size(api: httpx.AsyncClient, cloud: Cloud) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 1024 * 1024

    for body in (b"x" * (10 * 1024 * 1024 + 1), chunks()):
        response = await api.post("/open", content=body)
        assert (response.status_code, response.json()) == (413, {"message": "Request Too Long"})
    assert (await api.post("/open", headers={"X-Big": "x" * 10_240})).status_code == 431
    assert (
        await api.post("/secret/".rstrip("/"), headers={"Authorization": "x" * 9_000})
    ).status_code == 200
    assert (
        await api.get(f"/echo/{'x' * 1_700}?must=1", headers={"Authorization": "t"})
    ).status_code == 414
    assert len(cloud.events) == 1


async def test_stage_throttle_is_a_token_bucket_for_each_method(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("local.apigateway.gateway.time.monotonic", lambda: now)
    throttles = {"*/*": (2.0, 3), "open/fixed/POST": (1.0, 1)}
    async with client(cloud.gateway(parse(throttles=throttles))) as http:
        assert [(await http.post("/open")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert [(await http.post("/open/fixed")).status_code for _ in range(2)] == [200, 429]
        now += 0.5
        assert [(await http.post("/open")).status_code for _ in range(2)] == [200, 429]


# Lambda proxy


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Root=1-6b04aff2-b9960c0bfe20427a9610d5cf", True),
        (
            "Self=1-6b04aff2-b9960c0bfe20427a9610d5ce;Root=1-6b04aff2-b9960c0bfe20427a9610d5cf;Sampled=1",
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
        "stageVariables": {"mode": "test"},
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


async def test_binary_bodies_travel_in_base64(cloud: Cloud) -> None:
    spec = parse({**document(), "x-amazon-apigateway-binary-media-types": ["image/png"]})
    cloud.router = {"statusCode": 200, "body": "AAH/", "isBase64Encoded": True}
    async with client(cloud.gateway(spec)) as http:
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        response = await http.post("/open", content=b"\x00\x01\xff", headers=headers)
        assert response.content == b"\x00\x01\xff"
        assert (await http.post("/open", content=b"\xff")).content == b"AAH/"
    assert (cloud.events[0]["body"], cloud.events[0]["isBase64Encoded"]) == ("AAH/", True)
    assert (cloud.events[1]["body"], cloud.events[1]["isBase64Encoded"]) == ("\ufffd", False)


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
    own = {"x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id", "content-length", "set-cookie"}
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
        (InvocationRefused("429 TooManyRequestsException"), 500, "DEFAULT_5XX"),
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


# Mock, Lambda and S3 with templates


async def test_mock(api: httpx.AsyncClient) -> None:
    response = await api.get("/mock")
    assert (response.status_code, response.json()) == (200, {"path": "/mock", "mode": "test"})
    assert response.headers["x-fixed"] == "fixed"
    assert response.headers["x-id"] == response.headers["x-amzn-requestid"]
    assert response.headers["content-type"] == "application/json"
    plain = await api.get("/mock", headers={"Accept": "text/plain; q=1, */*"})
    assert (plain.text, plain.headers["content-type"]) == ("plain", "text/plain")
    override = await api.get("/mock?code=400")
    assert (override.status_code, override.headers["x-over"], override.text) == (
        499,
        "ridden",
        "{}",
    )


async def test_mock_misconfigured(api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    for code, says in (
        ("500", "no response matches '500'"),
        ("none", "a mock's request template renders"),
    ):
        response = await api.get(f"/mock?code={code}")
        assert (response.status_code, response.json()["error"]) == (500, "API_CONFIGURATION_ERROR")
        assert says in caplog.text


async def test_passthrough_never_refuses_other_media_types(api: httpx.AsyncClient) -> None:
    for media, status in [("application/json; charset=utf-8", 200), ("text/xml", 415)]:
        assert (await api.get("/mock", headers={"Content-Type": media})).status_code == status


async def test_lambda_with_templates(api: httpx.AsyncClient, cloud: Cloud) -> None:
    cloud.router = {"done": True}
    response = await api.post("/function", content='{"a": [1]}')
    assert (response.status_code, response.json(), cloud.events) == (
        200,
        {"done": True},
        [{"got": [1]}],
    )
    cloud.router = FunctionError("bad thing")
    response = await api.post("/function", content="{}")
    assert (response.status_code, response.json()) == (400, {"why": "bad thing"})
    response = await api.post("/function", content="no json")
    assert (response.status_code, response.json()) == (
        400,
        {"message": "Could not parse request body into json"},
    )


async def test_s3_is_read_under_the_callers_own_sub(api: httpx.AsyncClient, cloud: Cloud) -> None:
    cloud.objects["replies/alice/1.json"] = b'{"text": "hi"}'
    mine = await api.get("/replies/1", headers={"Authorization": "alice"})
    assert (mine.status_code, mine.content) == (200, b'{"text": "hi"}')
    assert (mine.headers["content-type"], mine.headers["etag"]) == ("text/reply", '"1"')
    theirs = await api.get("/replies/1", headers={"Authorization": "bob"})
    assert (theirs.status_code, theirs.json()) == (404, {"error": "not_found"})
    request = cloud.requests[0]
    assert request.url.raw_path == b"/bucket/replies/alice/1.json?versionId=test"
    assert (request.headers["x-fixed"], request.headers["x-over"]) == ("one", "1!")
    assert "Credential=AKIDREPLIES/" in request.headers["authorization"]
    assert "/eu-west-1/s3/aws4_request" in request.headers["authorization"]
    assert "authorization" not in {
        name for name, value in request.headers.items() if value == "alice"
    }


@pytest.mark.parametrize(
    "climb",
    ["..%2fbob%2f1", "%2e%2e%2fbob%2f1", "..%2F..%2Freplies%2Fbob%2F1", "%2e%2e/bob/1", "../bob/1"],
)
async def test_no_path_reaches_another_users_key(cloud: Cloud, climb: str) -> None:
    cloud.objects["replies/bob/1.json"] = b"bob's"
    gateway = cloud.gateway(parse())
    status, body = await raw(gateway, f"/v1/replies/{climb}", Authorization="alice")
    assert status == 404
    assert body != b"bob's"
    for request in cloud.requests:
        assert request.url.raw_path.startswith(b"/bucket/replies/alice/")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/b", "/k/a/b"),
        ("../../etc", "/k/%2E%2E/%2E%2E/etc"),
        (".", "/k/%2E"),
        ("a?b#c", "/k/a%3Fb%23c"),
        ("%2e%2e", "/k/%2e%2e"),
        ("100%", "/k/100%25"),
        ("a b\r\né", "/k/a%20b%0D%0A%C3%A9"),
    ],
)
def test_s3_paths_are_escaped(value: str, path: str) -> None:
    assert s3_path("/k/{x}", {"x": value}) == path
    assert (
        httpx.URL(f"http://h{path}").raw_path.decode() == path
    )  # and the client sends them like that


async def test_s3_failures(api: httpx.AsyncClient, cloud: Cloud) -> None:
    headers = {"Authorization": "alice"}
    cloud.s3_status = 503
    response = await api.get("/replies/1", headers=headers)
    assert (response.status_code, response.json()) == (502, {"error": "storage"})
    cloud.s3_status = httpx.ConnectError("refused")
    response = await api.get("/replies/1", headers=headers)
    assert (response.status_code, response.json()["error"]) == (504, "INTEGRATION_FAILURE")


# Access log


async def test_access_log_lines(cloud: Cloud) -> None:
    more = ', "i": "$context.integrationLatency", "u": "$context.identity.userAgent"}'
    gateway = cloud.gateway(parse(access_log=ACCESS_LOG_FORMAT.replace("}", more)))
    async with client(gateway) as http:
        first = await http.get("/mock", headers={"User-Agent": 'a"b\\'})
        await http.post("/open")
        await http.get("/nothing")
    lines = [json.loads(line) for line in cloud.lines]
    assert int(lines[0].pop("latencyMs")) >= 0
    assert lines[0] == {
        "requestId": first.headers["x-amzn-requestid"],
        "ip": "192.0.2.7",
        "route": "GET /mock",
        "status": "200",
        "i": "-",
        "u": 'a"b\\',
    }
    assert int(lines[1]["i"]) >= 0
    assert (lines[2]["route"], lines[2]["status"]) == ("GET -", "404")


# Documents that API Gateway would not import


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("type: mock => type: http_proxy", SpecError, "GET /mock: integration type 'http_proxy'"),
        (
            "passthroughBehavior: never => passthroughBehavior: maybe",
            SpecError,
            "passthroughBehavior 'maybe'",
        ),
        (
            "timeoutInMillis: 50 => timeoutInMillis: 30000",
            SpecError,
            "timeoutInMillis 30000 is not within 50 to 29000",
        ),
        ("X-Fixed: {schema: {type: string}},  => ", SpecError, "declare the header 'X-Fixed'"),
        ("statusCode: 418 => statusCode: 499", SpecError, "status 499 is not among"),
        (
            "method.request.path.id => method.request.path.ident",
            SpecError,
            "declare the path parameter 'ident'",
        ),
        ("method.request.path.id => request.path.id", SpecError, "not a valid mapping"),
        (
            "integration.request.path.sub: context.authorizer.sub => x: \"'y'\"",
            SpecError,
            "not a valid mapping",
        ),
        ("credentials: arn => x-credentials: arn", SpecError, "needs credentials"),
        ("security: [{jwt: []}] => security: [{jot: []}]", SpecError, "security scheme 'jot'"),
        ("type: token => type: request", SpecError, "only Lambda TOKEN authorizers"),
        (
            "authorizerResultTtlInSeconds: 60 => authorizerResultTtlInSeconds: 3601",
            SpecError,
            "3601 is not within",
        ),
        ("validateRequestBody: false => validateRequestBody: true", SpecError, "validates bodies"),
        (
            "validator: parameters => validator: nothing",
            SpecError,
            "'nothing' is not one of parameters",
        ),
        ("/open/{name}: => /open/x{name}:", SpecError, "fills a whole segment"),
        ("/files/{rest+}: => /files/{more+}:", SpecError, "declare the path parameter 'more'"),
        (
            "$input.params('code') => $inptu.params('code')",
            VtlError,
            "GET /mock request template for ",
        ),
    ],
)
def test_documents_that_cannot_be_served_are_refused(
    change: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        parse(document(change))


# The project's own document


@pytest.fixture
def own() -> GatewaySpec:
    values = {
        "router_uri": function_uri("router"),
        "queue_health_uri": function_uri("queue-health"),
        "authorizer_uri": function_uri("authorizer"),
        "replies_role": ROLE,
        "replies_uri": "arn:aws:apigateway:eu-west-1:s3:path/bucket/replies/{sub}/{object}",
    }
    return parse(render(Path(OPENAPI).read_text(), values), access_log=ACCESS_LOG_FORMAT)


@pytest.mark.story("API-001")
async def test_own_api_routes_and_refuses(cloud: Cloud, own: GatewaySpec) -> None:
    async with client(cloud.gateway(own)) as http:
        assert (await http.post("/infer", json={"prompt": "x"})).json()["error"] == "unauthorized"
        headers = {"Authorization": "alice"}
        assert (await http.post("/infer", headers=headers, json={"prompt": "x"})).status_code == 200
        assert (await http.put("/infer", headers=headers)).json()["error"] == "not_found"
        assert (await http.get("/ping")).json() == {"status": "ok"}
        cloud.authorizer = FunctionError("no keys")
        response = await http.get("/status", headers={"Authorization": "bob"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert json.loads(cloud.lines[1])["route"] == "POST /infer"


@pytest.mark.story("API-002")
async def test_own_replies_are_the_callers_alone(cloud: Cloud, own: GatewaySpec) -> None:
    cloud.objects[f"replies/alice/{JOB}.json"] = b'{"status": "done", "text": "h\xc3\xa9"}'
    gateway = cloud.gateway(own)
    async with client(gateway) as http:
        mine = await http.get(f"/infer/{JOB}", headers={"Authorization": "alice"})
        assert (mine.status_code, mine.json()) == (200, {"status": "done", "text": "hé"})
        assert mine.headers["cache-control"] == "no-store"
        theirs = await http.get(f"/infer/{JOB}", headers={"Authorization": "bob"})
        assert (theirs.status_code, theirs.json()["error"]) == (404, "not_found")
        for status in (403, 500):
            cloud.s3_status = status
            assert (
                await http.get(f"/infer/{JOB}", headers={"Authorization": "alice"})
            ).status_code == 502
    cloud.s3_status = None
    sought = [
        f"/v1/infer/{climb}"
        for climb in (f"..%2Falice%2F{JOB}", "%2e%2e", f"{JOB}.json", JOB.upper())
    ]
    for path in sought:
        assert (await raw(gateway, path, Authorization="bob"))[0] == 404
    assert (await raw(gateway, f"/v1/infer/%2e%2e/alice/{JOB}", Authorization="bob"))[0] == 404


@pytest.mark.story("API-001")
@pytest.mark.parametrize("name", ["Origin", "origin"])
async def test_own_preflight_names_localhost_only(
    cloud: Cloud, own: GatewaySpec, name: str
) -> None:
    async with client(cloud.gateway(own)) as http:
        for origin in ("http://localhost", "http://localhost:3000"):
            response = await http.options(
                "/infer", headers={name: origin, "Access-Control-Request-Method": "POST"}
            )
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (
                200,
                origin,
            )
            assert response.headers["vary"] == "Origin"
        for origin in (
            "https://localhost",
            "http://localhost.evil.example",
            "http://localhost:123456",
            "null",
            "",
        ):
            response = await http.options("/infer", headers={name: origin})
            assert response.status_code == 200
            assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-origin" not in (await http.options("/infer")).headers


async def test_the_recorded_program_is_what_is_served(cloud: Cloud) -> None:
    recording = evaluate("dev")
    spec = GatewaySpec.from_recording(recording)
    api = recording.one(kinds.apigateway.REST_API.token)
    assert (spec.api_id, spec.stage) == (
        api.id,
        recording.one(kinds.apigateway.STAGE.token).inputs["stageName"],
    )
    assert spec.access_log == ACCESS_LOG_FORMAT
    assert spec.throttles == {"*/*": (RATE_PER_SECOND, BURST)}
    gateway = cloud.gateway(spec)
    async with client(gateway) as http:
        for path in ("ping", "ping/"):
            response = await http.get(f"/{path}")
            assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    block = ipaddress.ip_network(recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"])
    inside = httpx.ASGITransport(app=gateway.inside_vpc(str(block[5])))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=inside, base_url="http://x") as http:
        assert (await http.get(f"{spec.stage}/ping")).json() == {"status": "ok"}


def test_a_recording_without_one_api_is_refused() -> None:
    with pytest.raises(SpecError, match="0 fitting resources of type restApi:RestApi"):
        GatewaySpec.from_recording(Recording(stack="dev", resources=[], outputs={}))


async def exchange(port: int, request: str) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own, with nothing tidied up on the way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


async def test_served_on_a_socket(cloud: Cloud) -> None:
    cloud.objects["replies/bob/1.json"] = b"bob's"
    listener = socket.create_server(("127.0.0.1", 0))
    port, end = listener.getsockname()[1], "Host: x\nConnection: close\n\n"
    async with serving(cloud.gateway(parse()).app, listener):
        for path in (
            "replies/../bob/1",
            "replies/%2e%2e%2Fbob/1",
            "replies/..%2fbob%2f1",
            "../v1/mock",
        ):
            status, body = await exchange(
                port, f"GET /v1/{path} HTTP/1.1\nAuthorization: alice\n{end}"
            )
            assert status in (403, 404)
            assert b"bob's" not in body
        assert (await exchange(port, f"GET /v1/mock HTTP/1.1\nX-Big: {'x' * 100_000}\n{end}"))[
            0
        ] == 431
        assert await exchange(port, f"HEAD /v1/mock HTTP/1.1\n{end}") == (404, b"")
        # The peer's own address counts, whatever a header claims.
        forwarded = "X-Forwarded-For: 198.51.100.9\nContent-Length: 0"
        assert (await exchange(port, f"POST /v1/open HTTP/1.1\n{forwarded}\n{end}"))[0] == 200
        assert cloud.events[0]["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
