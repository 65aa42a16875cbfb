"""API Gateway's proxy events and responses: JSON, CORS for localhost, errors that help."""

import json
from collections.abc import Mapping
from typing import Any

from tlfif import names

Event = dict[str, Any]
Response = dict[str, Any]
EXPOSED = "X-Request-Id, Location, Retry-After, Date"


class Problem(Exception):
    """A refusal with its HTTP status.

    Its body is {"error": code, "message": …} plus whatever helps the caller to mend it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        **details: object,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s, self.details = retry_after_s, details

    def response(self, event: Event, request_id: str) -> Response:
        """The proxy response for this refusal."""
        headers = {"X-Request-Id": request_id}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        body = {"error": self.code, "message": self.message, **self.details}
        return respond(event, self.status, body, headers)


def respond(event: Event, status: int, body: object, headers: Mapping[str, str]) -> Response:
    """A JSON proxy response; the CORS headers only for an http://localhost[:port] origin."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **cors(header(event, "origin")), **headers},
        "body": json.dumps(body, separators=(",", ":"), ensure_ascii=False),
        "isBase64Encoded": False,
    }


def cors(origin: str | None) -> dict[str, str]:
    """Echoes an origin of this machine, says nothing to any other (API-003)."""
    if origin is None or not names.LOCALHOST_ORIGIN.fullmatch(origin):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED,
        "Vary": "Origin",
    }


def header(event: Event, name: str) -> str | None:
    """The value of a request header by its lower-case name, or None."""
    headers: Mapping[str, str] = event.get("headers") or {}
    for key, value in headers.items():
        if key.lower() == name:
            return value
    return None
