"""An API that answers the headless client by script, within this process or behind a port; and the
command, run as a process whose signals and terminal are the test's.
"""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gui import client as client_module
from gui.terminal import asking, command, waiting

ROOT = Path(__file__).parents[2]
JOB = "11111111-2222-4333-8444-555555555555"
URL = "http://127.0.0.1:8999/v1"
TOKEN = "eyJraWQiOiJr.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
LIMIT_S = 60.0
# Of each property; `make fuzz` looks longer.
EXAMPLES = int(os.environ.get("TLFIF_FUZZ_EXAMPLES", "50"))

Said = httpx.Response | Exception | Callable[[], httpx.Response]


def answer(status: int, body: object, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def accepted(state: str = "queued", **more: object) -> httpx.Response:
    return answer(202, {"id": JOB, "status": state, "expires_at": 4e12, **more})


def reply(status: str, text: str = "", sequence: int = 1, **more: object) -> httpx.Response:
    return answer(
        200,
        {"id": JOB, "status": status, "text": text, "sequence": sequence, "updated_at": 1, **more},
    )


def refusal(
    status: int, code: str = "no", message: str = "not now", **headers: str
) -> httpx.Response:
    return answer(status, {"error": code, "message": message}, **headers)


NOT_YET = partial(refusal, 404, "not_found")


@dataclass
class Scripted:
    """Each list answers in its order, the last of it for all that follow. `asked` is what came."""

    posts: list[Said] = field(default_factory=lambda: [accepted])
    replies: list[Said] = field(default_factory=lambda: [lambda: reply("done", "Paris.")])
    deletes: list[Said] = field(
        default_factory=lambda: [lambda: answer(200, {"status": "cancelled", "id": JOB})]
    )
    status: Said = field(default_factory=lambda: lambda: answer(200, {"node": "ready"}))
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path.endswith("/status"):
            said = self.status
        else:
            by = {"POST": self.posts, "GET": self.replies, "DELETE": self.deletes}
            script = by[request.method]
            said = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, httpx.Response) else said()

    def methods(self) -> list[str]:
        """What was asked, without what is only shown."""
        return [each.method for each in self.asked if not each.url.path.endswith("/status")]

    def bodies(self) -> list[dict[str, Any]]:
        """What was posted."""
        return [json.loads(each.content) for each in self.asked if each.method == "POST"]


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


class Headless:
    """The command within this process, with a scripted API, and a clock that only pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = Scripted()
        self.slept: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: sum(self.slept), sleep=self.slept.append)
        for module in (client_module, asking, waiting):
            monkeypatch.setattr(module, "time", clock)
        transport = httpx.MockTransport(lambda request: self.api(request))
        made = partial(client_module.Client, transport=transport)
        monkeypatch.setattr(command, "Client", made)
        monkeypatch.setenv("TLFIF_API", URL)
        monkeypatch.setenv("TLFIF_TOKEN", TOKEN)
        self._monkeypatch = monkeypatch

    def run(self, *argv: str, stdin: bytes | None = None) -> Ended:
        """`python -m gui.client`, with what stdin has; a closed one without."""
        typed = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        self._monkeypatch.setattr(sys, "stdin", typed)
        out, err = _stream("strict"), _stream("backslashreplace")
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = command.main(argv)
            except SystemExit as ended:
                code = int(str(ended.code))
        return Ended(code, _content(out), _content(err))


def _stream(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, newline="")


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


@contextmanager
def served(api: Scripted) -> Iterator[str]:
    """The scripted API behind a port; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._answer
            raise AttributeError(name)

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = httpx.Request(
                self.command,
                f"http://api{self.path}",
                headers=dict(self.headers.items()),
                content=self.rfile.read(length),
            )
            said = api(request)
            self.send_response_only(said.status_code)
            for name, value in said.headers.items():
                self.send_header(name, value)
            # Who was interrupted does not read it.
            with suppress(OSError):
                self.end_headers()
                self.wfile.write(said.content)

        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def started(url: str, *argv: str, shell: tuple[str, ...] = (), **more: Any) -> Any:
    """`python -m gui.client` as a process (a Popen of bytes), by default with pipes; `shell` is
    a script that ends with exec "$@", and its $0.
    """
    environment = {**os.environ, "TLFIF_API": url, "TLFIF_TOKEN": TOKEN, "TERM": "xterm"}
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.Popen(
        [*(("sh", "-c", *shell) if shell else ()), sys.executable, "-m", "gui.client", *argv],
        cwd=ROOT,
        env=environment,
        **{**pipes, **more},
    )


def ended(process: "subprocess.Popen[bytes]") -> Ended:
    """Waits for the end of a process; it is killed when there is none."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def until(so: Callable[[], bool]) -> None:
    """Waits for what another process or thread does."""
    give_up_at = time.monotonic() + LIMIT_S
    while not so():
        assert time.monotonic() < give_up_at, "it did not come to that"
        time.sleep(0.01)
