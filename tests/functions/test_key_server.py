"""A key server that does not answer, or nonsense: nobody can be judged, so nobody is refused."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from support import calm
from support.world import World

KEYS = json.dumps({"keys": [{"kty": "RSA", "kid": "other", "n": "AQAB", "e": "AQAB"}]}).encode()


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


# What the server says to every question before it hangs up; None: nothing, and it does not.
ANSWERS: dict[str, bytes | None] = {
    "silence": None,
    "hangs up": b"",
    "half a status line": b"HTTP/1.1 2",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "500": http(b"{}", "500 Internal Server Error"),
    "503 in HTML": http(b"<html>down</html>", "503 Service Unavailable"),
    "403": http(b"{}", "403 Forbidden"),
    "404": http(b"{}", "404 Not Found"),
    "429": http(b"{}", "429 Too Many Requests"),
    "a redirect to itself": http(b"", "302 Found\r\nLocation: /"),
    "a redirect elsewhere": http(b"", "302 Found\r\nLocation: ftp://127.0.0.1:1/"),
    "HTML": http(b"<html>Sign in to the hotel's network</html>"),
    "empty": http(b""),
    "no content": http(b"", "204 No Content"),
    "truncated": http(KEYS[:20], length=len(KEYS)),
    "truncated chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "no UTF-8": http(b'{"keys": "\xff\xfe"}'),
    "nested too deep": http(b"[" * 90_000),
    "endless": http(b" " * 200_000 + KEYS),
    "null": http(b"null"),
    "no keys": http(b"{}"),
    "keys: null": http(b'{"keys": null}'),
    "keys: text": http(b'{"keys": "none"}'),
    "keys: a map": http(b'{"keys": {"kid": "k1"}}'),
    "an empty list": http(b'{"keys": []}'),
    "a list of nothing": http(b'{"keys": [null, 1, [], {}]}'),
    "no good key": http(KEYS),
}


@contextmanager
def serving(answer: bytes | None) -> Iterator[str]:
    """The address of a key server that says this."""
    open_ = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(4096)
                if answer is None:
                    open_.append(connection)
                    continue
                with connection:
                    connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/jwks.json"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_:
                connection.close()


@pytest.mark.story("API-002", "LAM-002")
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_broken_key_server_is_a_503_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with serving(ANSWERS[name]) as url:
        monkeypatch.setenv("TLFIF_JWKS_URL", url)
        began = calm.now()
        answer = await world.infer()
        assert calm.now() - began < 5
        assert (answer.status, answer.body["error"]) == (503, "authorizer_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        # An authorizer that fails is what API Gateway answers with its response
        # AUTHORIZER_FAILURE, and does not remember; a Deny it would, for a minute.
        with pytest.raises(Exception, match="jwks") as failure:
            await world.authorize(world.pool.token("ada"))
        assert type(failure.value).__name__ == "KeysUnavailable"
