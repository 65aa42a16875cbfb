"""Reads what an HTTP request asks of AWS, and writes AWS's errors, by botocore's own service
models.
"""

import functools
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

import botocore.session
from botocore.exceptions import UnknownServiceError

# botocore has no types, and a type checker misreads its cached properties: its models are Any here.
Model = Any

# The signing names that are not botocore's name of the service, of those we use.
_SERVICE_OF_SIGNING_NAME = {"monitoring": "cloudwatch"}
# A public operation carries no signature, and so no service name; its target names it.
_SERVICE_OF_TARGET = {"AWSCognitoIdentityProviderService": "cognito-idp"}

# IAM's name of an action is `service:Operation`, except where it is not (Service Authorization
# Reference).
_IAM_ACTIONS = {
    "budgets:DescribeBudget": "budgets:ViewBudget",
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
    "s3:UploadPart": "s3:PutObject",
}

_JSON_TYPES = {"json": "application/x-amz-json-1.1", "rest-json": "application/json"}


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
    access_key, region, service = _credential_scope(query, headers) or (
        None,
        None,
        _unsigned_service(headers),
    )
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


@functools.cache
def service_model(name: str) -> Model:
    """The model of a service, by botocore's name or its signing name; raises UnknownRequestError."""
    try:
        return _session().get_service_model(_SERVICE_OF_SIGNING_NAME.get(name, name))
    except UnknownServiceError:
        raise UnknownRequestError(f"botocore knows no service {name!r}") from None


def error_response(
    protocol: str, status: int, code: str, message: str
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of an AWS error as a service of that protocol sends it."""
    request_id = secrets.token_hex(8)
    content_type = _JSON_TYPES.get(protocol)
    if content_type:
        headers = {
            "x-amzn-requestid": request_id,
            "x-amzn-errortype": code,
            "content-type": content_type,
        }
        return status, headers, json.dumps({"__type": code, "message": message}).encode()
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    headers = {"x-amz-request-id": request_id, "content-type": "text/xml"}
    return status, headers, _ERROR_XML[protocol].format(error=error, request_id=request_id).encode()


_ERROR_XML = {
    "ec2": "<Response><Errors><Error>{error}</Error></Errors><RequestID>{request_id}</RequestID></Response>",
    "query": "<ErrorResponse><Error>{error}</Error><RequestId>{request_id}</RequestId></ErrorResponse>",
    "rest-xml": "<Error>{error}<RequestId>{request_id}</RequestId></Error>",
}


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


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
    routes = [_route(operation) for operation in operations if operation.http["method"] == method]
    return sorted(
        (route for route in routes if not route.operation.deprecated),
        key=lambda r: r.specificity,
        reverse=True,
    )


def _route(operation: Model) -> _Route:
    path, _, query = operation.http["requestUri"].partition("?")
    pattern = re.sub(
        r"\\\{(\w+)(\\\+)?\\\}",
        lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})",
        re.escape(path),
    )
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
        if (
            match
            and route.literals <= set(fields)
            and route.query <= names
            and route.headers <= headers.keys()
        ):
            return route.operation, {
                name: unquote(value) for name, value in match.groupdict().items()
            }
    raise UnknownRequestError(f"{model.service_name} has no operation for {method} {path}?{query}")


def _params(
    operation: Model, labels: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    protocol, shape = operation.service_model.resolved_protocol, operation.input_shape
    if shape is None:
        return {}
    if protocol in ("query", "ec2"):
        fields = dict(parse_qsl(query, True)) | dict(parse_qsl(body.decode(errors="replace"), True))
        return _Form(fields, ec2=protocol == "ec2").structure(shape, "")
    if protocol == "rest-xml":
        return _located(shape, labels, query, headers)
    members = _json_object(body) if "payload" not in shape.serialization else {}
    return {**members, **_located(shape, labels, query, headers)}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        members = json.loads(body or b"{}")
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _located(
    shape: Model, labels: Mapping[str, str], query: str, headers: Mapping[str, str]
) -> dict[str, str]:
    """The members that travel in the path, the query and the headers."""
    fields = dict(parse_qsl(query, keep_blank_values=True))
    sources: dict[str, Mapping[str, str]] = {
        "uri": labels,
        "querystring": fields,
        "header": headers,
    }
    found = {}
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        sent = member.serialization.get("name", name)
        value = sources.get(location, {}).get(sent.lower() if location == "header" else sent)
        if value is not None:
            found[name] = value
    return found


class _Form:
    """Undoes the query protocols' flattening of structures into form fields."""

    def __init__(self, fields: Mapping[str, str], *, ec2: bool):
        self._fields = fields
        self._ec2 = ec2

    def structure(self, shape: Model, prefix: str) -> dict[str, Any]:
        found = {}
        for name, member in shape.members.items():
            field = prefix + self._sent_name(member, name)
            if self._holds(field):
                found[name] = self._value(member, field)
        return found

    def _sent_name(self, member: Model, name: str) -> str:
        sent = member.serialization.get("queryName") if self._ec2 else None
        sent = sent or member.serialization.get("name", name)
        if member.type_name == "list" and not self._ec2 and member.serialization.get("flattened"):
            sent = member.member.serialization.get("name", sent)
        return sent[0].upper() + sent[1:] if self._ec2 else sent

    def _holds(self, field: str) -> bool:
        return field in self._fields or any(name.startswith(f"{field}.") for name in self._fields)

    def _value(self, shape: Model, field: str) -> Any:
        match shape.type_name:
            case "structure":
                return self.structure(shape, f"{field}.")
            case "list":
                return self._list(shape, field)
            case "map":
                return self._map(shape, field)
            case "boolean":
                return self._fields[field].lower() == "true"
            case "integer" | "long":
                return int(self._fields[field])
        return self._fields[field]

    def _list(self, shape: Model, field: str) -> list[Any]:
        if not self._ec2 and not shape.serialization.get("flattened"):
            field = f"{field}.{shape.member.serialization.get('name', 'member')}"
        return [self._value(shape.member, name) for name in self._numbered(field)]

    def _map(self, shape: Model, field: str) -> dict[str, Any]:
        if not shape.serialization.get("flattened"):
            field = f"{field}.entry"
        key, value = (
            shape.key.serialization.get("name", "key"),
            shape.value.serialization.get("name", "value"),
        )
        return {
            self._fields[f"{name}.{key}"]: self._value(shape.value, f"{name}.{value}")
            for name in self._numbered(field)
        }

    def _numbered(self, field: str) -> Iterable[str]:
        number = 1
        while self._holds(f"{field}.{number}"):
            yield f"{field}.{number}"
            number += 1
