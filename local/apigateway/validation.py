"""Request validation: API Gateway's limits, and the parameters that a method requires."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from local.apigateway.call import ApiCall
from local.apigateway.model import FrontEndError, GatewayError, Method

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_HEADER_BYTES = 10_240
MAX_ARN_BYTES = 1_600

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def check_headers(call: ApiCall) -> None:
    """Raises FrontEndError for headers that are too large together."""
    if sum(len(name) + len(value) for name, value in call.headers) > MAX_HEADER_BYTES:
        raise FrontEndError(431, "Request Header Fields Too Large")


async def read_body(call: ApiCall, receive: Receive) -> bytes:
    """The whole body, received by ASGI's `receive`.

    Raises GatewayError when it is too large, or the client leaves.
    """
    length = call.header("content-length") or "0"
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise GatewayError("REQUEST_TOO_LARGE")
    chunks, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GatewayError("DEFAULT_4XX", reason="the client left in the middle of its request")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise GatewayError("REQUEST_TOO_LARGE")
        more = message.get("more_body", False)
    return b"".join(chunks)


def check_arn(call: ApiCall, method: Method) -> None:
    """Raises GatewayError where policies are to judge an ARN that is too long for them."""
    judged = method.authorizer is not None or call.spec.policy is not None
    if judged and len(call.arn.encode()) > MAX_ARN_BYTES:
        raise GatewayError("DEFAULT_4XX", "Request URI too long", status=414)


def check_parameters(call: ApiCall, method: Method) -> None:
    """Raises GatewayError, naming the required parameters that are missing or empty."""
    missing = [name for kind, name in method.required if not call.parameter(kind, name)]
    if missing:
        names = ", ".join(missing)
        raise GatewayError(
            "BAD_REQUEST_PARAMETERS", f"Missing required request parameters: [{names}]"
        )
