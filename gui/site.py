"""The console for one stack: its folder, written with the stack's configuration, and a server for
it at `http://localhost:PORT/`.

Any static server may serve the folder instead. This one answers this machine alone, by the name
that the API lets in. It needs Python alone, so that it can be copied with `console/`:

    write(folder, Configuration(api_url=…, cognito_url=…, client_id=…, user_pool_id=…, stack=…))
    with Site(folder) as site:
        print(site.url)
"""

import gzip
import json
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SOURCE = Path(__file__).parent / "console"
# The history of a browser is its port's: always the same one, where it is free.
PORTS = range(8765, 8785)
# Of any port: a tunnel's end may have another than this server.
HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])((?::\d{1,5})?)", re.ASCII)
INDEX, CONFIG, PLACEHOLDER = "index.html", "config.json", "{{connect-src}}"
# Names what was written: nothing else is replaced.
MANIFEST = ".tl-fif-console"
LOOPBACK = ("127.0.0.1", "::1")
NAMES = ("localhost", *LOOPBACK)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {connect}; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
PACKED = "gzip"
IDLE_S = 30


class SiteError(RuntimeError):
    """There is no console; the message is one line with the fix."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What the page is told of a stack: addresses and names, nothing secret."""

    api_url: str
    cognito_url: str
    client_id: str
    user_pool_id: str
    stack: str

    def as_json(self) -> str:
        """`config.json`, whose keys are those of JavaScript."""
        told = {_camel(name): value for name, value in asdict(self).items()}
        return json.dumps(told, indent=2) + "\n"


def connect_src(config: Mapping[str, Any]) -> str:
    """Whom the page may ask beside who serves it, as its policy says it: the API and Cognito.

    Raises SiteError for an address that is none, or that would carry tokens in clear.
    """
    origins = [_origin(key, config.get(key)) for key in ("apiUrl", "cognitoUrl")]
    return " ".join(dict.fromkeys(origins))


# --- the folder -----------------------------------------------------------------------------------


def write(folder: Path, configuration: Configuration, source: Path = SOURCE) -> None:
    """Writes the console's folder, in place of one that was written before.

    It is there whole or as it was. A folder that holds anything else is left alone. Raises
    SiteError.
    """
    config = configuration.as_json()
    connect = connect_src(json.loads(config))
    # The folder itself where a link leads to it.
    folder = folder.resolve()
    try:
        _check_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            _fill(new, source, config, connect)
            _swap(new, folder, Path(scratch) / "old")
    except OSError as error:
        raise SiteError(f"{folder} cannot be written: {error.strerror or error}") from error


def _check_replaceable(folder: Path) -> None:
    """Raises SiteError unless all that is there was written by `write`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SiteError(f"{folder} is a file: name a folder for the console")
    manifest = folder / MANIFEST
    ours = {MANIFEST, *(manifest.read_text().splitlines() if manifest.is_file() else ())}
    there = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    # The first is enough: it may be somebody's whole disk.
    stranger = next((path for path in there if path.as_posix() not in ours), None)
    if stranger is not None:
        raise SiteError(f"{folder} has files of others ({stranger}): name another folder")


def _fill(new: Path, source: Path, config: str, connect: str) -> None:
    written = [CONFIG]
    for path, name in _files(source):
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        written.append(name)
    index = new / INDEX
    if not index.exists():
        raise SiteError(f"{source} has no {INDEX}: is it the console's folder?")
    index.write_bytes(index.read_bytes().replace(PLACEHOLDER.encode(), connect.encode()))
    (new / CONFIG).write_text(config)
    (new / MANIFEST).write_text("\n".join(written) + "\n")


def _swap(new: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def _files(folder: Path) -> Iterable[tuple[Path, str]]:
    """Each file of the folder with its name there; nothing hidden, and no link that leads out."""
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and path.resolve().is_relative_to(root) and path.is_file():
            yield path, name


# --- the server -----------------------------------------------------------------------------------


class Content(NamedTuple):
    """What is answered to a path."""

    body: bytes
    packed: bytes
    type: str
    cache: str


class Site:
    """`with Site(folder) as site`: then `site.url` shows the console in that folder.

    It listens on the first of `ports` that is free on all of this machine's own addresses (0: any),
    since a browser takes `localhost` for either. Both steps raise SiteError.
    """

    def __init__(self, folder: Path, ports: Iterable[int] = PORTS) -> None:
        self.files: Mapping[str, Content] = {}
        self.policy = self.url = ""
        self.port = 0
        self.show(folder)
        self._ports = list(ports)
        self._servers: list[_Server] = []

    def show(self, folder: Path) -> None:
        """Serves this folder from now on, as it is now: what is not read here is never served."""
        try:
            files = {f"/{name}": _content(path) for path, name in _files(folder)}
            config = json.loads(files[f"/{CONFIG}"].body)
            index = files[f"/{INDEX}"]
            policy = CSP.format(connect=connect_src(config))
        except (OSError, KeyError, ValueError, AttributeError) as error:
            told = f"has no {CONFIG} and {INDEX} that can be read ({error})"
            raise SiteError(f"{folder} {told}: write it by make console") from error
        self.policy, self.files = policy, {**files, "/": index}

    def __enter__(self) -> "Site":
        self._servers = _listen(self, self._ports)
        self.port = self._servers[0].server_address[1]
        self.url = f"http://localhost:{self.port}/"
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_S
    # Headers and body in one packet.
    wbufsize = -1
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(explain)s\n"

    @property
    def site(self) -> Site:
        assert isinstance(self.server, _Server)
        return self.server.site

    def do_GET(self) -> None:
        site = self.site
        if {"content-length", "transfer-encoding"} & {name.lower() for name in self.headers}:
            # Nobody reads it: it must not be taken for the next request.
            self.close_connection = True
        hosts = self.headers.get_all("Host") or [""]
        host = HOST.fullmatch(hosts[0].lower())
        if len(hosts) > 1 or not host:
            return self.send_error(421, explain=f"This is {site.url}")
        if host[1] != "localhost":
            # The API lets in http://localhost alone.
            nothing = Content(b"", gzip.compress(b""), TYPES[".txt"], "no-store")
            return self._send(302, nothing, Location=f"http://localhost{host[2]}/")
        found = site.files.get(self.path.partition("?")[0])
        if found is None:
            return self.send_error(404, explain="There is no such page.")
        return self._send(200, found)

    do_HEAD = do_GET

    def _send(self, status: int, content: Content, **headers: str) -> None:
        self.send_response(status)
        told = {"Content-Type": content.type, "Cache-Control": content.cache, **headers}
        body = content.body
        if PACKED in self.headers.get("Accept-Encoding", ""):
            body = content.packed
            told |= {"Content-Encoding": PACKED}
        told |= {"Content-Length": str(len(body)), "Vary": "Accept-Encoding"}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.site.policy)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "tl-fif"

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: Site, host: str, port: int) -> None:
        self.site = site
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The original asks the name service who we are.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that left.
        pass


def _listen(site: Site, ports: list[int]) -> list[_Server]:
    why = "no port was named"
    for port in ports:
        try:
            return _on_both(site, port)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
    tried = f"{ports[0]} to {ports[-1]}" if len(ports) > 1 else f"{ports[0] if ports else ''}"
    raise SiteError(f"port {tried} cannot be had ({why}): choose another")


def _on_both(site: Site, port: int) -> list[_Server]:
    """One server for each of this machine's own addresses. Raises OSError."""
    first = _Server(site, LOOPBACK[0], port)
    if not _has_ipv6():
        return [first]
    try:
        return [first, _Server(site, LOOPBACK[1], first.server_address[1])]
    except OSError:
        first.server_close()
        raise


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((LOOPBACK[1], 0))
    except OSError:
        return False
    return True


# --- what both need -------------------------------------------------------------------------------


def _content(path: Path) -> Content:
    kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
    cache = "no-store" if path.name == CONFIG else "no-cache"
    body = path.read_bytes()
    return Content(body, gzip.compress(body), kind, cache)


def _origin(key: str, url: Any) -> str:
    """A URL's origin, which can stand in a policy. Raises SiteError."""
    fix = "give the address with https://, as the stack's outputs have it"
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError as error:
        raise SiteError(f"{key} {url!r} is no address ({error}): {fix}") from error
    name = parts.hostname or ""
    plain = all(letter.isascii() and (letter.isalnum() or letter in ".-:") for letter in name)
    if parts.scheme not in ("http", "https") or not name or not plain or parts.username is not None:
        raise SiteError(f"{key} {url!r} is no address of an API: {fix}")
    if parts.scheme == "http" and name not in NAMES:
        raise SiteError(f"{key} {url!r} would have tokens sent in clear: {fix}")
    return f"{parts.scheme}://{f'[{name}]' if ':' in name else name}{port}"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
