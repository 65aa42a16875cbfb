"""Reads the OpenAPI document of a REST API, with API Gateway's extensions and by its rules for
imports.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.apigateway.model import (
    MAX_TIMEOUT_MS,
    MIN_TIMEOUT_MS,
    PASSTHROUGH,
    Authorizer,
    GatewayResponse,
    Integration,
    IntegrationResponse,
    Method,
    ParameterMapping,
    SpecError,
)
from local.apigateway.templates import Template

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
# What API Gateway knows, and no route of this project uses.
NOT_SERVED = ("x-amazon-apigateway-any-method", "x-amazon-apigateway-binary-media-types")
DEFAULT_AUTHORIZER_TTL_S, MAX_AUTHORIZER_TTL_S = 300, 3600

_PATH = re.compile(r"(?:/[^{}/]*|/\{[\w.:-]+\})+")
_LITERAL = r"'[^']*'|context(?:\.\w+)+"
_REQUEST_SOURCE = re.compile(
    rf"(?:{_LITERAL}|method\.request\.(?:(path|querystring|header)\.([\w.-]+)))"
)
_RESPONSE_SOURCE = re.compile(rf"(?:{_LITERAL}|integration\.response\.header\.[\w-]+)")
_GATEWAY_SOURCE = re.compile(
    rf"(?:{_LITERAL}|method\.request\.(?:path|querystring|header)\.[\w.-]+)"
)
_REQUEST_TARGET = re.compile(r"integration\.request\.(path|querystring|header)\.([\w.-]+)")
_RESPONSE_TARGET = re.compile(r"method\.response\.header\.([\w-]+)")
_GATEWAY_TARGET = re.compile(r"gatewayresponse\.header\.([\w-]+)")
_FUNCTION = re.compile(
    r"arn:aws[\w-]*:apigateway:[\w-]+:lambda:path/2015-03-31/functions/([^/]+)/invocations"
)
_S3_PATH = re.compile(r"arn:aws[\w-]*:apigateway:([\w-]+):s3:path(/.+)")


class Reader:
    """Reads one OpenAPI 3.0 document; whatever API Gateway would not import, or is not served here,
    is a SpecError.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        _check_served("the document", document)
        self._document = document

    def resources(self) -> dict[str, dict[str, Method]]:
        """Path template to its methods by name."""
        return {
            path: dict(self._methods(path, item)) for path, item in self._document["paths"].items()
        }

    def gateway_responses(self) -> dict[str, GatewayResponse]:
        """Those that the document defines, by type."""
        raw = self._document.get("x-amazon-apigateway-gateway-responses", {})
        return {
            kind: _gateway_response(f"gateway response {kind}", value)
            for kind, value in raw.items()
        }

    def _methods(self, path: str, item: Mapping[str, Any]) -> Iterator[tuple[str, Method]]:
        if not _PATH.fullmatch(path):
            raise SpecError(
                f"path {path!r}: a {{parameter}} fills a whole segment; greedy ones, {{name+}}, are"
                " not served"
            )
        _check_served(f"path {path!r}", item)
        for name in METHODS:
            if name in item:
                shared = item.get("parameters", [])
                yield name.upper(), self._method(path, name.upper(), item[name], shared)

    def _method(
        self, path: str, name: str, operation: Mapping[str, Any], shared: list[Any]
    ) -> Method:
        route = f"{name} {path}"
        listed = [*shared, *operation.get("parameters", [])]
        parameters = {(_kind(p["in"]), p["name"]): p for p in map(self._resolved, listed)}
        declared = {_key(kind, name) for kind, name in parameters}
        for variable in re.findall(r"\{([\w.:-]+)\}", path):
            if ("path", variable) not in declared:
                raise SpecError(
                    f"{route}: declare the path parameter {variable!r} under parameters"
                )
        demanded = [key for key, parameter in parameters.items() if parameter.get("required")]
        return Method(
            http_method=name,
            resource=path,
            operation=operation.get("operationId"),
            authorizer=self._authorizer(route, operation),
            needs_key=any(map(self._is_key, self._security(operation))),
            required=demanded if self._validates_parameters(route, operation) else (),
            integration=_integration(route, operation, declared),
        )

    def _resolved(self, parameter: Mapping[str, Any]) -> Mapping[str, Any]:
        if reference := parameter.get("$ref"):
            return self._document["components"]["parameters"][reference.rpartition("/")[2]]
        return parameter

    def _validates_parameters(self, route: str, operation: Mapping[str, Any]) -> bool:
        key = "x-amazon-apigateway-request-validator"
        name = operation.get(key, self._document.get(key))
        if name is None:
            return False
        validators = self._document.get(f"{key}s", {})
        if name not in validators:
            raise SpecError(
                f"{route}: {key} {name!r} is not one of {', '.join(validators) or 'none'}"
            )
        if validators[name].get("validateRequestBody"):
            raise SpecError(
                f"{route}: validator {name!r} validates bodies, which is not supported: the router"
                " does"
            )
        return bool(validators[name].get("validateRequestParameters"))

    def _authorizer(self, route: str, operation: Mapping[str, Any]) -> Authorizer | None:
        names = [name for name in self._security(operation) if not self._is_key(name)]
        if not names:
            return None
        if len(names) > 1:
            raise SpecError(f"{route}: security has {len(names)} schemes; API Gateway applies one")
        scheme = self._document.get("components", {}).get("securitySchemes", {}).get(names[0])
        if scheme is None:
            raise SpecError(
                f"{route}: security scheme {names[0]!r} is not among components.securitySchemes"
            )
        return _authorizer(names[0], scheme)

    def _security(self, operation: Mapping[str, Any]) -> list[str]:
        security = operation.get("security", self._document.get("security", []))
        return [name for alternative in security for name in alternative]

    def _is_key(self, name: str) -> bool:
        """Whether a security scheme is API Gateway's API key, which goes beside an authorizer.

        Raises SpecError for a key that callers send.
        """
        schemes = self._document.get("components", {}).get("securitySchemes", {})
        if schemes.get(name, {}).get("name", "").lower() != "x-api-key":
            return False
        source = self._document.get("x-amazon-apigateway-api-key-source", "HEADER")
        if source != "AUTHORIZER":
            raise SpecError(f"security scheme {name!r}: only keys from an authorizer are served")
        return True


def _authorizer(name: str, scheme: Mapping[str, Any]) -> Authorizer:
    place = f"security scheme {name!r}"
    raw = scheme.get("x-amazon-apigateway-authorizer")
    if raw is None or raw.get("type") != "token" or scheme.get("in") != "header":
        raise SpecError(
            f"{place}: only Lambda TOKEN authorizers (type: token, in: header) are supported"
        )
    function = _FUNCTION.fullmatch(raw.get("authorizerUri", ""))
    if function is None:
        uri = raw.get("authorizerUri")
        raise SpecError(f"{place}: authorizerUri {uri!r} is not a function's invocation ARN")
    ttl = raw.get("authorizerResultTtlInSeconds", DEFAULT_AUTHORIZER_TTL_S)
    if not 0 <= ttl <= MAX_AUTHORIZER_TTL_S:
        limits = f"0 to {MAX_AUTHORIZER_TTL_S}"
        raise SpecError(f"{place}: authorizerResultTtlInSeconds {ttl} is not within {limits}")
    source = raw.get("identitySource", f"method.request.header.{scheme['name']}")
    pattern = raw.get("identityValidationExpression")
    return Authorizer(
        name=name,
        header=source.removeprefix("method.request.header.").lower(),
        function_arn=function[1],
        ttl_s=ttl,
        validation=re.compile(pattern, re.ASCII) if pattern else None,
    )


def _check_served(place: str, raw: Mapping[str, Any]) -> None:
    for key in NOT_SERVED:
        if key in raw:
            raise SpecError(f"{place}: {key} is not served; no route uses it")


def _kind(location: str) -> str:
    return {"query": "querystring"}.get(location, location)


def _key(kind: str, name: str) -> tuple[str, str]:
    """Parameters as they are compared: headers whatever their case."""
    return kind, name.lower() if kind == "header" else name


def _integration(
    route: str, operation: Mapping[str, Any], declared: set[tuple[str, str]]
) -> Integration:
    raw = operation.get("x-amazon-apigateway-integration")
    if raw is None:
        raise SpecError(f"{route}: has no x-amazon-apigateway-integration")
    kind, target = _target(route, raw)
    parameters = raw.get("requestParameters", {})
    integration = Integration(
        kind=kind,
        http_method=raw.get("httpMethod", "POST"),
        credentials=raw.get("credentials", ""),
        timeout_s=_timeout_ms(route, raw) / 1000,
        passthrough=_passthrough(route, raw),
        parameters=list(_request_parameters(route, parameters, declared)),
        templates=_templates(f"{route} request template", raw.get("requestTemplates", {})),
        responses=list(_responses(route, raw, operation)) if kind != "aws_proxy" else [],
        **target,
    )
    mapped = {parameter.name for parameter in integration.parameters if parameter.kind == "path"}
    if missing := set(re.findall(r"\{(\w+)\}", integration.path)) - mapped:
        name = min(missing)
        raise SpecError(f"{route}: the uri's {{{name}}} needs integration.request.path.{name}")
    return integration


def _target(route: str, raw: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    kind, uri = raw.get("type", "").lower(), raw.get("uri", "")
    if kind == "mock":
        return kind, {}
    if kind == "aws_proxy" and (function := _FUNCTION.fullmatch(uri)):
        if (method := raw.get("httpMethod")) != "POST":
            raise SpecError(f"{route}: a function is invoked by httpMethod POST, not {method!r}")
        return kind, {"function_arn": function[1]}
    if kind == "aws" and (s3 := _S3_PATH.fullmatch(uri)):
        if not raw.get("credentials"):
            raise SpecError(
                f"{route}: an S3 integration needs credentials, the ARN of the role it reads with"
            )
        return "s3", {"region": s3[1], "path": s3[2]}
    raise SpecError(
        f"{route}: integration type {kind!r} with uri {uri!r} is not served; mock, the Lambda proxy"
        " (aws_proxy) and S3 paths are"
    )


def _timeout_ms(route: str, raw: Mapping[str, Any]) -> int:
    timeout = raw.get("timeoutInMillis", MAX_TIMEOUT_MS)
    if not MIN_TIMEOUT_MS <= timeout <= MAX_TIMEOUT_MS:
        limits = f"{MIN_TIMEOUT_MS} to {MAX_TIMEOUT_MS}"
        raise SpecError(f"{route}: timeoutInMillis {timeout} is not within {limits}")
    return timeout


def _passthrough(route: str, raw: Mapping[str, Any]) -> str:
    behavior = raw.get("passthroughBehavior", PASSTHROUGH[0]).lower()
    if behavior not in PASSTHROUGH:
        known = ", ".join(PASSTHROUGH)
        raise SpecError(f"{route}: passthroughBehavior {behavior!r} is none of {known}")
    return behavior


def _request_parameters(
    route: str, raw: Mapping[str, str], declared: set[tuple[str, str]]
) -> Iterator[ParameterMapping]:
    for target, source in raw.items():
        place = f"{route}: {target}: {source}"
        to, of = _REQUEST_TARGET.fullmatch(target), _REQUEST_SOURCE.fullmatch(source)
        if to is None or of is None:
            raise SpecError(f"{place} is not a valid mapping of request parameters, or not served")
        if of[1] and _key(of[1], of[2]) not in declared:
            raise SpecError(f"{place}: declare the {of[1]} parameter {of[2]!r} under parameters")
        yield ParameterMapping(kind=to[1], name=to[2], source=source)


def _responses(
    route: str, raw: Mapping[str, Any], operation: Mapping[str, Any]
) -> Iterator[IntegrationResponse]:
    answers = {str(code): answer for code, answer in operation.get("responses", {}).items()}
    for pattern, response in raw.get("responses", {}).items():
        status, place = str(response["statusCode"]), f"{route} response {pattern!r}"
        if status not in answers:
            raise SpecError(f"{place}: status {status} is not among the operation's responses")
        if response.get("contentHandling"):
            raise SpecError(f"{place}: contentHandling is not supported")
        headers = {header.lower() for header in answers[status].get("headers", {})}
        parameters = response.get("responseParameters", {})
        yield IntegrationResponse(
            pattern=None if pattern == "default" else re.compile(pattern, re.S),
            status=int(status),
            parameters=list(_response_parameters(place, parameters, headers)),
            templates=_templates(f"{place} template", response.get("responseTemplates", {})),
        )


def _response_parameters(
    place: str, raw: Mapping[str, str], declared: set[str]
) -> Iterator[ParameterMapping]:
    for target, source in raw.items():
        to = _RESPONSE_TARGET.fullmatch(target)
        if to is None or not _RESPONSE_SOURCE.fullmatch(source):
            raise SpecError(
                f"{place}: {target}: {source} is not a valid mapping of response parameters, or not"
                " served"
            )
        if to[1].lower() not in declared:
            raise SpecError(
                f"{place}: {target}: declare the header {to[1]!r} under the response's headers"
            )
        yield ParameterMapping(kind="header", name=to[1], source=source)


def _templates(place: str, raw: Mapping[str, str]) -> dict[str, Template]:
    return {media.lower(): Template(text, f"{place} for {media}") for media, text in raw.items()}


def _gateway_response(place: str, raw: Mapping[str, Any]) -> GatewayResponse:
    mapped = []
    for target, source in raw.get("responseParameters", {}).items():
        to = _GATEWAY_TARGET.fullmatch(target)
        if to is None or not _GATEWAY_SOURCE.fullmatch(source):
            raise SpecError(f"{place}: {target}: {source} is not a valid mapping, or not served")
        mapped.append(ParameterMapping(kind="header", name=to[1], source=source))
    templates = raw.get("responseTemplates", {})
    for text in templates.values():
        check_no_stage_variables(f"{place} template", text)
    status = raw.get("statusCode")
    return GatewayResponse(
        status=None if status is None else int(status), parameters=mapped, templates=templates
    )


def check_no_stage_variables(place: str, text: str | None) -> None:
    """Raises SpecError, naming the place."""
    if "$stageVariables" in (text or ""):
        raise SpecError(f"{place}: stage variables are not served; no route uses them")
