"""What stands behind a method: a mock, a function, or S3 read under a role of its own."""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.apigateway.call import Answer, Call, GatewayError, mapped
from local.apigateway.model import Integration, IntegrationResponse
from local.apigateway.template_values import Input, JsonBodyError, VtlError
from local.apigateway.templates import Rendered, Template

JSON = "application/json"
BODILESS = {"GET", "HEAD", "OPTIONS", "DELETE"}
# What becomes of an integration's headers (important notes for REST APIs; LocalStack's
# header_utils.py).
REMAPPED = {"connection", "content-length", "date", "server", "www-authenticate"}
HOP_BY_HOP = "transfer-encoding"
PROXY_KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}


class FunctionError(Exception):
    """A function ran and failed: it raised, ended or ran out of time.

    `message` is its errorMessage.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvocationRefused(Exception):
    """Lambda itself refused to run the function (throttled, unknown, payload too large)."""


Invoke = Callable[[str, dict[str, Any]], Awaitable[Any]]
CredentialsFor = Callable[[str], tuple[str, str]]


class Integrations:
    """Runs integrations; see `Gateway` for the arguments."""

    def __init__(
        self,
        invoke: Invoke,
        aws_endpoint: str,
        credentials_for: CredentialsFor,
        http: httpx.AsyncClient,
    ) -> None:
        self._invoke = invoke
        self._endpoint = aws_endpoint.rstrip("/")
        self._credentials_for = credentials_for
        self._http = http

    async def run(self, call: Call, integration: Integration) -> Answer:
        """The method's response. Raises GatewayError for what API Gateway answers by itself."""
        if integration.kind == "aws_proxy":
            return await self._proxy(call, integration)
        try:
            return await self._mapped(call, integration)
        except VtlError as error:
            raise GatewayError("API_CONFIGURATION_ERROR", reason=str(error)) from error

    async def _proxy(self, call: Call, integration: Integration) -> Answer:
        try:
            result = await self._invoke(integration.function_arn, proxy_event(call))
        except FunctionError as error:
            raise GatewayError(
                "DEFAULT_5XX", status=502, reason=f"function error: {error.message}"
            ) from error
        except InvocationRefused as error:
            raise GatewayError("DEFAULT_5XX", reason=f"Lambda refused: {error}") from error
        call.integration_status = 200
        return proxy_answer(call, result)

    async def _mapped(self, call: Call, integration: Integration) -> Answer:
        request = _request(call, integration)
        outcome, headers, body = await self._outcome(call, integration, request)
        response = _selected(integration.responses, outcome)
        return _response(call, response, headers, body)

    async def _outcome(
        self, call: Call, integration: Integration, request: Rendered
    ) -> tuple[str, Mapping[str, str], bytes]:
        """What responses are selected by, the integration's headers and body."""
        if integration.kind == "mock":
            return _mock_status(request.text), {}, b""
        if integration.kind == "lambda":
            return await self._function(call, integration, request)
        answer = await self._s3(call, integration, request)
        call.integration_status = answer.status_code
        return str(answer.status_code), answer.headers, answer.content

    async def _function(
        self, call: Call, integration: Integration, request: Rendered
    ) -> tuple[str, Mapping[str, str], bytes]:
        try:
            result = await self._invoke(integration.function_arn, json.loads(request.text or "{}"))
        except FunctionError as error:
            return error.message, {}, json.dumps({"errorMessage": error.message}).encode()
        except (InvocationRefused, ValueError) as error:
            raise GatewayError("DEFAULT_5XX", reason=f"Lambda refused: {error}") from error
        call.integration_status = 200
        return "", {}, json.dumps(result).encode()

    async def _s3(self, call: Call, integration: Integration, request: Rendered) -> httpx.Response:
        given = mapped(integration.parameters, call)
        values = {
            kind: {name: value for k, name, value in given if k == kind} for kind in request.request
        }
        path, query, headers = (
            {**values[kind], **request.request[kind]} for kind in ("path", "querystring", "header")
        )
        url = f"{self._endpoint}{s3_path(integration.path, path)}" + (
            f"?{urlencode(query)}" if query else ""
        )
        body = b"" if integration.http_method in BODILESS else request.text.encode()
        own = {
            "Accept": JSON,
            "User-Agent": f"AmazonAPIGateway_{call.spec.api_id}",
            "X-Amzn-Trace-Id": call.trace_id,
            "x-amzn-apigateway-api-id": call.spec.api_id,
        }
        signed = AWSRequest(
            integration.http_method, url, {**own, **{k: str(v) for k, v in headers.items()}}, body
        )
        credentials = Credentials(*self._credentials_for(integration.credentials))
        S3SigV4Auth(credentials, "s3", integration.region).add_auth(signed)
        try:
            return await self._http.request(
                integration.http_method,
                url,
                headers=dict(signed.headers.items()),
                content=body or None,
            )
        except httpx.HTTPError as error:
            raise GatewayError(
                "INTEGRATION_FAILURE", reason=f"{type(error).__name__}: {error}"
            ) from error


def s3_path(template: str, values: Mapping[str, object]) -> str:
    """The path with its variables filled in; nothing in a value can end the path or climb out of
    it.

    Slashes and valid percent escapes stay, `.` and `..` as whole segments are escaped: S3 takes
    them as they are, but clients on the way would resolve them.
    """
    filled = re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), template)
    escaped = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", filled)
    segments = quote(escaped, safe="/%~").split("/")
    return "/".join(
        segment.replace(".", "%2E") if segment in (".", "..") else segment for segment in segments
    )


def _request(call: Call, integration: Integration) -> Rendered:
    """The integration's request: by the template for the request's Content-Type, or passed through."""
    media = media_type(call.header("content-type")) or JSON
    template = integration.templates.get(media)
    if template is None:
        refused = integration.passthrough == "never" or (
            integration.passthrough == "when_no_templates" and integration.templates
        )
        if refused:
            raise GatewayError("UNSUPPORTED_MEDIA_TYPE")
        return Rendered(
            text=call.text,
            request={"header": {}, "path": {}, "querystring": {}},
            response={"header": {}},
        )
    try:
        return _rendered(template, call, call.text)
    except JsonBodyError as error:
        raise GatewayError(
            "BAD_REQUEST_BODY", "Could not parse request body into json", reason=str(error)
        ) from error


def _rendered(template: Template, call: Call, body: str) -> Rendered:
    return template.render(
        Input(body, call.parameters()), call.context(), call.spec.stage_variables
    )


def _mock_status(text: str) -> str:
    try:
        return str(int(json.loads(text)["statusCode"]))
    except (ValueError, KeyError, TypeError) as error:
        raise VtlError(
            f'a mock\'s request template renders {{"statusCode": 200}}, not {text[:80]!r}'
        ) from error


def _selected(responses: Sequence[IntegrationResponse], outcome: str) -> IntegrationResponse:
    chosen = next((r for r in responses if r.pattern and r.pattern.fullmatch(outcome)), None)
    chosen = chosen or next((r for r in responses if r.pattern is None), None)
    if chosen is None:
        raise VtlError(f"no response matches {outcome!r} and there is no default")
    return chosen


def _response(
    call: Call, response: IntegrationResponse, headers: Mapping[str, str], body: bytes
) -> Answer:
    media, template = _response_template(response.templates, call.header("accept"))
    text = body.decode("utf-8", "replace")
    rendered = _rendered(template, call, text) if template else None
    named = {name: value for _, name, value in mapped(response.parameters, call, headers.get, text)}
    override = rendered.response if rendered else {"header": {}}
    merged = _merged(
        {"Content-Type": media},
        named,
        {name: str(value) for name, value in override["header"].items()},
    )
    return Answer(
        status=_status(override.get("status", response.status)),
        headers=[*_remapped(merged.items()), ("X-Amzn-Trace-Id", call.trace_id)],
        body=rendered.text.encode() if rendered else body,
    )


def _response_template(
    templates: Mapping[str, Template], accept: str | None
) -> tuple[str, Template | None]:
    """By the Accept header, else JSON's, else the first; none passes the body through."""
    if not templates:
        return JSON, None
    media = next((m for m in (media_type(accept), JSON) if m in templates), next(iter(templates)))
    return media, templates[media]


def _status(status: object) -> int:
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise VtlError(
            f"$context.responseOverride.status is a number from 100 to 599, not {status!r}"
        )
    return status


def _merged(*maps: Mapping[str, str]) -> dict[str, str]:
    """Header maps as one, later ones first in rank, names compared without case."""
    merged = {name.lower(): (name, value) for headers in maps for name, value in headers.items()}
    return dict(merged.values())


def _remapped(headers: Any) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in headers if name.lower() != HOP_BY_HOP]
    return [
        (f"x-amzn-Remapped-{name}" if name.lower() in REMAPPED else name, value)
        for name, value in kept
    ]


def media_type(header: str | None) -> str:
    """The media type alone, in lower case; of several, the first."""
    return (header or "").split(",")[0].split(";")[0].strip().lower()


def _is_binary(call: Call, header: str | None) -> bool:
    media = media_type(header)
    return any(known in (media, "*/*") for known in call.spec.binary_media_types)


def proxy_event(call: Call) -> dict[str, Any]:
    """The event of a Lambda proxy integration, version 1.0."""
    headers = call.integration_headers()
    binary = _is_binary(call, call.header("content-type"))
    body = base64.b64encode(call.body).decode() if binary else call.text
    return {
        "resource": call.target.resource if call.target else None,
        "path": call.path,
        "httpMethod": call.method,
        "headers": dict(headers),
        "multiValueHeaders": _lists(headers),
        "queryStringParameters": dict(call.query) or None,
        "multiValueQueryStringParameters": _lists(call.query) or None,
        "pathParameters": call.path_parameters or None,
        "stageVariables": dict(call.spec.stage_variables) or None,
        "requestContext": call.context(),
        "body": body if call.body else None,
        "isBase64Encoded": bool(call.body) and binary,
    }


def _lists(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return lists


def proxy_answer(call: Call, result: Any) -> Answer:
    """A function's answer as an HTTP response; one of another format is 502, Internal server error."""
    problem = _malformed(result)
    if problem:
        raise GatewayError(
            "DEFAULT_5XX", status=502, reason=f"Malformed Lambda proxy response: {problem}"
        )
    single = {name: [value] for name, value in (result.get("headers") or {}).items()}
    many = single | (result.get("multiValueHeaders") or {})
    headers = [(name, _header_text(value)) for name, values in many.items() for value in values]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", JSON))
    return Answer(
        status=int(result.get("statusCode") or 200),
        headers=[*_remapped(headers), ("X-Amzn-Trace-Id", call.trace_id)],
        body=_proxy_body(call, result),
    )


def _malformed(result: Any) -> str:
    if not isinstance(result, dict):
        return f"it is {json.dumps(result)[:80]}, not a map"
    if unknown := set(result) - PROXY_KEYS:
        return f"key {min(unknown)!r} is none of {', '.join(sorted(PROXY_KEYS))}"
    if not re.fullmatch(r"[1-5]\d\d", str(result.get("statusCode") or 200)):
        return f"statusCode is {result['statusCode']!r}"
    if not isinstance(result.get("body"), (str, type(None))):
        return "body is not text"
    single, many = (
        {} if result.get(key) is None else result[key] for key in ("headers", "multiValueHeaders")
    )
    if not (
        isinstance(single, dict)
        and isinstance(many, dict)
        and all(isinstance(v, list) for v in many.values())
    ):
        return "headers is not a map of texts, or multiValueHeaders not one of lists"
    values = [
        *single.items(),
        *((name, value) for name, values in many.items() for value in values),
    ]
    wrong = next((name for name, value in values if not isinstance(value, (str, bool))), None)
    return f"header {wrong!r} is not text" if wrong else ""


def _header_text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _proxy_body(call: Call, result: Mapping[str, Any]) -> bytes:
    body = (result.get("body") or "").encode()
    if not (result.get("isBase64Encoded") and _is_binary(call, call.header("accept"))):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise GatewayError(
            "API_CONFIGURATION_ERROR", reason=f"isBase64Encoded, but: {error}"
        ) from error
