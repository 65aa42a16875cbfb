"""One request of the headless client's: a bounded answer, or why there is none."""

import time
from typing import Any

import httpx

from gui.answers import Answer, one_line

# Of an answer; a reply has a few kB. Whoever sends more, or drips, is not this API.
MAX_ANSWER_BYTES, ANSWER_S = 4_000_000, 60
# The request never left.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


def fetched(http: httpx.Client, method: str, url: str, **arguments: Any) -> Answer:
    """An answer of bounded size and time. Raises httpx's errors."""
    began = time.monotonic()
    content = b""
    with http.stream(method, url, **arguments) as response:
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES or time.monotonic() - began > ANSWER_S:
                raise httpx.DecodingError(f"no end after {len(content)} bytes")
        return Answer(response.status_code, response.headers, content)


def why_none(error: Exception, url: str) -> str:
    """Why nobody answered, and what may help."""
    said = one_line(error) or type(error).__name__
    match error:
        case httpx.ConnectTimeout():
            return "there is no connection in time"
        case httpx.TimeoutException():
            return "there is no answer in time"
        case httpx.ConnectError() if "SSL" in said and "CERTIFICATE" not in said:
            return f"it speaks no TLS there ({said}); is it {url.replace('https:', 'http:', 1)}?"
        case httpx.RemoteProtocolError() | httpx.ReadError() if url.startswith("http:"):
            return f"it broke off ({said}); does it want https?"
        case httpx.DecodingError():
            return f"its answer is not what it says it is ({said})"
        case httpx.ConnectError():
            return f"cannot be reached ({said})"
    return f"it broke off ({said})"
