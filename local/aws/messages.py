"""HTTP on both sides of the endpoint: what a client sends, and what it is answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Headers = Sequence[tuple[bytes, bytes]]


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
