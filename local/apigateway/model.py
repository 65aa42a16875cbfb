"""The parts of a REST API as the gateway serves them, and what can go wrong with a call."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.apigateway.templates import Template

PASSTHROUGH = ("when_no_match", "when_no_templates", "never")
MAX_TIMEOUT_MS, MIN_TIMEOUT_MS = 29_000, 50

# Type of gateway response: status ("Gateway response types" of the developer guide), message,
# x-amzn-ErrorType.
GATEWAY_RESPONSES: dict[str, tuple[int, str | None, str]] = {
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
    "INVALID_API_KEY": (403, "Forbidden", "ForbiddenException"),
    "QUOTA_EXCEEDED": (429, "Limit Exceeded", "LimitExceededException"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long", "RequestTooLargeException"),
    "THROTTLED": (429, "Too Many Requests", "TooManyRequestsException"),
    "UNAUTHORIZED": (401, "Unauthorized", "UnauthorizedException"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type", "UnsupportedMediaTypeException"),
}


class SpecError(ValueError):
    """An API that API Gateway would not import, or that is not served here; names the place, the
    value and the fix.
    """


class GatewayError(Exception):
    """API Gateway answers by itself: with the gateway response of this type, logged with this
    reason.
    """

    def __init__(
        self, kind: str, message: str | None = None, *, status: int | None = None, reason: str = ""
    ) -> None:
        self.natural_status, text, self.error_type = GATEWAY_RESPONSES[kind]
        self.kind, self.message = kind, message or text
        self.status = status or self.natural_status
        super().__init__(reason or self.message or kind)


class FrontEndError(Exception):
    """API Gateway's front end refuses a request before it reaches the API: no gateway response
    applies.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class FunctionError(Exception):
    """A function ran and failed: it raised, ended or ran out of time.

    `message` is its errorMessage.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvocationRefused(Exception):
    """Lambda itself refused to run the function (throttled, unknown), with this HTTP status."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


# `invoke(function ARN, event)` returns what the function returned, or raises FunctionError or
# InvocationRefused.
Invoke = Callable[[str, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Authorizer:
    """A Lambda TOKEN authorizer; `header` in lower case, `ttl_s` 0 without a cache."""

    name: str
    header: str
    function_arn: str
    ttl_s: int
    validation: re.Pattern[str] | None


@dataclass(frozen=True, kw_only=True)
class ParameterMapping:
    """`kind` is path, querystring or header; `source` is a mapping expression."""

    kind: str
    name: str
    source: str


@dataclass(frozen=True, kw_only=True)
class IntegrationResponse:
    """What an integration's answer becomes; `pattern` None is the default."""

    pattern: re.Pattern[str] | None
    status: int
    parameters: Sequence[ParameterMapping]
    templates: Mapping[str, Template]


@dataclass(frozen=True, kw_only=True)
class Integration:
    """`kind` is mock, aws_proxy or s3; a `function_arn` for the Lambda proxy, region and `path` for
    S3.
    """

    kind: str
    http_method: str = "POST"
    function_arn: str = ""
    region: str = ""
    path: str = ""
    credentials: str = ""
    timeout_s: float = MAX_TIMEOUT_MS / 1000
    passthrough: str = PASSTHROUGH[0]
    parameters: Sequence[ParameterMapping] = ()
    templates: Mapping[str, Template] = field(default_factory=dict)
    responses: Sequence[IntegrationResponse] = ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of one resource; `required` has (kind, name) of the parameters that the validator
    demands, `needs_key` says whether it takes an API key.
    """

    http_method: str
    resource: str
    operation: str | None
    authorizer: Authorizer | None
    required: Sequence[tuple[str, str]]
    integration: Integration
    needs_key: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A usage plan: what each of its keys may have a second, at once, and in a day; None without a
    limit.
    """

    throttle: tuple[float, int] | None
    per_day: int | None


@dataclass(frozen=True, kw_only=True)
class GatewayResponse:
    """What API Gateway answers by itself; `status` None keeps the error's own."""

    status: int | None
    parameters: Sequence[ParameterMapping]
    templates: Mapping[str, str]
