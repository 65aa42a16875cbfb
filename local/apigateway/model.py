"""The parts of a REST API as the gateway serves them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from local.apigateway.templates import Template

PASSTHROUGH = ("when_no_match", "when_no_templates", "never")
MAX_TIMEOUT_MS, MIN_TIMEOUT_MS = 29_000, 50


class SpecError(ValueError):
    """An API that API Gateway would not import, or that is not served here; names the place, the
    value and the fix.
    """


@dataclass(frozen=True, kw_only=True)
class Authorizer:
    """A Lambda TOKEN authorizer; `header` in lower case, `ttl_s` 0 without a cache."""

    name: str
    header: str
    function_arn: str
    ttl_s: int
    validation: re.Pattern[str] | None


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """One parameter mapping: `kind` is path, querystring or header; `source` is a mapping
    expression.
    """

    kind: str
    name: str
    source: str


@dataclass(frozen=True, kw_only=True)
class IntegrationResponse:
    """What an integration's answer becomes; `pattern` None is the default."""

    pattern: re.Pattern[str] | None
    status: int
    parameters: Sequence[Mapped]
    templates: Mapping[str, Template]


@dataclass(frozen=True, kw_only=True)
class Integration:
    """`kind` is mock, aws_proxy, lambda or s3; a `function_arn` for the Lambda kinds, region and
    `path` for S3.
    """

    kind: str
    http_method: str = "POST"
    function_arn: str = ""
    region: str = ""
    path: str = ""
    credentials: str = ""
    timeout_s: float = MAX_TIMEOUT_MS / 1000
    passthrough: str = PASSTHROUGH[0]
    parameters: Sequence[Mapped] = ()
    templates: Mapping[str, Template] = field(default_factory=dict)
    responses: Sequence[IntegrationResponse] = ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of one resource; `required` has (kind, name) of the parameters that the validator
    demands.
    """

    route: str
    resource: str
    operation: str | None
    authorizer: Authorizer | None
    required: Sequence[tuple[str, str]]
    integration: Integration


@dataclass(frozen=True, kw_only=True)
class GatewayResponse:
    """What API Gateway answers by itself; `status` None keeps the error's own."""

    status: int | None
    parameters: Sequence[Mapped]
    templates: Mapping[str, str]
