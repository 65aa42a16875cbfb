"""The local API Gateway: an ASGI app that serves a recorded REST API with API Gateway's own
semantics.

The order is AWS's: limits, route, throttle, explicit denials of the resource policy, authorizer,
both policies together (developer guide, "apigateway-authorization-flow", table A), required
parameters, integration.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import httpx

from local.apigateway.authorizer import Authorizers
from local.apigateway.call import ERRORS, Answer, Call, GatewayError, at, mapped, ms
from local.apigateway.integrations import (
    CredentialsFor,
    FunctionError,
    Integrations,
    InvocationRefused,
    Invoke,
)
from local.apigateway.model import GatewayResponse, Method
from local.apigateway.spec import GatewaySpec
from local.iam.policy import Effect

__all__ = ["FunctionError", "Gateway", "GatewaySpec", "InvocationRefused"]

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_HEADER_BYTES = 10_240
MAX_ARN_BYTES = 1_600
DEFAULT_TEMPLATES = {"application/json": '{"message":$context.error.messageString}'}

_log = logging.getLogger(__name__)
_VARIABLE = re.compile(r"\$(?:context((?:\.\w+)+)|stageVariables\.(\w+))")
_HEADER_NAME, _HEADER_VALUE = (
    re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII),
    re.compile(r"[\t\x20-\x7e\x80-\xff]*"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Bucket:
    """A token bucket: `rate` per second, at most `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst, self._level, self._at = rate, burst, float(burst), time.monotonic()

    def take(self) -> bool:
        """Whether there was a token."""
        now = time.monotonic()
        self._level, self._at = min(self._burst, self._level + (now - self._at) * self._rate), now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class Gateway:
    """Serves one REST API; `app` is for the listener of the world, `inside_vpc` for one within the
    VPC.

    `invoke(function ARN, event)` returns what the function returned, or raises FunctionError or
    InvocationRefused. `credentials_for(role ARN)` gives the (access key id, secret) with which
    requests to `aws_endpoint` are signed; `access_log` gets one line for each request. `transport`
    replaces the network towards `aws_endpoint`.
    """

    def __init__(
        self,
        spec: GatewaySpec,
        *,
        invoke: Invoke,
        aws_endpoint: str,
        credentials_for: CredentialsFor,
        access_log: Callable[[str], None],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._spec = spec
        self._access_log = access_log
        self._http = httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)
        self._integrations = Integrations(invoke, aws_endpoint, credentials_for, self._http)
        self._routes = sorted(map(_Route, spec.resources), key=lambda route: route.rank)
        self._authorizers = Authorizers(invoke)
        self._buckets: dict[str, _Bucket | None] = {}
        self.app = self._app(None)

    def inside_vpc(self, source_ip: str) -> App:
        """The same API for callers within the VPC: they come from this address, whatever their
        connection's is.
        """
        return self._app(source_ip)

    async def aclose(self) -> None:
        """Closes the connections to AWS's endpoint."""
        await self._http.aclose()

    def _app(self, source_ip: str | None) -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                raise RuntimeError(f"the gateway serves HTTP, not {scope['type']}")
            call = Call.from_scope(self._spec, scope, source_ip)
            answer = await self._answer(call, receive)
            headers = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send(
                {
                    "type": "http.response.body",
                    "body": b"" if call.method == "HEAD" else answer.body,
                }
            )
            self._log_access(call, answer)

        return app

    async def _answer(self, call: Call, receive: Receive) -> Answer:
        try:
            answer = _sendable(await self._handled(call, receive))
        except GatewayError as error:
            answer = self._refused(call, error)
        except Exception:
            _log.exception("%s %s", call.method, call.path)
            answer = self._refused(call, GatewayError("DEFAULT_5XX"))
        ids = [("x-amzn-RequestId", call.request_id), ("x-amz-apigw-id", call.extended_id)]
        if answer.status in (204, 304):
            answer.body = b""
        else:
            ids.append(("Content-Length", str(len(answer.body))))
        answer.headers = [*ids, *answer.headers]
        return answer

    async def _handled(self, call: Call, receive: Receive) -> Answer:
        if sum(len(name) + len(value) for name, value in call.headers) > MAX_HEADER_BYTES:
            return _plain(431, "Request Header Fields Too Large")
        call.body = await _body(call, receive)
        if not call.path:
            return _plain(403, "Forbidden")
        method = self._route(call)
        self._throttle(call, method)
        await self._authorize(call, method)
        _check_parameters(call, method)
        return await self._integrated(call, method)

    def _route(self, call: Call) -> Method:
        segments = call.path.rstrip("/").split("/")[
            1:
        ]  # trailing slashes do not count, nothing else is normalised
        for route in self._routes:
            if (found := route.match(segments)) is not None:
                methods = self._spec.resources[route.template]
                if method := methods.get(call.method) or methods.get("ANY"):
                    call.target, call.path_parameters = method, found
                    return method
        raise GatewayError("MISSING_AUTHENTICATION_TOKEN")

    def _throttle(self, call: Call, method: Method) -> None:
        """Each method has a bucket of its own, with the stage's settings when it has none ("*/*")."""
        key = f"{method.resource.strip('/')}/{call.method}"
        if key not in self._buckets:
            settings = self._spec.throttles.get(key) or self._spec.throttles.get("*/*")
            self._buckets[key] = _Bucket(*settings) if settings else None
        bucket = self._buckets[key]
        if bucket and not bucket.take():
            raise GatewayError("THROTTLED")

    async def _authorize(self, call: Call, method: Method) -> None:
        if (method.authorizer or self._spec.policy) and len(call.arn.encode()) > MAX_ARN_BYTES:
            raise GatewayError("DEFAULT_4XX", "Request URI too long", status=414)
        request = {"aws:sourceip": call.source_ip, "aws:useragent": call.header("user-agent") or ""}
        resource = self._spec.policy.effect(call.arn, request) if self._spec.policy else None
        if resource == "Deny":
            raise GatewayError(
                "ACCESS_DENIED", _denied(call, "explicit deny in a resource-based policy")
            )
        if method.authorizer is None:
            if self._spec.policy and resource != "Allow":
                raise GatewayError(
                    "ACCESS_DENIED", _denied(call, "no allow in a resource-based policy")
                )
            return
        grant = await self._authorizers.grant(call, method.authorizer)
        _check_table_a(grant.policy.effect(call.arn, request), resource)

    async def _integrated(self, call: Call, method: Method) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(method.integration.timeout_s):
                return await self._integrations.run(call, method.integration)
        except TimeoutError as error:
            raise GatewayError("INTEGRATION_TIMEOUT") from error
        finally:
            if method.integration.kind != "mock":
                call.integration_ms = ms(began)

    def _refused(self, call: Call, error: GatewayError) -> Answer:
        """The gateway response for an error: its own, else the default one of its class, else API
        Gateway's.
        """
        call.error = error
        if error.status >= 500:
            _log.warning("%s %s: %s: %s", call.method, call.path, error.kind, error)
        natural = ERRORS[error.kind][0]
        fallback = "DEFAULT_5XX" if natural >= 500 else "DEFAULT_4XX"
        responses = self._spec.gateway_responses
        default = GatewayResponse(status=None, parameters=(), templates={})
        response = responses.get(error.kind) or responses.get(fallback) or default
        templates = response.templates or DEFAULT_TEMPLATES
        media = next((m for m in ("application/json",) if m in templates), next(iter(templates)))
        headers = {"Content-Type": media, "x-amzn-ErrorType": error.error_type}
        headers |= {name: value for _, name, value in mapped(response.parameters, call)}
        body = _filled(
            templates[media],
            {**call.context(), "error": _error_context(error)},
            self._spec.stage_variables,
        )
        return Answer(
            status=response.status or error.status,
            headers=list(headers.items()),
            body=body.encode(),
        )

    def _log_access(self, call: Call, answer: Answer) -> None:
        if self._spec.access_log is None:
            return
        context = call.context() | {
            "status": answer.status,
            "responseLength": len(answer.body),
            "responseLatency": ms(call.started),
            "integrationLatency": call.integration_ms,
            "integrationStatus": call.integration_status,
            "error": _error_context(call.error) if call.error else {},
        }
        self._access_log(
            _VARIABLE.sub(lambda found: _logged(found, context), self._spec.access_log)
        )


class _Route:
    """A path template, ranked: fixed segments before parameters, parameters before a greedy one."""

    def __init__(self, template: str) -> None:
        self.template = template
        self._segments = template.rstrip("/").split("/")[1:]
        self.rank = [
            (2 if s.endswith("+}") else 1 if s.startswith("{") else 0, s) for s in self._segments
        ]

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The raw values of its parameters, None if it is another path; a parameter is never empty."""
        greedy = bool(self._segments) and self._segments[-1].endswith("+}")
        if greedy and len(segments) > len(self._segments):
            cut = len(self._segments) - 1
            segments = [*segments[:cut], "/".join(segments[cut:])]
        if len(segments) != len(self._segments):
            return None
        found: dict[str, str] = {}
        for own, given in zip(self._segments, segments, strict=True):
            if own.startswith("{") and given:
                found[own.strip("{+}")] = given
            elif own != given:
                return None
        return found


async def _body(call: Call, receive: Receive) -> bytes:
    length = call.header("content-length") or "0"
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise GatewayError("REQUEST_TOO_LARGE")
    chunks, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GatewayError("DEFAULT_4XX", reason="the client left in the middle of its request")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise GatewayError("REQUEST_TOO_LARGE")
        more = message.get("more_body", False)
    return b"".join(chunks)


def _check_parameters(call: Call, method: Method) -> None:
    missing = [name for kind, name in method.required if not call.parameter(kind, name)]
    if missing:
        raise GatewayError(
            "BAD_REQUEST_PARAMETERS", f"Missing required request parameters: [{', '.join(missing)}]"
        )


def _check_table_a(caller: Effect | None, resource: Effect | None) -> None:
    """Table A: an explicit deny wins; else one allow is enough, of the authorizer or of the
    resource policy.
    """
    if caller == "Deny":
        raise GatewayError(
            "ACCESS_DENIED", "User is not authorized to access this resource with an explicit deny"
        )
    if "Allow" not in (caller, resource):
        raise GatewayError("ACCESS_DENIED")


def _denied(call: Call, why: str) -> str:
    return f"User: anonymous is not authorized to perform: execute-api:Invoke on resource: {call.arn} ({why})"


def _plain(status: int, message: str) -> Answer:
    """What API Gateway's front end answers: no gateway response applies."""
    return Answer(
        status=status,
        headers=[("Content-Type", "application/json")],
        body=f'{{"message":"{message}"}}'.encode(),
    )


def _sendable(answer: Answer) -> Answer:
    for name, value in answer.headers:
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise GatewayError(
                "DEFAULT_5XX", status=502, reason=f"header {name!r}: {value!r} cannot be sent"
            )
    return answer


def _error_context(error: GatewayError) -> dict[str, str]:
    quoted = "null" if error.message is None else f'"{_json_text(error.message)}"'
    return {"message": error.message or "", "messageString": quoted, "responseType": error.kind}


def _json_text(text: str) -> str:
    return json.dumps(text)[1:-1]


def _filled(template: str, context: Mapping[str, Any], stage_variables: Mapping[str, str]) -> str:
    """A gateway response's template: simple substitution, no Velocity."""

    def value(found: re.Match[str]) -> str:
        return (stage_variables.get(found[2]) if found[2] else at(context, found[1][1:])) or ""

    return _VARIABLE.sub(value, template)


def _logged(found: re.Match[str], context: Mapping[str, Any]) -> str:
    value = at(context, found[1][1:]) if found[1] else None
    return _json_text(value) if value else "-"
