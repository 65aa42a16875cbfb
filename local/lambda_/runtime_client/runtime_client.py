"""Stands in for awslambdaric's native module where AWS builds none (macOS): the Runtime API over
http.client.
"""

import http.client
import os

_API = "/2018-06-01/runtime/invocation"
_connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
_user_agent = ""


def initialize_client(user_agent: str) -> None:
    """Sets the User-Agent of all later requests."""
    global _user_agent
    _user_agent = user_agent


def next() -> tuple[bytes, dict[str, str]]:
    """Waits for the next event: its bytes and its headers, by the Runtime API's names."""
    response, body = _request("GET", f"{_API}/next")
    return body, dict(response.getheaders())


def post_invocation_result(
    request_id: str, result: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    """Answers one event."""
    _request("POST", f"{_API}/{request_id}/response", result, {"Content-Type": content_type})


def post_error(
    request_id: str, error: str, xray_fault: str, invocation_id: str | None = None
) -> None:
    """Answers one event with an error document."""
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-XRay-Error-Cause": xray_fault,
    }
    _request("POST", f"{_API}/{request_id}/error", error.encode(), headers)


def _request(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    _connection.request(method, path, body, {"User-Agent": _user_agent, **(headers or {})})
    response = _connection.getresponse()
    content = response.read()
    if response.status not in (200, 202):
        raise RuntimeError(f"Failed to {method} {path}: HTTP {response.status}")
    return response, content
