"""Hands a request on to moto: one raw HTTP exchange with a server that closes every connection, so
there is nothing to pool, and no parsing beyond what must be known to hand the answer on.
"""

import asyncio
import contextlib

from local.aws.messages import Answer, Headers, Incoming

_TIMEOUT_S = 30.0
# Weights are read in parts of many MB.
_BUFFER_BYTES = 16 << 20
# Between two hops each names its own; the lengths are known by then.
_HOP_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"expect", b"host", b"content-length"}
)


async def forward(incoming: Incoming, host: str) -> Answer:
    """What the server at `host` ("name:port") answers; raises OSError, and so TimeoutError."""
    own = [(b"host", host.encode()), (b"content-length", b"%d" % len(incoming.body))]
    kept = _without(_HOP_HEADERS, incoming.raw_headers)
    async with asyncio.timeout(_TIMEOUT_S):
        answer = await _exchange(host, incoming, [*own, *kept])
    # HEAD's content-length is the object's, and there is no body to count.
    dropped = _HOP_HEADERS - {b"content-length"} if incoming.method == "HEAD" else _HOP_HEADERS
    return answer._replace(headers=_without(dropped, answer.headers))


def _without(dropped: frozenset[bytes], headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name not in dropped]


async def _exchange(host: str, incoming: Incoming, headers: Headers) -> Answer:
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port), limit=_BUFFER_BYTES)
    try:
        # HTTP/1.0, so that the answer is never chunked.
        lines = [
            b"%s %s HTTP/1.0" % (incoming.method.encode(), incoming.target),
            *(b"%s: %s" % header for header in headers),
            b"",
            incoming.body,
        ]
        writer.write(b"\r\n".join(lines))
        return await _read(reader, incoming.method)
    except (asyncio.IncompleteReadError, ValueError) as error:
        asked = f"{incoming.method} {incoming.target.decode()}"
        raise ConnectionError(f"{host} broke off its answer to {asked}") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
    status = int(first.split()[1])
    pairs = (line.partition(b":") for line in lines)
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers)
    length = next((int(value) for name, value in headers if name == b"content-length"), None)
    body = await (reader.read() if length is None else reader.readexactly(length))
    return Answer(status, headers, body)
