"""What goes back to a client over ASGI: one JSON object, or an event stream."""

import json
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from gui.bridge.errors import OpenAIError

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # nginx, should there be one, keeps nothing back.
    "X-Accel-Buffering": "no",
}


class Answer:
    """The one answer to a request. `silent_s`: for how long its stream has said nothing."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._streams = self._ended = False
        self._said_at = 0.0

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self._said_at

    async def whole(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        """All of it."""
        await self._json(200, body, headers)

    async def refuse(self, error: OpenAIError) -> None:
        """A response, or the last event of a stream that has begun."""
        if self._streams:
            await self.event(error.body())
            await self.end()
        else:
            await self._json(error.status, error.body(), error.headers())

    async def begin(self, headers: dict[str, str]) -> None:
        """From here on it is a stream."""
        told = {**STREAM_HEADERS, **headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        self._streams = True
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def event(self, data: dict[str, Any]) -> None:
        """One event; escaped to ASCII, so that nothing in it ends a line for anybody."""
        await self._write(f"data: {json.dumps(data, separators=(',', ':'))}\n\n")

    async def comment(self, words: str) -> None:
        """What clients skip, and proxies take for life."""
        await self._write(f": {words}\n\n")

    async def end(self) -> None:
        """OpenAI's end mark, and the end."""
        if not self._ended:
            await self._write("data: [DONE]\n\n")
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, text: str) -> None:
        if not self._ended:
            self._said_at = time.monotonic()
            body = text.encode()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _json(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        if not self._ended:
            self._ended = True
            response = JSONResponse(body, status, {"Cache-Control": "no-store", **headers})
            await response(self._scope, self._receive, self._send)
