"""An API that answers by script, for the smoke test: a job that is done after a while, or errors;
and a webhook that keeps what it is told.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JOB = "11111111-2222-4333-8444-555555555555"


@dataclass
class ScriptedApi:
    """`first` answers the client's post, `statuses` those that are traced, in their order, the
    last of them for all that follow; `code` is the error of those that are one. The reply is there
    `reply_after_s` after the first post, and ends as `ends`.
    """

    url: str = ""
    first: int = 202
    code: str = "no"
    statuses: list[int] = field(default_factory=lambda: [202])
    reply_after_s: float = 0.0
    ends: str = "done"
    posts: list[dict[str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    began: float | None = None

    @property
    def webhook(self) -> str:
        return f"{self.url}/webhook"

    def post(self, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.began = self.began or time.monotonic()
        self.posts.append(headers)
        status = self.first
        if "x-amzn-trace-id" in headers:
            count = sum("x-amzn-trace-id" in each for each in self.posts)
            status = self.statuses[min(count, len(self.statuses)) - 1]
        if status >= 400:
            return status, {"error": self.code, "message": f"says {status}"}
        expires_at = int((time.time() + 300) * 1000)
        return status, {"id": JOB, "status": "queued", "expires_at": expires_at}

    def reply(self) -> tuple[int, dict[str, Any]]:
        if self.began is None or time.monotonic() - self.began < self.reply_after_s:
            return 404, {"error": "not_found", "message": "not yet"}
        now = int(time.time() * 1000)
        reply = {"id": JOB, "status": self.ends, "text": "Paris.", "sequence": 1}
        return 200, {**reply, "updated_at": now, "error": "out of memory"}


@contextmanager
def scripted_api() -> Iterator[ScriptedApi]:
    """A running one."""
    api = ScriptedApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/webhook":
                api.told.append(json.loads(body)["text"])
                return self._send(200, {})
            return self._send(*api.post({k.lower(): v for k, v in self.headers.items()}))

        def do_GET(self) -> None:
            self._send(*api.reply())

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
