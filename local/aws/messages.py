"""HTTP on both sides of the endpoint: what a client sends, and what it is answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Headers = Sequence[tuple[bytes, bytes]]

# What Cognito tells browsers, whatever page asks: its calls bear no cookies.
_CORS = b"access-control-"
_ANY_PAGE = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage"),
)
_PREFLIGHT = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST"),
    (
        b"access-control-allow-headers",
        b"Authorization,Cache-Control,Content-Type,X-Amz-Date,X-Amz-Security-Token,X-Amz-Target,"
        b"X-Amz-User-Agent",
    ),
    (b"access-control-max-age", b"172800"),
)


class Incoming(NamedTuple):
    """One HTTP request: raw for moto, text for reading; header names in lower case."""

    method: str
    path: str
    query: str
    target: bytes
    raw_headers: Headers
    headers: Mapping[str, str]
    body: bytes
    transport: asyncio.Transport


class Answer(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Headers = ()
    body: bytes = b""


async def read(scope: Mapping[str, Any], receive: Callable[..., Any]) -> Incoming | None:
    """The whole request of an ASGI scope; None when its client left before it had sent it."""
    # Joined once: a part of an upload is of many chunks.
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    path, query = scope["raw_path"], scope["query_string"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Incoming(
        method=scope["method"],
        path=path.decode("latin-1"),
        query=query.decode("latin-1"),
        target=path + b"?" + query if query else path,
        raw_headers=scope["headers"],
        headers=headers,
        body=b"".join(chunks),
        transport=scope["state"]["transport"],
    )


def preflight(incoming: Incoming) -> Answer | None:
    """The answer to a browser that asks whether a page may call Cognito; None for what else comes.

    Only a page that asks for its header can name an operation.
    """
    wanted = incoming.headers.get("access-control-request-headers", "").lower()
    if incoming.method != "OPTIONS" or "x-amz-target" not in wanted:
        return None
    return Answer(200, _PREFLIGHT)


def for_any_page(answer: Answer) -> Answer:
    """The answer as a page of any origin can read it."""
    own = [each for each in answer.headers if not each[0].startswith(_CORS)]
    return answer._replace(headers=[*own, *_ANY_PAGE])


async def disconnected(receive: Callable[..., Any]) -> None:
    """Waits until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send(sending: Callable[..., Any], answer: Answer) -> None:
    """Sends one whole answer by ASGI's `send`."""
    headers = list(answer.headers)
    # The answer to HEAD states the length of what GET would send.
    if not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await sending({"type": "http.response.start", "status": answer.status, "headers": headers})
    await sending({"type": "http.response.body", "body": answer.body})
