"""A model hub on this machine, which serves one file as the real one does: from another address,
to which it sends, in ranges.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from local.machine.ports import listen
from local.machine.serving import serving

REPOSITORY = "tl-fif/local"
_CHUNK = 1 << 20
_RESOLVE = re.compile(r"/[\w.-]+/[\w.-]+/resolve/([0-9a-f]{40})/([^/]+)")
_STORED = re.compile(r"/stored/([0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def sha256_of(path: Path) -> str:
    """The file's SHA-256, which is kept beside it: of some hundred MB it takes a second."""
    status = path.stat()
    state = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    kept = path.with_name(f"{path.name}.sha256.json")
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(kept.read_text())
        if known["state"] == state:
            return known["sha256"]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):
        kept.write_text(json.dumps({"state": state, "sha256": digest}))
    return digest


def local_model_config(path: Path, url: str) -> dict[str, str]:
    """The `tl-fif:model` object of a stack whose lane's weights are this file of the hub at
    `url`.
    """
    digest = sha256_of(path)
    return {
        "hub": url,
        "laneRepository": REPOSITORY,
        "laneFile": path.name,
        "laneRevision": digest[:40],
        "laneSha256": digest,
    }


@contextlib.asynccontextmanager
async def model_hub(path: Path) -> AsyncIterator[str]:
    """Serves the file, which stays as it is meanwhile, until the block ends; yields the hub's URL.

    `/{owner}/{name}/resolve/{revision}/{file}` is a redirect to where the file is stored.
    """
    hub = Hub(path, await asyncio.to_thread(sha256_of, path))
    async with serving(hub, listen(0, "the model hub")) as url:
        yield url


class Hub:
    """The ASGI app: GET and HEAD of one file, by its name at the revision that its hash begins."""

    def __init__(self, path: Path, sha256: str) -> None:
        self._path, self._sha256, self._size = path, sha256, path.stat().st_size

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        named, stored = _RESOLVE.fullmatch(path), _STORED.fullmatch(path)
        if method not in ("GET", "HEAD"):
            await _answer(send, 405)
        elif named and named.groups() == (self._sha256[:40], self._path.name):
            await _answer(
                send,
                302,
                ("location", f"/stored/{self._sha256}"),
                ("x-linked-etag", f'"{self._sha256}"'),
                ("x-linked-size", str(self._size)),
                ("x-repo-commit", self._sha256[:40]),
            )
        elif stored and stored[1] == self._sha256:
            await self._send_file(send, headers.get("range", ""), only_head=method == "HEAD")
        else:
            await _answer(send, 404)

    async def _send_file(self, send: Any, wanted: str, *, only_head: bool) -> None:
        asked, size = _RANGE.fullmatch(wanted), self._size
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        if first > last:
            await _answer(send, 416, ("content-range", f"bytes */{size}"))
            return
        told = [("content-length", str(last - first + 1)), ("accept-ranges", "bytes")]
        if asked:
            told.append(("content-range", f"bytes {first}-{last}/{size}"))
        await _begin(send, 206 if asked else 200, *told)
        if not only_head:
            await self._send_bytes(send, first, last)
        await send({"type": "http.response.body", "body": b""})

    async def _send_bytes(self, send: Any, first: int, last: int) -> None:
        with await asyncio.to_thread(self._path.open, "rb") as file:
            file.seek(first)
            left = last - first + 1
            while left:
                chunk = await asyncio.to_thread(file.read, min(_CHUNK, left))
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                left -= len(chunk)


async def _begin(send: Any, status: int, *headers: tuple[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _answer(send: Any, status: int, *headers: tuple[str, str]) -> None:
    await _begin(send, status, *headers, ("content-length", "0"))
    await send({"type": "http.response.body", "body": b""})
