"""A model hub over real HTTP that can fail in every way that hubs do, and counts what it sends."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "a" * 40
RESOLVE, STORED = f"/o/n/resolve/{REVISION}/f.gguf", "/stored"


class Request:
    """One request for bytes, and the ways to answer it wrongly."""

    def __init__(self, handler: Any, content: bytes, sent: Callable[[int], None]) -> None:
        self._handler, self._content, self._sent = handler, content, sent
        self.path: str = handler.path
        self.headers: list[str] = list(handler.headers.keys())
        first, _, last = (
            handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        )
        self.first, self.last = int(first), min(int(last or len(content)), len(content) - 1)

    def answer(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        self._handler.send_response(status)
        for name, value in headers:
            self._handler.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self.write(body)

    def serve(
        self,
        *,
        cut_after: int | None = None,
        length: int | None = None,
        claim: str = "",
        pause_s: float = 0.0,
        content: bytes | None = None,
    ) -> None:
        """The range that was asked for: the first `cut_after` bytes of it, said to be of `length`
        bytes and to be `claim`, with a pause every 64 kB.
        """
        whole = (content or self._content)[self.first : self.last + 1]
        told = claim or f"bytes {self.first}-{self.last}/{len(self._content)}"
        self._handler.send_response(206)
        self._handler.send_header("Content-Range", told)
        self._handler.send_header("Content-Length", str(len(whole) if length is None else length))
        self._handler.end_headers()
        shown = whole[:cut_after]
        for at in range(0, len(shown), 1 << 16):
            self.write(shown[at : at + (1 << 16)])
            time.sleep(pause_s)
        if len(shown) != (len(whole) if length is None else length):
            self.hang_up()

    def write(self, body: bytes) -> None:
        with suppress(OSError):
            self._handler.wfile.write(body)
            self._sent(len(body))

    def hang_up(self) -> None:
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)


Fault = Callable[[Request], None]


class ModelHub:
    """Serves `content` until `close`: `url` is the file's, which redirects to where it is stored.

    `faults` answer the next requests for stored bytes but the first byte's, one each; `always`
    answers all of them, `front` those for the file itself. `linked` is the hash that it tells.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.linked: str | None = None
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.front: Fault | None = None
        self.asked: list[str] = []
        self.sent = 0
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(ConnectionError):
                    hub._serve(Request(self, hub.content, hub._count))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self.url = self.base + RESOLVE
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent

    def _serve(self, request: Request) -> None:
        with self._lock:
            self.asked.append(f"{request.path} {request.first}-{request.last}")
            stored = request.path == STORED
            bytes_ = stored and request.last > 0
            fault = self.faults.pop(0) if bytes_ and self.faults else None
        if stored:
            (fault or (self.always if bytes_ else None) or Request.serve)(request)
        elif self.front:
            self.front(request)
        elif request.path == RESOLVE:
            linked = [("X-Linked-Etag", f'"{self.linked}"')] if self.linked else []
            request.answer(302, ("Location", STORED), *linked)
        else:
            request.answer(404)
