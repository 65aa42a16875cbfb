"""What goes back to the client: an integration's response, the gateway's own, and the access log's
line.
"""

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from typing import Any

from local.apigateway.call import ApiCall, Response, at, ms
from local.apigateway.model import FrontEndError, GatewayError, GatewayResponse

JSON = "application/json"
DEFAULT_TEMPLATES = {JSON: '{"message":$context.error.messageString}'}
# What becomes of an integration's headers (important notes for REST APIs; LocalStack's
# header_utils.py).
REMAPPED = {"connection", "content-length", "date", "server", "www-authenticate"}
HOP_BY_HOP = "transfer-encoding"

_VARIABLE = re.compile(r"\$context((?:\.\w+)+)")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def integration_response(
    call: ApiCall, status: int, headers: Iterable[tuple[str, str]], body: bytes
) -> Response:
    """What an integration answers: some headers are renamed, a trace id is added.

    Raises GatewayError for a header that cannot be sent.
    """
    kept = [(_renamed(name), value) for name, value in headers if name.lower() != HOP_BY_HOP]
    for name, value in kept:
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            reason = f"header {name!r}: {value!r} cannot be sent"
            raise GatewayError("DEFAULT_5XX", status=502, reason=reason)
    return Response(status=status, headers=[*kept, ("X-Amzn-Trace-Id", call.trace_id)], body=body)


def _renamed(name: str) -> str:
    return f"x-amzn-Remapped-{name}" if name.lower() in REMAPPED else name


def gateway_response(call: ApiCall, error: GatewayError) -> Response:
    """The gateway response for an error: its own, else the default one of its class, else API
    Gateway's.
    """
    fallback = "DEFAULT_5XX" if error.natural_status >= 500 else "DEFAULT_4XX"
    responses = call.spec.gateway_responses
    default = GatewayResponse(status=None, parameters=(), templates={})
    response = responses.get(error.kind) or responses.get(fallback) or default
    templates = response.templates or DEFAULT_TEMPLATES
    media = JSON if JSON in templates else next(iter(templates))
    headers = {"Content-Type": media, "x-amzn-ErrorType": error.error_type}
    headers |= {mapping.name: value for mapping, value in call.mapped(response.parameters)}
    context = {**call.context(), "error": _error_context(error)}
    return Response(
        status=response.status or error.status,
        headers=list(headers.items()),
        body=_filled(templates[media], context).encode(),
    )


def front_end_response(error: FrontEndError) -> Response:
    """What API Gateway's front end answers: no gateway response applies."""
    body = json.dumps({"message": error.message}, separators=(",", ":")).encode()
    return Response(status=error.status, headers=[("Content-Type", JSON)], body=body)


def complete(call: ApiCall, response: Response) -> Response:
    """With the request's ids, and the length of its body where it may have one."""
    headers = [("Date", formatdate(usegmt=True)), ("x-amzn-RequestId", call.request_id)]
    headers.append(("x-amz-apigw-id", call.extended_id))
    body = b"" if response.status in (204, 304) else response.body
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(body))))
    return Response(status=response.status, headers=[*headers, *response.headers], body=body)


def access_log_line(form: str, call: ApiCall, response: Response) -> str:
    """The stage's format, filled in; a variable without a value is `-`."""
    context = call.context() | {
        "status": response.status,
        "responseLength": len(response.body),
        "responseLatency": ms(call.started),
        "integrationLatency": call.integration_ms,
        "integrationStatus": call.integration_status,
        "error": _error_context(call.error) if call.error else {},
    }

    def value(found: re.Match[str]) -> str:
        text = at(context, found[1][1:])
        return _json_text(text) if text else "-"

    return _VARIABLE.sub(value, form)


def _error_context(error: GatewayError) -> dict[str, str]:
    quoted = "null" if error.message is None else f'"{_json_text(error.message)}"'
    return {"message": error.message or "", "messageString": quoted, "responseType": error.kind}


def _json_text(text: str) -> str:
    return json.dumps(text)[1:-1]


def _filled(template: str, context: Mapping[str, Any]) -> str:
    """A gateway response's template: simple substitution, no Velocity."""
    return _VARIABLE.sub(lambda found: at(context, found[1][1:]) or "", template)
