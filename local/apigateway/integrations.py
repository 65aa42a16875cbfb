"""What stands behind a method: a function, a mock, or S3 read under a role of its own.

Mock and S3 integrations have a request template, and responses that are selected by the status.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.apigateway import proxy
from local.apigateway.call import ApiCall, Response, ms
from local.apigateway.model import (
    GatewayError,
    Integration,
    IntegrationResponse,
    Invoke,
    Method,
)
from local.apigateway.responses import JSON, integration_response
from local.apigateway.template_values import Input, JsonBodyError, VtlError
from local.apigateway.templates import Rendered, Template

BODILESS = {"GET", "HEAD", "OPTIONS", "DELETE"}

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

    async def run(self, call: ApiCall, method: Method) -> Response:
        """The method's response. Raises GatewayError for what API Gateway answers by itself."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(method.integration.timeout_s):
                return await self._run(call, method.integration)
        except TimeoutError as error:
            raise GatewayError("INTEGRATION_TIMEOUT") from error
        except VtlError as error:
            raise GatewayError("API_CONFIGURATION_ERROR", reason=str(error)) from error
        finally:
            if method.integration.kind != "mock":
                call.integration_ms = ms(began)

    async def _run(self, call: ApiCall, integration: Integration) -> Response:
        if integration.kind == "aws_proxy":
            return await proxy.run(call, integration, self._invoke)
        request = _request(call, integration)
        if integration.kind == "mock":
            return _response(call, integration, _mock_status(request.text), {}, b"")
        answer = await self._read_s3(call, integration, request)
        call.integration_status = answer.status_code
        status = str(answer.status_code)
        return _response(call, integration, status, answer.headers, answer.content)

    async def _read_s3(
        self, call: ApiCall, integration: Integration, request: Rendered
    ) -> httpx.Response:
        values = {kind: dict[str, object]() for kind in ("path", "querystring", "header")}
        for mapping, value in call.mapped(integration.parameters):
            values[mapping.kind][mapping.name] = value
        for kind, overrides in request.request.items():
            values[kind] |= overrides
        query = f"?{urlencode(values['querystring'])}" if values["querystring"] else ""
        url = f"{self._endpoint}{s3_path(integration.path, values['path'])}{query}"
        headers = {name: str(value) for name, value in values["header"].items()}
        return await self._send(call, integration, url, headers, request.text)

    async def _send(
        self, call: ApiCall, integration: Integration, url: str, headers: dict[str, str], text: str
    ) -> httpx.Response:
        """A request signed with the credentials of the integration's role."""
        own = {
            "Accept": JSON,
            "User-Agent": f"AmazonAPIGateway_{call.spec.api_id}",
            "X-Amzn-Trace-Id": call.trace_id,
            "x-amzn-apigateway-api-id": call.spec.api_id,
        }
        method = integration.http_method
        body = b"" if method in BODILESS else text.encode()
        signed = AWSRequest(method, url, {**own, **headers}, body)
        credentials = Credentials(*self._credentials_for(integration.credentials))
        S3SigV4Auth(credentials, "s3", integration.region).add_auth(signed)
        signed_headers = dict(signed.headers.items())
        try:
            return await self._http.request(
                method, url, headers=signed_headers, content=body or None
            )
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
            raise GatewayError("INTEGRATION_FAILURE", reason=reason) from error


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


def _request(call: ApiCall, integration: Integration) -> Rendered:
    """The integration's request: by the template for the request's Content-Type, or passed
    through.
    """
    template = integration.templates.get(media_type(call.header("content-type")) or JSON)
    if template is None:
        behavior = integration.passthrough
        if behavior == "never" or (behavior == "when_no_templates" and integration.templates):
            raise GatewayError("UNSUPPORTED_MEDIA_TYPE")
        return Rendered(text=call.text, request={}, response={})
    try:
        return _rendered(template, call, call.text)
    except JsonBodyError as error:
        raise GatewayError(
            "BAD_REQUEST_BODY", "Could not parse request body into json", reason=str(error)
        ) from error


def _rendered(template: Template, call: ApiCall, body: str) -> Rendered:
    return template.render(Input(body, call.parameters()), call.context())


def _mock_status(text: str) -> str:
    try:
        return str(int(json.loads(text)["statusCode"]))
    except (ValueError, KeyError, TypeError) as error:
        raise VtlError(
            f'a mock\'s request template renders {{"statusCode": 200}}, not {text[:80]!r}'
        ) from error


def _response(
    call: ApiCall, integration: Integration, status: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """The method's response: selected by the integration's status, made by its template."""
    selected = _selected(integration.responses, status)
    media, template = _response_template(selected.templates, call.header("accept"))
    mapped = {m.name: value for m, value in call.mapped(selected.parameters, headers)}
    overrides = {}
    if template:
        rendered = _rendered(template, call, body.decode("utf-8", "replace"))
        body, overrides = rendered.text.encode(), rendered.response
    ridden = {name: str(value) for name, value in overrides.get("header", {}).items()}
    merged = _merged({"Content-Type": media}, mapped, ridden)
    final_status = _checked_status(overrides.get("status", selected.status))
    return integration_response(call, final_status, merged.items(), body)


def _selected(responses: Sequence[IntegrationResponse], status: str) -> IntegrationResponse:
    chosen = next((r for r in responses if r.pattern and r.pattern.fullmatch(status)), None)
    chosen = chosen or next((r for r in responses if r.pattern is None), None)
    if chosen is None:
        raise VtlError(f"no response matches {status!r} and there is no default")
    return chosen


def _response_template(
    templates: Mapping[str, Template], accept: str | None
) -> tuple[str, Template | None]:
    """By the Accept header, else JSON's, else the first; none passes the body through."""
    if not templates:
        return JSON, None
    media = next((m for m in (media_type(accept), JSON) if m in templates), next(iter(templates)))
    return media, templates[media]


def _checked_status(status: object) -> int:
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise VtlError(
            f"$context.responseOverride.status is a number from 100 to 599, not {status!r}"
        )
    return status


def _merged(*maps: Mapping[str, str]) -> dict[str, str]:
    """Header maps as one, later ones first in rank, names compared without case."""
    merged = {name.lower(): (name, value) for headers in maps for name, value in headers.items()}
    return dict(merged.values())


def media_type(header: str | None) -> str:
    """The media type alone, in lower case; of several, the first."""
    return (header or "").split(",")[0].split(";")[0].strip().lower()
