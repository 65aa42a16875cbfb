"""Reads what an HTTP request asks of AWS, by botocore's own service models and moto's parsers."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from botocore.exceptions import UnknownServiceError
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.utils import get_service_model
from werkzeug.datastructures import Headers, MultiDict

# botocore has no types, and a type checker misreads its cached properties: its models are Any here.
Model = Any

# The signing names that are not botocore's name of the service, of those we use.
_SERVICE_OF_SIGNING_NAME = {
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "tagging": "resourcegroupstaggingapi",
}
# A public operation carries no signature, and so no service name; its target names it.
_SERVICE_OF_TARGET = {"AWSCognitoIdentityProviderService": "cognito-idp"}

# IAM's name of an action is `service:Operation`, except where it is not (Service Authorization
# Reference).
_IAM_ACTIONS = {
    "apigateway:GetStage": "apigateway:GET",
    "apigateway:UpdateStage": "apigateway:PATCH",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
}

# The protocols that send a call as a form.
_FORMS = ("query", "ec2")


# Where a user pool's public keys are. No API operation, but part of the service: it can be counted
# and can fail like one.
JWKS_PATH = "/.well-known/jwks.json"


class UnknownRequestError(ValueError):
    """No AWS operation looks like this request; the message says what was seen."""


@dataclass(frozen=True, kw_only=True)
class AwsRequest:
    """One request as AWS reads it; `params` are the names and values that boto3's call was given.

    `access_key` is None when the request is not signed. Bodies that are blobs are not in `params`.
    """

    service: str
    operation: str
    protocol: str
    public: bool
    access_key: str | None
    region: str | None
    params: dict[str, Any]

    @property
    def action(self) -> str:
        """IAM's name of what is asked, such as `s3:GetObject`."""
        name = f"{self.service}:{self.operation}"
        return _IAM_ACTIONS.get(name, name)


def parse(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> AwsRequest:
    """Reads one request; `path` and `query` as they were sent, header names in lower case.

    Raises UnknownRequestError.
    """
    if method == "GET" and path.endswith(JWKS_PATH):
        return _jwks_request(path)
    unsigned = None, None, _unsigned_service(headers)
    access_key, region, service = _credential_scope(query, headers) or unsigned
    model = service_model(service)
    operation, labels = _operation(model, method, path, query, headers, body)
    return AwsRequest(
        service=model.service_name,
        operation=operation.name,
        protocol=model.resolved_protocol,
        public=operation.auth_type == "none" or "smithy.api#noAuth" in (operation.auth or ()),
        access_key=access_key,
        region=region,
        params=_params(operation, labels, query, headers, body),
    )


def _jwks_request(path: str) -> AwsRequest:
    return AwsRequest(
        service="cognito-idp",
        operation="GetJwks",
        protocol="json",
        public=True,
        access_key=None,
        region=None,
        params={"UserPoolId": path.removesuffix(JWKS_PATH).strip("/")},
    )


def service_model(name: str) -> Model:
    """A service's model, by botocore's name or its signing name; raises UnknownRequestError."""
    try:
        return get_service_model(_SERVICE_OF_SIGNING_NAME.get(name, name))
    except UnknownServiceError:
        raise UnknownRequestError(f"botocore knows no service {name!r}") from None


def _credential_scope(query: str, headers: Mapping[str, str]) -> tuple[str, str | None, str] | None:
    """(access key, region, signing name) of a signature, in the header or presigned."""
    signed = re.search(r"Credential=([^,\s]+)", headers.get("authorization", ""))
    presigned = dict(parse_qsl(query))
    parts = (signed[1] if signed else presigned.get("X-Amz-Credential", "")).split("/")
    if len(parts) == 5:
        return parts[0], parts[2], parts[3]
    # boto3 still presigns S3's addresses the old way by default.
    return (presigned["AWSAccessKeyId"], None, "s3") if "AWSAccessKeyId" in presigned else None


def _unsigned_service(headers: Mapping[str, str]) -> str:
    target = headers.get("x-amz-target", "").partition(".")[0]
    return _SERVICE_OF_TARGET.get(target, "s3")


def _operation(
    model: Model, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> tuple[Model, dict[str, str]]:
    """The operation asked for, and the values in the path."""
    if model.resolved_protocol.startswith("rest-"):
        return _rest_operation(model, method, path, query, headers)
    name = headers.get("x-amz-target", "").rpartition(".")[2]
    if model.resolved_protocol != "json":
        fields = dict(parse_qsl(query)) | dict(parse_qsl(body.decode(errors="replace")))
        name = fields.get("Action", "")
    if name not in model.operation_names:
        raise UnknownRequestError(f"{model.service_name} has no operation {name!r}")
    return model.operation_model(name), {}


class _Route(NamedTuple):
    """What a REST operation's requests look like; the more it demands, the more specific it is."""

    operation: Model
    path: re.Pattern[str]
    literals: frozenset[tuple[str, str]]
    query: frozenset[str]
    headers: frozenset[str]

    @property
    def specificity(self) -> tuple[int, int]:
        return len(self.literals) + len(self.query) + len(self.headers), len(self.path.pattern)


@functools.cache
def _routes(service: str, method: str) -> list[_Route]:
    model = service_model(service)
    operations = [model.operation_model(name) for name in model.operation_names]
    current = [each for each in operations if not each.deprecated]
    routes = [_route(each) for each in current if each.http["method"] == method]
    return sorted(routes, key=lambda route: route.specificity, reverse=True)


def _route(operation: Model) -> _Route:
    path, _, query = operation.http["requestUri"].partition("?")
    # {Key+} takes slashes too, {Bucket} does not.
    pattern = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(path))
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
    return _Route(
        operation,
        re.compile(pattern.rstrip("/") + "/?"),
        frozenset(parse_qsl(query, keep_blank_values=True)),
        frozenset(_required(operation, "querystring")),
        frozenset(name.lower() for name in _required(operation, "header")),
    )


def _required(operation: Model, location: str) -> Iterable[str]:
    shape = operation.input_shape
    if shape is None:
        return
    for name in shape.required_members:
        serialization = shape.members[name].serialization
        if serialization.get("location") == location:
            yield serialization.get("name", name)


def _rest_operation(
    model: Model, method: str, path: str, query: str, headers: Mapping[str, str]
) -> tuple[Model, dict[str, str]]:
    fields = parse_qsl(query, keep_blank_values=True)
    names = {name for name, _ in fields}
    for route in _routes(model.service_name, method):
        match = route.path.fullmatch(path)
        named = route.query <= names and route.headers <= headers.keys()
        if match and named and route.literals <= set(fields):
            return route.operation, match.groupdict()
    raise UnknownRequestError(f"{model.service_name} has no operation for {method} {path}?{query}")


def _params(
    operation: Model, labels: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """What boto3's call was given, read by moto's own parsers; blobs are left out."""
    protocol, shape = operation.service_model.resolved_protocol, operation.input_shape
    if shape is None:
        return {}
    fields = parse_qsl(query, keep_blank_values=True)
    if protocol in _FORMS:
        fields += parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    sent = {
        "url_params": labels,
        "values": MultiDict(fields),
        "headers": Headers(list(headers.items())),
        # moto wants text in a payload, and a blob need not be any.
        "body": b"" if "payload" in shape.serialization else body,
    }
    try:
        return _without_code(operation, PROTOCOL_PARSERS[protocol](operation).parse(sent))
    except (RequestParserError, ValueError, TypeError, AttributeError) as error:
        reason = f"{operation.name} of {operation.service_model.service_name}: {error}"
        raise UnknownRequestError(f"cannot read the parameters of {reason}") from error


def _without_code(operation: Model, params: dict[str, Any]) -> dict[str, Any]:
    """Without the bundle of a function, which is a blob of tens of MB within the body."""
    if operation.name == "UpdateFunctionCode":
        params.pop("ZipFile", None)
    if operation.name == "CreateFunction":
        params.get("Code", {}).pop("ZipFile", None)
    return params
