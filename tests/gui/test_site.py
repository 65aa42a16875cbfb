"""The console's folder and who serves it: written whole or not at all, and served to this machine's
own pages alone.
"""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gui import site as site_module
from gui.site import CSP, Configuration, Site, SiteError, write

CONFIGURATION = Configuration(
    api_url="https://abc.execute-api.eu-west-1.amazonaws.com/v1",
    cognito_url="https://cognito-idp.eu-west-1.amazonaws.com/",
    client_id="client",
    user_pool_id="eu-west-1_Abc",
    stack="dev",
)
CONNECT = (
    "https://abc.execute-api.eu-west-1.amazonaws.com https://cognito-idp.eu-west-1.amazonaws.com"
)
INDEX = "<meta content='connect-src {{connect-src}};'><p>Hello</p>"


def told(**changed: str) -> Configuration:
    return Configuration(**{**vars(CONFIGURATION), **changed})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small console."""
    source = tmp_path / "source"
    (source / "parts").mkdir(parents=True)
    (source / "index.html").write_text(INDEX)
    (source / "parts" / "main.js").write_text("export {};")
    (source / ".hidden").write_text("not served")
    return source


@pytest.fixture
def folder(tmp_path: Path, source: Path) -> Path:
    folder = tmp_path / "written" / "dev"
    write(folder, CONFIGURATION, source)
    return folder


# --- the folder


def test_the_folder_has_the_configuration_and_the_policy(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text()) == {
        "apiUrl": CONFIGURATION.api_url,
        "cognitoUrl": CONFIGURATION.cognito_url,
        "clientId": "client",
        "userPoolId": "eu-west-1_Abc",
        "stack": "dev",
    }
    assert (folder / "index.html").read_text() == INDEX.replace("{{connect-src}}", CONNECT)
    files = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
    assert files == {"index.html", "config.json", "parts/main.js", site_module.MANIFEST}
    assert list(folder.parent.iterdir()) == [folder], "nothing else is left beside it"


def test_it_is_written_anew_without_what_is_no_more(folder: Path, source: Path) -> None:
    (source / "parts" / "main.js").rename(source / "new.js")
    write(folder, told(stack="prod"), source)
    assert json.loads((folder / "config.json").read_text())["stack"] == "prod"
    assert (folder / "new.js").exists()
    assert not (folder / "parts").exists()


def test_what_others_put_there_is_left_alone(folder: Path, source: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = (folder / "config.json").read_text()
    with pytest.raises(SiteError, match=r"files of others \(notes.txt\): name another folder"):
        write(folder, told(stack="prod"), source)
    assert (folder / "config.json").read_text() == before
    home = tmp_path / "home"
    home.mkdir()
    (home / "index.html").write_text("mine")
    with pytest.raises(SiteError, match="files of others"):
        write(home, CONFIGURATION, source)
    with pytest.raises(SiteError, match="is a file: name a folder"):
        write(home / "index.html", CONFIGURATION, source)


@pytest.mark.parametrize("fails", ["copyfile", "rename"])
def test_a_write_that_fails_leaves_what_was_there(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return real(path, target)

    def copyfile(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (folder / "config.json").read_text()
    if fails == "rename":
        monkeypatch.setattr(Path, "rename", rename)
    else:
        monkeypatch.setattr(site_module.shutil, "copyfile", copyfile)
    with pytest.raises(SiteError, match="cannot be written: No space left"):
        write(folder, told(stack="prod"), source)
    assert (folder / "config.json").read_text() == before
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("key", "url", "says"),
    [
        ("api_url", "http://api.example.com/v1", "tokens sent in clear"),
        ("api_url", "", "is no address"),
        ("api_url", "ftp://api.example.com", "is no address"),
        ("api_url", "https://api.example.com:99999/", "is no address"),
        ("api_url", "https://user:secret@api.example.com/", "is no address"),
        ("api_url", "https://a.example; script-src *", "is no address"),
        ("api_url", "https://*/", "is no address"),
        ("api_url", 'https://a"><script>/', "is no address"),
        ("cognito_url", "https://[::1", "is no address"),
        ("cognito_url", "cognito-idp.eu-west-1.amazonaws.com", "is no address"),
    ],
)
def test_an_address_that_would_loosen_the_policy_is_refused(
    tmp_path: Path, source: Path, key: str, url: str, says: str
) -> None:
    name = "apiUrl" if key == "api_url" else "cognitoUrl"
    with pytest.raises(SiteError, match=f"^{name} .*{says}.*: give the address") as refused:
        write(tmp_path / "written", told(**{key: url}), source)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost", "http://[::1]:80"])
def test_this_machines_own_addresses_need_no_tls(tmp_path: Path, source: Path, url: str) -> None:
    write(tmp_path / "written", told(api_url=url), source)


# --- the server


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with Site(folder, [0] * 5) as site:
        yield site


def ask(
    site: Site, path: str = "/", method: str = "GET", host: str | None = None, at: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(at, site.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if host is None or host:
            connection.putheader("Host", host or f"localhost:{site.port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_each_file_is_served_with_its_type_and_the_policy(site: Site) -> None:
    for path, kind, cache in (
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html?a=b", "text/html; charset=utf-8", "no-cache"),
        ("/parts/main.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/config.json", "application/json", "no-store"),
    ):
        status, headers, _ = ask(site, path)
        assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, kind, cache)
        assert headers["Content-Security-Policy"] == CSP.format(connect=CONNECT)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    status, headers, body = ask(site, "/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_a_browser_gets_it_packed(site: Site) -> None:
    connection = http.client.HTTPConnection("localhost", site.port, timeout=60)
    for _ in range(2):
        connection.request("GET", "/", headers={"Accept-Encoding": "gzip, deflate, br"})
        answer = connection.getresponse()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == ask(site)[2]
    connection.close()


def test_both_addresses_that_a_browser_takes_localhost_for_answer(site: Site) -> None:
    assert ask(site)[0] == 200
    if not site_module._has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert ask(site, at="::1")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/parts", "/parts/", "/.hidden", f"/{site_module.MANIFEST}", "/parts/../index.html",
        "/../config.json", "/..%2f..%2fetc/passwd", "/%2e%2e/source/index.html", "/./index.html",
        "/etc/passwd", "//etc/passwd", "/link.html", "/index.html/", "/index.html%00.js", "*",
        "/\\..\\index.html", "http://localhost/index.html", "/CON", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_nothing_else_is_served(folder: Path, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    (folder / "link.html").symlink_to(secret)
    with Site(folder, [0] * 5) as site:
        status, headers, body = ask(site, path)
    assert status == 404
    assert b"secret" not in body
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Security-Policy" in headers


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "localhost:", "localhost:x", "localhost.attacker.example:{port}", " ",
     "attacker.example:{port}", "localhost:{port}@attacker.example", "0.0.0.0:{port}"],
)  # fmt: skip
def test_it_answers_to_its_own_name_alone(site: Site, host: str) -> None:
    status, _, body = ask(site, host=host.format(port=site.port))
    assert status == 421
    assert body.decode() == f"421 This is {site.url}\n"


def test_a_tunnel_s_end_may_have_another_port(site: Site) -> None:
    for host in ("localhost", "localhost:9000"):
        assert ask(site, host=host)[0] == 200
    status, headers, _ = ask(site, host="127.0.0.1:9000")
    assert (status, headers["Location"]) == (302, "http://localhost:9000/")


def test_who_comes_by_the_address_is_sent_to_the_name_that_the_api_lets_in(site: Site) -> None:
    for host in (f"127.0.0.1:{site.port}", f"[::1]:{site.port}"):
        status, headers, _ = ask(site, "/config.json", host=host)
        assert (status, headers["Location"]) == (302, site.url)


def raw(site: Site, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(request.format(port=site.port).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", b"421"),
        ("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: attacker.example\r\n\r\n", b"421"),
        ("POST / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", b"501"),
        ("<b> / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", b"501"),
        ("GET / HTTP/9.9\r\n\r\n", b"505"),
        ("nonsense\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_of_a_browsers_is_refused(
    site: Site, request_: str, status: bytes
) -> None:
    answer = raw(site, request_)
    assert answer.split(b"\r\n")[0].split()[1:2] == [status] or status in answer[:40]
    assert b"<b>" not in answer.partition(b"\r\n\r\n")[2].replace(b"&lt;b&gt;", b"")


def test_a_body_is_not_taken_for_the_next_request(site: Site) -> None:
    host = "Host: localhost:{port}\r\n"
    inner = f"GET /config.json HTTP/1.1\r\n{host}\r\n"
    answer = raw(site, f"GET / HTTP/1.1\r\n{host}Content-Length: 60\r\n\r\n{inner}")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_what_was_written_since_is_served_when_it_is_shown(
    site: Site, folder: Path, source: Path
) -> None:
    write(folder, told(stack="prod", api_url="https://other.example/v1"), source)
    assert b"prod" not in ask(site, "/config.json")[2]
    site.show(folder)
    _, headers, body = ask(site, "/config.json")
    assert json.loads(body)["stack"] == "prod"
    assert "https://other.example" in headers["Content-Security-Policy"]


def test_a_port_that_is_taken_is_passed_over_or_named(folder: Path, site: Site) -> None:
    with Site(folder, [site.port, 0]) as other:
        assert other.port != site.port
    with pytest.raises(SiteError, match=rf"port {site.port} cannot be had .*: choose another"):
        Site(folder, [site.port]).__enter__()
    with pytest.raises(SiteError, match="port 99999 cannot be had"):
        Site(folder, [99_999]).__enter__()


@pytest.mark.parametrize("at", site_module.LOOPBACK)
def test_a_port_that_somebody_has_on_one_address_is_not_taken_on_the_other(
    folder: Path, at: str
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET) as squatter:
        try:
            squatter.bind((at, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(SiteError, match=f"port {port} cannot be had"):
            Site(folder, [port]).__enter__()


@pytest.mark.parametrize("broken", [None, "", "[]", '{"apiUrl": 7}'])
def test_a_folder_that_is_no_console_is_one_line(folder: Path, broken: Any) -> None:
    config = folder / "config.json"
    if broken is None:
        config.unlink()
    else:
        config.write_text(broken)
    with pytest.raises(SiteError) as refused:
        Site(folder)
    assert "\n" not in str(refused.value)


def test_the_console_itself_has_what_is_filled_in() -> None:
    index = (site_module.SOURCE / "index.html").read_text()
    assert index.count(site_module.PLACEHOLDER) == 1
