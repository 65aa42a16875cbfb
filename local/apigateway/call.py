"""One call of the API: the request, what the gateway learns about it, and `$context`."""

import base64
import re
import secrets
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from local.apigateway.model import GatewayError, Method, ParameterMapping
from local.apigateway.spec import GatewaySpec

# Never reach an integration (important notes for REST APIs, as LocalStack's header_utils.py
# observed them).
DROPPED = frozenset(
    [
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
    ]
)
# Those of the client are replaced by the gateway's own.
REPLACED = {"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"}
NOT_PASSED = DROPPED | REPLACED
# Names come in lower case, as from an HTTP/2 client; these API Gateway capitalises in any case.
CAPITALISED = {"authorization": "Authorization", "host": "Host", "user-agent": "User-Agent"}
# Of requests that AWS signed or Cognito authenticated, which this gateway has none of: null.
UNKNOWN_IDENTITY = [
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "user",
    "userArn",
]

TRACE_ID = re.compile(
    r"(?:\w+=[\w.:|-]+;)*Root=1-[0-9a-f]{8}-[0-9a-f]{24}(?:;\w+=[\w.:|-]+)*", re.ASCII
)


@dataclass(kw_only=True)
class Response:
    """A response: header names as the client shall see them."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass(kw_only=True)
class ApiCall:
    """One request; `path` is raw (percent-encoded, nothing normalised) and begins after the stage:
    it is empty for another one.
    """

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
    api_key: str = ""
    error: GatewayError | None = None
    integration_ms: int | None = None
    integration_status: int | None = None

    @classmethod
    def from_scope(
        cls, spec: GatewaySpec, scope: Mapping[str, Any], source_ip: str | None
    ) -> "ApiCall":
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
        """The client's X-Ray id, or one of this request's own when it sent none or something
        else.
        """
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
            if name not in NOT_PASSED
        ]
        forwarded = ", ".join(filter(None, [self.header("x-forwarded-for"), self.source_ip]))
        return [
            *kept,
            ("X-Amzn-Trace-Id", self.trace_id),
            ("X-Forwarded-For", forwarded),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ]

    def parameters(self) -> dict[str, dict[str, str]]:
        """All parameters by kind, as `$input.params()` has them; of several values, the last."""
        headers = dict(self.integration_headers())
        return {"path": self.path_parameters, "querystring": dict(self.query), "header": headers}

    @property
    def policy_context(self) -> dict[str, str]:
        """The condition keys by which policies judge the call."""
        return {"aws:sourceip": self.source_ip, "aws:useragent": self.header("user-agent") or ""}

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
            **self._resource(),
        }
        return known if self.authorizer is None else {**known, "authorizer": self.authorizer}

    def _resource(self) -> dict[str, str]:
        if self.target is None:
            return {}
        resource, operation = self.target.resource, self.target.operation
        known = {"resourceId": f"{zlib.crc32(resource.encode()):08x}", "resourcePath": resource}
        return {**known, "operationName": operation} if operation else known

    def _identity(self) -> dict[str, str | None]:
        known = {"sourceIp": self.source_ip, "userAgent": self.header("user-agent")}
        return dict.fromkeys(UNKNOWN_IDENTITY) | known

    def mapped(
        self,
        mappings: Iterable[ParameterMapping],
        integration_headers: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[ParameterMapping, str]]:
        """Every parameter mapping that has a value, with it; `integration_headers` are those of the
        integration's response.
        """
        for mapping in mappings:
            value = self._value(mapping.source, integration_headers or {})
            if value is not None:
                yield mapping, value

    def _value(self, source: str, integration_headers: Mapping[str, str]) -> str | None:
        """The value of a mapping expression; `openapi.py` admits these forms only."""
        if source.startswith("'"):
            return source[1:-1]
        scope, _, rest = source.partition(".")
        if scope == "context":
            return at(self.context(), rest)
        if scope == "integration":
            return integration_headers.get(rest.removeprefix("response.header."))
        kind, _, name = rest.removeprefix("request.").partition(".")
        return self.parameter(kind, name)


def at(tree: Mapping[str, Any], path: str) -> str | None:
    """The value at a dotted path, as text."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None or isinstance(value, Mapping) else str(value)


def ms(since: float) -> int:
    """Whole milliseconds since a reading of time.perf_counter()."""
    return round((time.perf_counter() - since) * 1000)
