"""What the headless client cannot use, or nobody answered: one line that names it, without the
token.
"""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.headless import EXAMPLES, JOB, TOKEN, URL, Scripted, answer, served

from gui.answers import SettingError
from gui.client import AnswerError, ApiError, Client, ClientError, UnreachableError, sign_in

NOW_S = int(datetime(2026, 11, 26, tzinfo=UTC).timestamp())
DATE = "Thu, 26 Nov 2026 00:00:00 GMT"


def refused(api: Scripted, url: str = URL, token: str = TOKEN) -> ClientError:
    """What a prompt comes to."""
    client = Client(url, token, transport=httpx.MockTransport(api))
    with client, pytest.raises(ClientError) as caught:
        client.infer("Hello")
    return caught.value


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "'' is empty"),
        ("api.example.com/v1", "has no scheme; is it https://api.example.com/v1?"),
        ("127.0.0.1:8080/v1", "has no scheme; is it http://127.0.0.1:8080/v1?"),
        ("localhost:8080", "has no scheme; is it http://localhost:8080?"),
        ("ftp://api.example.com", "unknown scheme"),
        ("https://", "names no host"),
        ("https://:443", "names no host"),
        ("https://api:0", "names port 0"),
        ("https://api:65536", "Port out of range"),
        ("https://api:x", "is none"),
        ("https://[::1", "is none"),
        ("https://a..b", "is none"),
        (f"https://{'a' * 64}.com", "is none"),
        ("https://a b", "blanks or control characters"),
        ("https://a\n.com", "blanks or control characters"),
        ("https://a\ud800", "blanks or control characters"),
        ("https://ada:geheim@api/v1", "a user or password"),
        ("https://ada:geheim@[::1", "is none"),
        ("https://api/v1?key=geheim", "a query or fragment"),
        ("https://api/v1#geheim", "a query or fragment"),
        ("https://api/v1/infer", "leave /infer out"),
        ("https://api/v1/status/", "leave /status out"),
        ("http://x.execute-api.eu-central-1.amazonaws.com/v1", "AWS speaks https:// alone"),
    ],
)
def test_an_url_that_cannot_be_one_is_named_without_its_secrets(url: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Client(url, TOKEN)
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", ["http://api", " http://[::1]:1/v1/ ", "HTTPS://api.example/a/b"])
def test_other_urls_are_taken_without_the_slash_at_their_end(url: str) -> None:
    api = Scripted()
    with Client(url, f" {TOKEN}\n", transport=httpx.MockTransport(api)) as client:
        client.infer("Hello")
    [asked] = api.asked
    assert asked.url == f"{url.strip().rstrip('/')}/infer"
    assert asked.headers["Authorization"] == TOKEN


@pytest.mark.parametrize("token", ["", " ", "geheim\nX: y", "geheim geheim", "gehéim", "x" * 8193])
def test_a_token_that_cannot_be_one_is_not_shown(token: str) -> None:
    with pytest.raises(SettingError, match=r"^the token ") as caught:
        Client(URL, token)
    assert "geh" not in str(caught.value)


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (jwt(exp=NOW_S - 90), "the token expired 90 s ago; sign in again"),
        (jwt(exp=NOW_S - 7000), "the token expired 117 min ago"),
        (jwt(exp=NOW_S - 90_000), "the token expired 25 h ago"),
        (jwt(exp=NOW_S + 60), "it of this stack's user pool?"),
        (jwt(exp=10**400), "it of this stack's user pool?"),
        (jwt(exp="soon", token_use="id"), "this is an ID token"),
        ("Bearer not-a-token", "no JWT"),
        ("eyJ.!!!.x", "no JWT"),
        (f"eyJ.{base64.b64encode(b'[]').decode()}.x", "no JWT"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_says_of_itself_why(token: str, says: str, status: int) -> None:
    said = answer(status, {"error": "forbidden", "message": f"not {token}"}, Date=DATE)
    error = refused(Scripted(posts=[said]), token=token)
    assert str(error).startswith(f"{status} forbidden: not ")
    assert says in str(error)
    assert token.removeprefix("Bearer ") not in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"message": "Missing Authentication Token"}),
        (403, {"message": "Forbidden"}),
        (404, {"error": "not_found", "message": "There is no such route."}),
        (404, "<html>nginx</html>"),
    ],
)
def test_an_url_without_its_stage_is_told_what_is_missing(status: int, body: object) -> None:
    said = answer(status, body)
    missing = "http://127.0.0.1:8999 has no stage; is it http://127.0.0.1:8999/v1?"
    assert missing in str(refused(Scripted(posts=[said]), "http://127.0.0.1:8999"))
    doubted = "is http://127.0.0.1:8999/v2 the stack's api_url?"
    assert doubted in str(refused(Scripted(posts=[said]), "http://127.0.0.1:8999/v2"))


def test_another_server_is_named() -> None:
    said = httpx.Response(502, text="<title>502</title><h1>Bad gateway</h1>")
    words = f"502 unknown: 502 Bad gateway ({URL} does not answer as the API does)"
    assert str(refused(Scripted(posts=[said]))) == words


def test_a_spent_budget_says_when_it_lifts_once() -> None:
    until = "2026-12-01T00:00:00Z"
    for message in ("spent", f"spent until {until}"):
        body = {"error": "budget_exhausted", "message": message, "until": until}
        error = refused(Scripted(posts=[answer(402, body)]))
        assert isinstance(error, ApiError)
        assert str(error).count(until) == 1
        assert str(error).startswith(f"402 budget_exhausted: {message}")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (httpx.Response(302, headers={"Location": "http://portal/"}), "redirected (302) to http:"),
        (httpx.Response(200, text="<b>Log in</b> to\x1b[31m WLAN"), "a portal? Log in to [31m W"),
        (httpx.Response(200, json=["a list"]), "no JSON object"),
        (httpx.Response(200, content=b"[" * 100_000), "no JSON object"),
        (httpx.Response(200, content=b"\xff\xfe\x00"), "no JSON object"),
        (httpx.Response(204), "nothing"),
    ],
)
def test_who_is_not_the_api_is_told_from_it(said: httpx.Response, says: str) -> None:
    error = refused(Scripted(posts=[said]))
    assert isinstance(error, AnswerError)
    assert f"POST {URL}/infer" in str(error)
    assert says in str(error)
    assert str(error).isprintable()


def test_what_a_server_repeats_of_the_token_is_not_shown() -> None:
    echo = {"error": TOKEN, "message": f"you sent {TOKEN}", "until": TOKEN}
    for said in (
        answer(400, echo),
        httpx.Response(400, text=f"<p>{TOKEN}"),
        httpx.Response(200, text=f"<p>{TOKEN}"),
        httpx.Response(307, headers={"Location": f"http://portal/?{TOKEN}"}),
    ):
        assert TOKEN not in str(refused(Scripted(posts=[said])))


@contextmanager
def raw(content: bytes) -> Iterator[int]:
    """A port whose server reads a little, says this, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(content)
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("scheme", "content", "says"),
    [
        ("http", b"", "does it want https?"),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "does it want https?"),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "it broke off"),
        (
            "http",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "not",
        ),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks no TLS there"),
    ],
)
def test_who_breaks_off_is_named(scheme: str, content: bytes, says: str) -> None:
    with raw(content) as port:
        url = f"{scheme}://127.0.0.1:{port}/v1"
        with Client(url, TOKEN) as client, pytest.raises(UnreachableError) as caught:
            client.infer("Hello")
    assert str(caught.value).startswith(f"POST {url}/infer: ")
    assert says in str(caught.value)


@pytest.mark.integration
def test_who_is_silent_is_not_waited_for_and_who_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        with Client(url, TOKEN, timeout_s=0.05) as client:
            with pytest.raises(UnreachableError, match="no answer in time") as caught:
                client.infer("Hello")
            assert caught.value.may_have_arrived
    with Client(url, TOKEN) as client:
        with pytest.raises(
            UnreachableError, match=f"POST {url}/infer: cannot be reached"
        ) as caught:
            client.infer("Hello")
        assert not caught.value.may_have_arrived


def test_a_server_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            yield b" " * 100_000

    error = refused(Scripted(posts=[lambda: httpx.Response(200, content=drip())]))
    assert "no end after 4100000 bytes" in str(error)


@pytest.mark.integration
def test_this_machine_is_asked_without_a_proxy_and_others_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with served(Scripted()) as url, Client(url, TOKEN) as client:
        assert client.infer("Hello").id == JOB
    by_proxy = pytest.raises(UnreachableError, match="through the environment's proxy")
    with Client("http://api.example/v1", TOKEN) as client, by_proxy:
        client.infer("Hello")
    monkeypatch.setenv("ALL_PROXY", "nonsense://ada:geheim@x")
    with pytest.raises(ClientError, match="environment's proxy or certificates") as caught:
        Client("http://api.example/v1", TOKEN)
    assert "geheim" not in str(caught.value)


def test_signing_in_to_what_is_no_cognito_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    says: Any = {
        400: {"__type": "NotAuthorizedException", "message": "Incorrect username or password."},
        200: {"ChallengeName": "NEW_PASSWORD_REQUIRED"},
    }
    for status, words in ((400, "400 NotAuthorizedException: Inc"), (200, "a password of their")):
        said = httpx.Response(status, json=says[status])
        monkeypatch.setattr(httpx, "post", lambda *_, said=said, **__: said)
        with pytest.raises(ClientError, match=words):
            sign_in("http://cognito", "c", "ada", "geheim")
    monkeypatch.undo()
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:1: cannot be reached"):
        sign_in("http://127.0.0.1:1", "c", "ada", "geheim")


URLS = st.text(max_size=12)


@settings(max_examples=EXAMPLES, deadline=None)
@given(url=URLS | URLS.map("http://{}".format), token=st.text(max_size=12) | st.just(TOKEN))
def test_no_url_and_no_token_is_anything_but_used_or_refused(url: str, token: str) -> None:
    said = ""
    try:
        with Client(url, token, transport=httpx.MockTransport(Scripted())) as client:
            client.infer("Hello")
    except ClientError as error:
        said = str(error)
    assert said.isprintable()
    assert len(token) < 6 or token in url or token not in said
