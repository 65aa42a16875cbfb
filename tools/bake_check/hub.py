"""A model hub on the loopback address: it lists and serves a revision's files as the real one."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Files = Mapping[str, Path]
_TREE = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/tree/([\w.-]+)\?recursive=true")
_FILE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")
# What the hub keeps outside git, and names by its SHA-256.
_LARGE = (".gguf", ".safetensors", ".model")


@contextlib.contextmanager
def serving(repositories: Mapping[tuple[str, str], Files]) -> Iterator[str]:
    """Serves each (repository, revision)'s files until the block ends; yields the hub's URL."""

    class Handler(_Handler):
        served = repositories

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Mapping[tuple[str, str], Files]

    def do_GET(self) -> None:
        if tree := _TREE.fullmatch(self.path):
            files = self.served.get((tree[1], tree[2]))
            if files is not None:
                listed = [_listed(path, file) for path, file in files.items()]
                self._answer(json.dumps(listed).encode(), "application/json")
                return
        elif named := _FILE.fullmatch(self.path):
            file = self.served.get((named[1], named[2]), {}).get(named[3])
            if file is not None:
                self._answer(file.read_bytes(), "application/octet-stream")
                return
        self.send_error(404)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def _listed(path: str, file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(_LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return entry
