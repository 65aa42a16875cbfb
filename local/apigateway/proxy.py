"""The Lambda proxy integration: a call as an event, the function's result as a response."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from local.apigateway.call import ApiCall, Response
from local.apigateway.model import (
    FunctionError,
    GatewayError,
    Integration,
    InvocationRefused,
    Invoke,
)
from local.apigateway.responses import JSON, integration_response

TOO_LARGE = 413
KEYS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}


async def run(call: ApiCall, integration: Integration, invoke: Invoke) -> Response:
    """The function's response; raises GatewayError when it failed or answered in another format."""
    try:
        result = await invoke(integration.function_arn, event(call))
    except FunctionError as error:
        reason = f"function error: {error.message}"
        raise GatewayError("DEFAULT_5XX", status=502, reason=reason) from error
    except InvocationRefused as error:
        if error.status == TOO_LARGE:
            # What API Gateway takes, of up to 10 MB, and Lambda does not, of more than 6.
            raise GatewayError("REQUEST_TOO_LARGE", reason=f"Lambda refused: {error}") from error
        raise GatewayError("DEFAULT_5XX", reason=f"Lambda refused: {error}") from error
    call.integration_status = 200
    return response(call, result)


def event(call: ApiCall) -> dict[str, Any]:
    """The event of a Lambda proxy integration, version 1.0."""
    headers = call.integration_headers()
    return {
        "resource": call.target.resource if call.target else None,
        "path": call.path,
        "httpMethod": call.method,
        "headers": dict(headers),
        "multiValueHeaders": _lists(headers),
        "queryStringParameters": dict(call.query) or None,
        "multiValueQueryStringParameters": _lists(call.query) or None,
        "pathParameters": call.path_parameters or None,
        "stageVariables": None,
        "requestContext": call.context(),
        "body": call.text or None,
        "isBase64Encoded": False,
    }


def _lists(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return lists


def response(call: ApiCall, result: Any) -> Response:
    """A function's result as an HTTP response; one of another format is 502, Internal server
    error.

    `isBase64Encoded` does not count: the API has no binary media types.
    """
    if problem := _malformed(result):
        reason = f"Malformed Lambda proxy response: {problem}"
        raise GatewayError("DEFAULT_5XX", status=502, reason=reason)
    headers = [(name, _text(value)) for name, value in _headers(result)]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", JSON))
    status = int(result.get("statusCode") or 200)
    return integration_response(call, status, headers, (result.get("body") or "").encode())


def _malformed(result: Any) -> str:
    """What is wrong with a result, empty when nothing is."""
    if not isinstance(result, dict):
        return f"it is {json.dumps(result)[:80]}, not a map"
    if unknown := set(result) - KEYS:
        return f"key {min(unknown)!r} is none of {', '.join(sorted(KEYS))}"
    if not re.fullmatch(r"[1-5]\d\d", str(result.get("statusCode") or 200)):
        return f"statusCode is {result['statusCode']!r}"
    if not isinstance(result.get("body"), (str, type(None))):
        return "body is not text"
    return _malformed_headers(result)


def _malformed_headers(result: dict[str, Any]) -> str:
    single, many = result.get("headers"), result.get("multiValueHeaders")
    if not isinstance(single, (dict, type(None))):
        return "headers is not a map of texts"
    lists = many.values() if isinstance(many, dict) else () if many is None else (None,)
    if not all(isinstance(values, list) for values in lists):
        return "multiValueHeaders is not a map of lists"
    headers = [*(single or {}).items(), *_headers({"multiValueHeaders": many})]
    wrong = next((name for name, value in headers if not isinstance(value, (str, bool))), None)
    return f"header {wrong!r} is not text" if wrong else ""


def _headers(result: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All headers, one by one; where both maps have a name, the lists count."""
    single = {name: [value] for name, value in (result.get("headers") or {}).items()}
    for name, values in (single | (result.get("multiValueHeaders") or {})).items():
        for value in values:
            yield name, value


def _text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value
