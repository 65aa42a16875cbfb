"""One raw HTTP exchange with a local server that closes every connection, as moto's does: nothing
to pool, no parsing beyond what must be known to hand the answer on.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Headers = ()
    body: bytes = b""


async def exchange(
    host: str, port: int, method: str, target: bytes, headers: Headers, body: bytes
) -> Answer:
    """Sends one request and reads its answer; `headers` must name the host and the body's length.

    Raises OSError.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # HTTP/1.0, so that the answer is never chunked.
        lines = [
            b"%s %s HTTP/1.0" % (method.encode(), target),
            *(b"%s: %s" % header for header in headers),
            b"",
            body,
        ]
        writer.write(b"\r\n".join(lines))
        return await _read(reader, method)
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise ConnectionError(
            f"{host}:{port} broke off its answer to {method} {target.decode()}"
        ) from error
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
    return Answer(
        status, headers, await (reader.read() if length is None else reader.readexactly(length))
    )
