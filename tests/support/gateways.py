"""A small API with the gateway's features, and what stands behind it: fake functions, a fake S3."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote

import httpx
import yaml

from local.apigateway.gateway import Gateway
from local.apigateway.model import Plan
from local.apigateway.spec import GatewaySpec

API_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcde12345"
ALLOW_ALL = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": f"{API_ARN}/*/*"}
DENY_ALL = {**ALLOW_ALL, "Effect": "Deny"}
ALLOWED = {"principalId": "p", "policyDocument": {"Statement": [ALLOW_ALL]}}
ROLE = "arn:aws:iam::123456789012:role/replies"


def function_uri(name: str) -> str:
    """What an integration or authorizer names to invoke a function."""
    arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{name}"
    return f"arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{arn}/invocations"


DOCUMENT = """
openapi: 3.0.1
x-amazon-apigateway-request-validators:
  parameters: {validateRequestParameters: true, validateRequestBody: false}
x-amazon-apigateway-request-validator: parameters
x-amazon-apigateway-gateway-responses:
  MISSING_AUTHENTICATION_TOKEN:
    statusCode: 404
    responseTemplates:
      application/json: '{"error":"not_found","message":$context.error.messageString}'
  UNAUTHORIZED:
    responseParameters:
      gatewayresponse.header.WWW-Authenticate: "'Bearer'"
      gatewayresponse.header.X-Origin: method.request.header.Origin
  DEFAULT_5XX:
    responseParameters: {gatewayresponse.header.Retry-After: "'5'"}
    responseTemplates:
      application/json: '{"error":"$context.error.responseType","id":"$context.requestId"}'
paths:
  /echo/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: &echo
      operationId: echo
      security: [{jwt: []}]
      parameters: [{name: must, in: query, required: true, schema: {type: string}}]
      x-amazon-apigateway-integration: &router
        {type: aws_proxy, httpMethod: POST, uri: ROUTER, timeoutInMillis: 50}
    patch: *echo
  /open: {post: {x-amazon-apigateway-integration: *router}}
  /open/fixed: {post: {x-amazon-apigateway-integration: *router}}
  /open/{name}:
    post:
      parameters: [{name: name, in: path, required: true, schema: {type: string}}]
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
            #if($code.matches('none')){}
            #elseif($code.matches('')){"statusCode": 200}
            #{else}{"statusCode": $code}#end
        responses:
          "2\\\\d\\\\d":
            statusCode: 200
            responseParameters:
              method.response.header.X-Fixed: "'fixed'"
              method.response.header.X-Id: context.requestId
            responseTemplates:
              application/json: '{"path":"$context.resourcePath","stage":"$context.stage"}'
              text/plain: plain
          "4\\\\d\\\\d":
            statusCode: 418
            responseTemplates:
              application/json: |-
                #set($context.responseOverride.status = 499)
                #set($context.responseOverride.header.X-Over = "ridden")
                {}
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
          integration.request.querystring.versionId: "'test'"
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


class AnyKey(dict[str, Plan]):
    """A plan without limits for every key that there may be."""

    def __missing__(self, key: str) -> Plan:
        return Plan(throttle=None, per_day=None)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key else default


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
            context = {"sub": sub, "n": 1, "b": True}
            result = {**ALLOWED, "principalId": sub, "context": context, "usageIdentifierKey": sub}
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


def parse(doc: dict[str, Any] | None = None, policy: Any = None, **more: Any) -> GatewaySpec:
    """The document's API, or another's, at stage v1, with a resource policy of its own."""
    fence = {} if policy is None else {"x-amazon-apigateway-policy": policy}
    known = {"plans": AnyKey(), **more}
    return GatewaySpec.parse((doc or document()) | fence, api_arn=API_ARN, stage="v1", **known)


def client(gateway: Gateway, source_ip: str = "192.0.2.7") -> httpx.AsyncClient:
    """A client of the gateway, without a socket; close it by `async with`."""
    app: Any = gateway.app
    transport = httpx.ASGITransport(app=app, client=(source_ip, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://abcde12345.local/v1")


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
