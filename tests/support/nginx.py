"""The node's nginx, run as tests need it: the image's configuration before an engine of theirs."""

import contextlib
import json
import os
import select
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.machine.ports import LOOPBACK, free_port
from local.node import proxy
from local.node.proxy import Proxy

NGINX = pytest.mark.skipif(proxy.installed() is None, reason="needs nginx (.ci/packages.txt)")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"12\r\ndata: first token\n\r\n"
)
LAST = b"11\r\ndata: last token\n\r\n0\r\n\r\n"


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client that trusts this certificate, and its names, alone."""
    return ssl.create_default_context(cafile=certificate)


class Engine(socketserver.ThreadingTCPServer):
    """Notes what it is sent, byte by byte. A body with `stream` gets a first token at once and the
    last one when `finish` is set; one with `silent` nothing until then.

    `left` is set when somebody went away instead.
    """

    daemon_threads = True

    # One may have been there just before.
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__((LOOPBACK, port), _Connection)
        # Five may wait otherwise.
        self.socket.listen(128)
        self.requests: list[bytes] = []
        self.finish, self.left = threading.Event(), threading.Event()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def reset(self) -> None:
        self.requests.clear()
        self.finish.clear()
        self.left.clear()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        engine = self.server
        assert isinstance(engine, Engine)
        received = b""
        while select.select([self.request], [], [], 0.05 if _whole(received) else 5)[0]:
            piece = self.request.recv(65_536)
            if not piece:
                break
            received += piece
        engine.requests.append(received)
        if b"stream" in received or b"silent" in received:
            self._generate(engine, b"stream" in received)
        else:
            self.request.sendall(ANSWER)

    def _generate(self, engine: Engine, streaming: bool) -> None:
        if streaming:
            self.request.sendall(STREAM)
        give_up = time.monotonic() + 20
        while not engine.finish.wait(0.01) and time.monotonic() < give_up:
            if select.select([self.request], [], [], 0)[0] and not self.request.recv(1):
                engine.left.set()
                return
        self.request.sendall(LAST if streaming else ANSWER)


def _whole(received: bytes) -> bool:
    """Whether this is at least one request; what else comes then is looked at, too."""
    head, ended, body = received.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return bool(ended) and len(body) >= sum(lengths)


@contextlib.contextmanager
def engine(port: int = 0) -> Iterator[Engine]:
    """One that runs within the block, at this port or at any."""
    with Engine(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.finish.set()
            server.shutdown()
            thread.join()


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """One that runs; `log` is what it has written."""

    proxy: Proxy
    log: Path

    @contextlib.contextmanager
    def connection(self, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
        """A TLS connection, by a client that trusts its certificate."""
        context = context or trusting(self.proxy.certificate)
        with (
            socket.create_connection((LOOPBACK, self.proxy.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            yield secure

    def exchange(self, request: bytes) -> bytes:
        """Sends these bytes by TLS; what comes back until the end."""
        with self.connection() as connection:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                connection.sendall(request)
            return until_closed(connection)


def get(target: str, *headers: str) -> bytes:
    """A request, byte by byte."""
    lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, *headers: str, path: str = "/v1/completions") -> bytes:
    """A request with a body, whose length it states unless it comes in chunks."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    """An answer's status."""
    return int(answer.split(b" ", 2)[1])


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer that is nginx's own: JSON with a sentence, and no version."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nServer: nginx\r\n" in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nCache-Control: no-store" in head
    said = json.loads(body)
    assert said.keys() == {"error", "message"}
    assert said["message"].endswith(".")
    return status(answer), said["error"]


def until_closed(connection: Any) -> bytes:
    """What is received until the other side closes or resets."""
    received = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65_536):
            received += piece
    return received


@contextlib.contextmanager
def nginx(folder: Path, engine_port: int, **changes: str) -> Iterator[Nginx]:
    """Runs it within the block; `changes` are other values of the configuration's directives."""
    found = proxy.installed()
    assert found is not None
    run, log = folder / "run", folder / "nginx.log"
    run.mkdir(parents=True)
    settings = Proxy(
        nginx=found,
        port=free_port(),
        engine_port=engine_port,
        folder=run,
        certificate=folder / "tls" / "node.pem",
    )
    command = settings.configure()
    text = (run / "nginx.conf").read_text()
    for directive, value in changes.items():
        before, there, after = text.partition(f" {directive} ")
        assert there, f"{directive} is not in the configuration"
        text = f"{before} {directive} {value};{after.partition(';')[2]}"
    (run / "nginx.conf").write_text(text)
    # Who asks the metadata service.
    nobody = {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1",
    }
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **nobody})
    try:
        _wait(settings.port, process, log)
        yield Nginx(proxy=settings, log=log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        time.sleep(0.02)
    raise AssertionError(f"nginx does not listen: {log.read_text()}")
