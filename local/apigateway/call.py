"""One call of the API: the request, what the gateway learns about it, and `$context`."""

import base64
import re
import secrets
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from local.apigateway.model import Mapped, Method
from local.apigateway.spec import GatewaySpec
from local.apigateway.template_values import json_part

# Never reach an integration (important notes for REST APIs, as LocalStack's header_utils.py
# observed them).
DROPPED = frozenset(
    {
        "connection",
        "content-length",
        "content-md5",
        "expect",
        "max-forwards",
        "proxy-authenticate",
        "server",
        "te",
        "transfer-encoding",
        "trailer",
        "upgrade",
        "www-authenticate",
    }
)
# Names come in lower case, as from an HTTP/2 client; these API Gateway capitalises in any case.
CAPITALISED = {"authorization": "Authorization", "host": "Host", "user-agent": "User-Agent"}

TRACE_ID = re.compile(
    r"(?:\w+=[\w.:|-]+;)*Root=1-[0-9a-f]{8}-[0-9a-f]{24}(?:;\w+=[\w.:|-]+)*", re.ASCII
)

# Kind of gateway response: status ("Gateway response types" of the developer guide), message,
# x-amzn-ErrorType.
ERRORS = {
    "ACCESS_DENIED": (
        403,
        "User is not authorized to access this resource",
        "AccessDeniedException",
    ),
    "API_CONFIGURATION_ERROR": (500, "Internal server error", "InternalServerErrorException"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, None, "AuthorizerConfigurationException"),
    "AUTHORIZER_FAILURE": (500, None, "AuthorizerFailureException"),
    "BAD_REQUEST_BODY": (400, "Invalid request body", "BadRequestException"),
    "BAD_REQUEST_PARAMETERS": (400, "Invalid request parameters", "BadRequestException"),
    "DEFAULT_4XX": (400, "Bad request", "BadRequestException"),
    "DEFAULT_5XX": (500, "Internal server error", "InternalServerErrorException"),
    "INTEGRATION_FAILURE": (
        504,
        "Network error communicating with endpoint",
        "IntegrationFailureException",
    ),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out", "IntegrationTimeoutException"),
    "MISSING_AUTHENTICATION_TOKEN": (
        403,
        "Missing Authentication Token",
        "MissingAuthenticationTokenException",
    ),
    "REQUEST_TOO_LARGE": (413, "Request Too Long", "RequestTooLargeException"),
    "THROTTLED": (429, "Too Many Requests", "TooManyRequestsException"),
    "UNAUTHORIZED": (401, "Unauthorized", "UnauthorizedException"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type", "UnsupportedMediaTypeException"),
}


class GatewayError(Exception):
    """API Gateway answers by itself: with the gateway response of this kind, logged with this
    reason.
    """

    def __init__(
        self, kind: str, message: str | None = None, *, status: int | None = None, reason: str = ""
    ) -> None:
        natural, text, self.error_type = ERRORS[kind]
        self.kind, self.message, self.status = kind, message or text, status or natural
        super().__init__(reason or self.message or kind)


@dataclass(kw_only=True)
class Answer:
    """A response: header names as the client shall see them."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass(kw_only=True)
class Call:
    """One request; `path` is raw (percent-encoded, nothing normalised) and begins after the stage."""

    spec: GatewaySpec
    method: str
    raw_path: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    source_ip: str
    protocol: str
    body: bytes = b""
    started: float = field(default_factory=time.perf_counter)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    extended_id: str = field(
        default_factory=lambda: base64.b64encode(secrets.token_bytes(11)).decode()
    )
    target: Method | None = None
    path_parameters: dict[str, str] = field(default_factory=dict)
    authorizer: dict[str, Any] | None = None
    error: GatewayError | None = None
    integration_ms: int | None = None
    integration_status: int | None = None

    @classmethod
    def from_scope(
        cls, spec: GatewaySpec, scope: Mapping[str, Any], source_ip: str | None
    ) -> "Call":
        """From an ASGI scope; `source_ip` replaces the peer's own address."""
        raw_path = scope["raw_path"].decode("latin-1")
        stage, _, path = raw_path.removeprefix("/").partition("/")
        return cls(
            spec=spec,
            method=scope["method"],
            raw_path=raw_path,
            path=f"/{path}" if stage == spec.stage else "",
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            ],
            source_ip=source_ip or (scope.get("client") or ("127.0.0.1", 0))[0],
            protocol=f"HTTP/{scope.get('http_version', '1.1')}",
        )

    def header(self, name: str) -> str | None:
        """The last value of a header, whatever its case."""
        return next(
            (value for key, value in reversed(self.headers) if key.lower() == name.lower()), None
        )

    def parameter(self, kind: str, name: str) -> str | None:
        """A request parameter of kind path, querystring or header."""
        if kind == "header":
            return self.header(name)
        return (self.path_parameters if kind == "path" else dict(self.query)).get(name)

    @property
    def trace_id(self) -> str:
        """The client's X-Ray id, or one of this request's own when it sent none, or something else."""
        own = f"Root=1-{int(self.time.timestamp()):08x}-{self.request_id.replace('-', '')[:24]}"
        given = self.header("x-amzn-trace-id") or ""
        return given if TRACE_ID.fullmatch(given) else own

    @property
    def arn(self) -> str:
        """The method's ARN, with the path as the client sent it; trailing slashes do not count."""
        return f"{self.spec.api_arn}/{self.spec.stage}/{self.method}/{self.path.strip('/')}"

    @property
    def text(self) -> str:
        """The body as text, as templates see it."""
        return self.body.decode("utf-8", "replace")

    def integration_headers(self) -> list[tuple[str, str]]:
        """The headers that integrations get to see, with those that API Gateway adds."""
        kept = [
            (CAPITALISED.get(name, name), value)
            for name, value in self.headers
            if name not in DROPPED
        ]
        own = {"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"}
        forwarded = ", ".join(filter(None, [self.header("x-forwarded-for"), self.source_ip]))
        return [
            *((name, value) for name, value in kept if name not in own),
            ("X-Amzn-Trace-Id", self.trace_id),
            ("X-Forwarded-For", forwarded),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ]

    def parameters(self) -> dict[str, dict[str, str]]:
        """All parameters by kind, as `$input.params()` has them; of several values, the last."""
        headers = dict(self.integration_headers())
        return {"path": self.path_parameters, "querystring": dict(self.query), "header": headers}

    def context(self) -> dict[str, Any]:
        """`$context`, which is also a proxy event's requestContext."""
        host = self.header("host") or ""
        known = {
            "accountId": self.spec.account,
            "apiId": self.spec.api_id,
            "deploymentId": "local",
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "extendedRequestId": self.extended_id,
            "httpMethod": self.method,
            "identity": self._identity(),
            "path": self.raw_path,
            "protocol": self.protocol,
            "requestId": self.request_id,
            "requestTime": self.time.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(self.time.timestamp() * 1000),
            "stage": self.spec.stage,
        }
        if self.target:
            known |= {
                "resourceId": f"{zlib.crc32(self.target.resource.encode()):08x}",
                "resourcePath": self.target.resource,
            }
            known |= {"operationName": self.target.operation} if self.target.operation else {}
        return known if self.authorizer is None else {**known, "authorizer": self.authorizer}

    def _identity(self) -> dict[str, str | None]:
        unused = (
            "accessKey",
            "accountId",
            "caller",
            "cognitoAuthenticationProvider",
            "cognitoAuthenticationType",
        )
        unused += (
            "cognitoIdentityId",
            "cognitoIdentityPoolId",
            "principalOrgId",
            "user",
            "userArn",
        )
        return {
            **dict.fromkeys(unused),
            "sourceIp": self.source_ip,
            "userAgent": self.header("user-agent"),
        }


def mapped(
    parameters: Sequence[Mapped],
    call: Call,
    integration: Callable[[str], str | None] = lambda name: None,
    body: str = "",
) -> list[tuple[str, str, str]]:
    """(kind, name, value) of every parameter mapping that has a value; `integration` gives its
    response headers.
    """
    values = (
        (parameter, _source(parameter.source, call, integration, body)) for parameter in parameters
    )
    return [
        (parameter.kind, parameter.name, value) for parameter, value in values if value is not None
    ]


def _source(
    source: str, call: Call, integration: Callable[[str], str | None], body: str
) -> str | None:
    if source.startswith("'"):
        return source[1:-1]
    scope, _, rest = source.partition(".")
    if scope == "stageVariables":
        return call.spec.stage_variables.get(rest)
    if scope == "context":
        return at(call.context(), rest)
    if scope == "integration":
        if rest.startswith("response.header."):
            return integration(rest.removeprefix("response.header."))
        path = rest.removeprefix("response.body")
        return json_part(body, f"${path}") if path else body
    kind, _, name = rest.removeprefix("request.").partition(".")
    return call.text if kind == "body" else call.parameter(kind, name)


def at(tree: Mapping[str, Any], path: str) -> str | None:
    """The value at a dotted path, as text."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None or isinstance(value, Mapping) else str(value)


def ms(since: float) -> int:
    """Whole milliseconds since a reading of time.perf_counter()."""
    return round((time.perf_counter() - since) * 1000)
