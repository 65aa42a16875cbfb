"""The hub: one file of it over HTTP, in ranges, whatever becomes of single connections."""

import contextlib
import http.client
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from model_fetch.refusals import Clock, Refusal

# For a connection, and for each wait for more bytes.
TIMEOUT_S = 20.0
# How often a range is asked for in all, where it is cut or refused for the moment.
TRIES = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
_CHUNK = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LINKED = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')
# A server that is too busy or not well may be better in a moment.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})

T = TypeVar("T")


class Interrupted(Exception):
    """A request that may go better when it is sent again, but not before `after_s` seconds."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(frozen=True, kw_only=True)
class File:
    """What the hub says of a file: its bytes, and its SHA-256 or '' if it does not tell."""

    size: int
    sha256: str


class Hub:
    """The file at `url`, served by its hub or by whom that names; several threads may read it.

    No credentials are sent. Every range asks the hub itself for the way, because the address on its
    CDN is signed and good for an hour only. Raises Refusal, with what to do.
    """

    def __init__(self, url: str, clock: Clock, *, otherwise: str) -> None:
        """`otherwise` is how else the file can be brought, for messages."""
        self._url, self._clock, self._otherwise = url, clock, otherwise

    def look(self) -> File:
        """Asks for the first byte: how large the file is, and which."""

        def ask() -> File:
            hops = _Hops()
            with self._open(0, 0, hops) as (response, size):
                response.read()
            linked = _LINKED.fullmatch(hops.etag)
            return File(size=size, sha256=linked[1] if linked else "")

        return self._patiently(ask)

    def read(self, first: int, last: int, size: int) -> bytearray:
        """The bytes from `first` to `last` of the file, which has `size`; what was cut is gone on
        with from where it was.
        """
        got, wanted = bytearray(), last - first + 1

        def ask() -> bytearray:
            with self._open(first + len(got), last, _Hops()) as (response, found):
                if found != size:
                    raise Refusal(
                        f"{self._url} had {size} bytes, and has {found} now: a revision does not "
                        f"change; use another hub (tl-fif:model.hub), or {self._otherwise}"
                    )
                while len(got) < wanted:
                    self._clock.check()
                    chunk = response.read1(min(_CHUNK, wanted - len(got)))
                    if not chunk:
                        raise Interrupted(f"the answer ends {wanted - len(got)} bytes too early")
                    got.extend(chunk)
            return got

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[], T]) -> T:
        last = Interrupted("")
        for tried in range(TRIES):
            if tried:
                backoff_s = min(FIRST_PAUSE_S * 2 ** (tried - 1), LONGEST_PAUSE_S)
                time.sleep(max(last.after_s, backoff_s * random.uniform(0.5, 1)))
            self._clock.check()
            try:
                return ask()
            except Interrupted as error:
                last = error
            except (OSError, http.client.HTTPException) as error:
                last = Interrupted(_named(error))
        raise Refusal(
            f"the hub does not give {self._url}: {last}, {TRIES} times. It is asked again every "
            f"hour; or {self._otherwise}"
        )

    @contextlib.contextmanager
    def _open(self, first: int, last: int, hops: "_Hops") -> Generator[tuple[Any, int], None, None]:
        """The answer to a range, once it is known to be that very range, and the file's size."""
        headers = {"Range": f"bytes={first}-{last}", "User-Agent": "tl-fif-model-fetch"}
        request = urllib.request.Request(self._url, headers=headers)
        try:
            # Without proxies: nothing of the environment decides where weights come from.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), hops)
            response = opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refusal(
                    f"{self._url}: the certificate of the hub is not good: {error.reason}"
                ) from error
            raise
        with response:
            yield response, self._size(response, first, last)

    def _size(self, response: Any, first: int, last: int) -> int:
        said = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(said)
        if response.status != 206 or not found:
            raise Refusal(
                f"{self._url} is not served in ranges (status {response.status}): use another hub "
                f"(tl-fif:model.hub), or {self._otherwise}"
            )
        if (int(found[1]), int(found[2])) != (first, last):
            raise Interrupted(f"bytes {first}-{last} were asked for, and {said} answered")
        return int(found[3])

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        status = error.code
        if status in _PASSING:
            waits = error.headers.get("Retry-After", "")
            after_s = min(float(waits), LONGEST_PAUSE_S) if waits.isdigit() else 0.0
            raise Interrupted(f"it answers {status}", after_s)
        if status in (401, 403):
            raise Refusal(
                f"the hub does not let everybody read {self._url} ({status}): the repository is "
                f"gated or private, or does not exist; choose a public one, or {self._otherwise}"
            )
        if status in (404, 410):
            raise Refusal(
                f"the hub has no {self._url} ({status}): correct tl-fif:model.repository, "
                f"tl-fif:model.revision or tl-fif:model.file, or {self._otherwise}"
            )
        # A circle of redirects is one of these, too: the error says so.
        why = " ".join(str(error.reason).split())
        raise Refusal(
            f"the hub refuses {self._url} ({status} {why}): use another hub (tl-fif:model.hub), "
            f"or {self._otherwise}"
        )


class _Hops(urllib.request.HTTPRedirectHandler):
    """Follows the hub to its CDN; `etag` is what the hub itself says of the file: its SHA-256."""

    etag = ""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        self.etag = self.etag or headers.get("X-Linked-Etag", "")
        to = urlsplit(newurl)
        if to.scheme != "https" and to.hostname not in _LOOPBACK:
            where = f"{to.scheme}://{to.hostname}"
            raise Refusal(f"the hub sends from {req.full_url} to {where}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _named(error: Exception) -> str:
    """An error as one line, such as a refused connection or a name that is not known."""
    reason = getattr(error, "reason", None) or error
    return " ".join(f"{type(reason).__name__}: {reason}".split())
