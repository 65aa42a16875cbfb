"""A real nginx with the image's own configuration, before an engine that notes every byte."""

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from support.nginx import (
    ANSWER,
    NGINX,
    Engine,
    Nginx,
    engine,
    get,
    nginx,
    post,
    refusal,
    status,
    trusting,
    until_closed,
)

from local.machine.ports import LOOPBACK, free_port
from local.node.proxy import CONFIGURATION
from tlfif import names

TEXT = re.sub(r"(?m)^ *#.*$", "", CONFIGURATION.read_text())
PATHS = {
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/models": "GET",
    "/health": "GET",
}
# As the configuration must not be: what a client meets whom a server does not refuse.
ANYTHING = {"ssl_protocols": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", "ssl_ciphers": "ALL:@SECLEVEL=0"}

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-005")]


@pytest.fixture(scope="module")
def running_engine() -> Iterator[Engine]:
    with engine() as running:
        yield running


@pytest.fixture
def model(running_engine: Engine) -> Engine:
    running_engine.reset()
    return running_engine


@pytest.fixture(scope="module")
def front(running_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with nginx(tmp_path_factory.mktemp("nginx"), running_engine.port) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """One that waits for a second where the real one waits for ten, and whose engine is away."""
    waits = ("client_header_timeout", "client_body_timeout", "proxy_read_timeout")
    second = dict.fromkeys(waits, "1s")
    with nginx(tmp_path_factory.mktemp("impatient"), free_port(), **second) as running:
        yield running


def lines_of(running: Nginx) -> list[dict[str, object]]:
    lines = running.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"time"')]


# --- TLS


def client(version: ssl.TLSVersion) -> ssl.SSLContext:
    """One that speaks this version alone, with whatever ciphers: it refuses nothing itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    old = version < ssl.TLSVersion.TLSv1_2
    with pytest.warns(DeprecationWarning, match="deprecated") if old else ExitStack():
        context.minimum_version = context.maximum_version = version
    return context


@NGINX
def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(
    front: Nginx, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = [client(ssl.TLSVersion.TLSv1), client(ssl.TLSVersion.TLSv1_1)]
    for context in old:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"), front.connection(context):
            pass
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with front.connection(client(version)) as connection:
            assert connection.version() == version.name.replace("_", ".")
    with nginx(tmp_path_factory.mktemp("old"), free_port(), **ANYTHING) as anybody:
        for context in old:
            with anybody.connection(context) as connection:
                assert connection.version() in ("TLSv1", "TLSv1.1"), "it was the server who refused"


@NGINX
@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"])
def test_ciphers_without_authentication_are_refused(front: Nginx, cipher: str) -> None:
    context = client(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"), front.connection(context):
        pass


@NGINX
def test_plaintext_gets_no_answer(front: Nginx, model: Engine) -> None:
    with socket.create_connection((LOOPBACK, front.proxy.port), 10) as connection:
        connection.sendall(get("/v1/models"))
        assert until_closed(connection) == b""
    assert model.requests == []


@NGINX
def test_the_certificate_is_the_nodes_own(front: Nginx) -> None:
    with front.connection(trusting(front.proxy.certificate)) as connection:
        certificate = connection.getpeercert()
    assert certificate is not None
    alternatives = set(certificate["subjectAltName"])
    assert alternatives == {("DNS", "localhost"), ("DNS", socket.gethostname())}


# --- what is behind it


def test_there_is_one_port_and_one_engine() -> None:
    assert re.findall(r"\blisten ([^;]+);", TEXT) == ["443 ssl"]
    targets = re.findall(r"\b\w+_pass ([^;]+);", TEXT)
    assert targets == [f"http://127.0.0.1:{names.MODEL_PORT}{path}" for path in PATHS]
    assert re.findall(r"location ([^{]+) {", TEXT)[: len(PATHS)] == [f"= {path}" for path in PATHS]
    assert not re.search(r"\b(upstream|include|alias|root|autoindex|resolver)\b", TEXT)
    assert TEXT.count(f"limit_conn requests {names.ENGINE_SEQUENCES};") == 2


@NGINX
@pytest.mark.parametrize(("path", "method"), PATHS.items())
def test_a_path_has_one_method(front: Nginx, model: Engine, path: str, method: str) -> None:
    for other in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} - {method}:
        request = get(path).replace(b"GET", other.encode(), 1)
        answer = front.exchange(request)
        assert refusal(answer) == (405, "method_not_allowed")
        assert f"\r\nAllow: {method}".encode() in answer
    for unheard in (b"TRACE", b"CONNECT", b"HEAD"):
        assert status(front.exchange(get(path).replace(b"GET", unheard, 1))) in (400, 405)
    assert model.requests == []
    answered = front.exchange(get(path) if method == "GET" else post(b"{}", path=path))
    assert answered.endswith(ANSWER[-2:])
    assert model.requests[0].startswith(f"{method} {path} HTTP/1.1\r\n".encode())


# What vLLM has besides; and other ways to spell a path.
CLOSED = """
/metrics /load /sleep /wake_up /is_sleeping /collective_rpc /tokenize /detokenize /ping /version
/server_info /reset_prefix_cache /docs /redoc /openapi.json /invocations /pooling /score /rerank
/v1/load_lora_adapter /v1/unload_lora_adapter /v1/responses /v1/embeddings /v1/messages /v1/ /v1
/ /v1/models/ /V1/models /health/x /@error /error //metrics //v1/../metrics /v1/../metrics
/v1/models/../../metrics /v1/%2e%2e/metrics /%2e%2e/metrics /v1/..%2fmetrics
/v1/models%2f..%2f..%2fmetrics /v1/models/%252e%252e/%252e%252e/metrics
/v1/models;/../../metrics /v1/models\\..\\..\\metrics /v1/models%00 /v1/models%00/../../metrics
/v1/models%20/../metrics /v1/models%0d%0aX:1 http://127.0.0.1:8000/metrics https://x//metrics
/../metrics /v1/..;/metrics * metrics /v1/models%3f/../../metrics
"""
SAME = (
    "//v1//models",
    "/v1/./models",
    "/metrics/../v1/models",
    "/v1/%6dodels",
    "/v1/models?a=/../../metrics",
    "http://127.0.0.1:9/v1/models",
)


@NGINX
def test_no_spelling_of_a_path_leads_elsewhere(front: Nginx, model: Engine) -> None:
    for target in CLOSED.split():
        assert refusal(front.exchange(get(target)))[0] in (400, 404), target
    assert model.requests == []
    for target in SAME:
        assert status(front.exchange(get(target))) == 200, target
    asked = {request.split(b"\r\n")[0] for request in model.requests}
    assert asked == {
        b"GET /v1/models HTTP/1.1",
        b"GET /v1/models?a=/../../metrics HTTP/1.1",
    }


SECOND = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": post(
        b"0\r\n\r\n" + SECOND, "Content-Length: 5", "Transfer-Encoding: chunked"
    ),
    "chunks twice": post(
        b"0\r\n\r\n" + SECOND, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"
    ),
    "odd chunks": post(b"0\r\n\r\n" + SECOND, "Transfer-Encoding: xchunked"),
    "two lengths": post(b"{}" + SECOND, "Content-Length: 38"),
    "a negative length": get("/v1/models", "Content-Length: -1") + SECOND,
    "a length with a sign": get("/v1/models", "Content-Length: +5") + SECOND,
    "a folded header": get("/v1/models", "X: a", " Transfer-Encoding: chunked") + SECOND,
    "a space before the colon": get("/v1/models", "Transfer-Encoding : chunked") + SECOND,
    "a bare line feed": get("/v1/models", "X: a\nTransfer-Encoding: chunked") + SECOND,
    "a body of a GET": get("/v1/models", f"Content-Length: {len(SECOND)}") + SECOND,
    "another protocol": get("/v1/models", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk") + SECOND,
}


@NGINX
@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_could_be_two_requests_is_one_or_none(
    front: Nginx, model: Engine, request_: bytes
) -> None:
    answer = front.exchange(request_)
    assert answer == b"" or status(answer) in (200, 400, 404, 405, 501)
    assert len(model.requests) <= 1
    for received in model.requests:
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] in (b"/v1/completions", b"/v1/models")
        framing = re.findall(rb"(?im)^(transfer-encoding|content-length)\s*:\s*(\S+)", head)
        assert len(framing) <= 1
        assert len(body) == sum(int(value) for _, value in framing), "and it says how long it is"
        assert not re.search(rb"(?im)^(upgrade|http2-settings: .*upgrade)", head)


@NGINX
def test_the_engine_hears_nothing_of_whom_a_caller_claims_to_speak_to(
    front: Nginx, model: Engine
) -> None:
    front.exchange(get("/v1/models", "TE: trailers", "Keep-Alive: 1").replace(b": x", b": evil"))
    head = model.requests[0].lower()
    assert b"evil" not in head
    assert b"\r\nconnection: close\r\n" in head


# --- size and time


@NGINX
def test_large_bodies_stay_in_memory_and_larger_ones_are_refused(
    front: Nginx, model: Engine
) -> None:
    body = b"x" * 900_000
    assert status(front.exchange(post(body))) == 200
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert status(front.exchange(post(chunked, "Transfer-Encoding: chunked"))) == 200
    assert [request.partition(b"\r\n\r\n")[2] for request in model.requests] == [body, body]
    # nginx warns of each.
    assert "temporary file" not in front.log.read_text()
    model.reset()
    assert refusal(front.exchange(post(b"x" * 1_100_000))) == (413, "too_large")
    assert model.requests == []


@NGINX
def test_huge_and_malformed_heads_are_refused(front: Nginx, model: Engine) -> None:
    long = "a" * 9_000
    many = [f"X-{number}: {'a' * 4_000}" for number in range(10)]
    for request in (
        get("/v1/models", f"X: {long}"),
        get("/v1/models", *many),
        get(f"/{long}"),
        get("/v1/models").replace(b"Host: x\r\n", b""),
        get("/v1/models", "Host: y"),
        get("/v1/models").replace(b"HTTP/1.1", b"HTTP/3.7"),
        b"\x00\x01\x02\r\n\r\n",
    ):
        answer = front.exchange(request)
        assert status(answer) in (400, 414, 505), request[:80]
        assert b"nginx/" not in answer
    assert model.requests == []


@NGINX
def test_the_first_token_is_there_while_the_engine_still_generates(
    front: Nginx, model: Engine
) -> None:
    with front.connection() as connection:
        connection.sendall(post(b'{"stream": true}'))
        received = b""
        while b"first token" not in received:
            piece = connection.recv(65_536)
            assert piece, received
            received += piece
        assert not model.finish.is_set()
        model.finish.set()
        assert b"last token" in until_closed(connection)


@NGINX
@pytest.mark.parametrize("body", [b'{"stream": true}', b'{"silent": true}'])
def test_a_caller_who_goes_away_takes_the_generation_along(
    front: Nginx, model: Engine, body: bytes
) -> None:
    with front.connection() as connection:
        connection.sendall(post(body))
        give_up = time.monotonic() + 10
        while not model.requests and time.monotonic() < give_up:
            time.sleep(0.01)
        assert not model.left.is_set()
    assert model.left.wait(5)


@NGINX
def test_an_engine_that_is_away_is_said_so(impatient: Nginx) -> None:
    for request in (get("/health"), post(b"{}")):
        answer = impatient.exchange(request)
        assert refusal(answer) == (503, "engine_unavailable")
        assert b"\r\nRetry-After: 10\r\n" in answer


@NGINX
def test_an_engine_that_is_there_and_silent_is_given_up(impatient: Nginx) -> None:
    with engine(impatient.proxy.engine_port) as late:
        assert status(impatient.exchange(get("/health"))) == 200, "it is found as soon as it is up"
        answer = impatient.exchange(post(b'{"silent": true}'))
        assert refusal(answer) == (504, "engine_timeout")
        assert late.left.wait(5)


@NGINX
def test_the_engine_is_asked_no_more_at_once_than_it_takes(front: Nginx, model: Engine) -> None:
    silent = post(b'{"silent": true}')
    with ExitStack() as open_ones:
        asked = [open_ones.enter_context(front.connection()) for _ in range(names.ENGINE_SEQUENCES)]
        for connection in asked:
            connection.sendall(silent)
        give_up = time.monotonic() + 10
        while len(model.requests) < len(asked) and time.monotonic() < give_up:
            time.sleep(0.01)
        answer = front.exchange(silent)
        assert refusal(answer) == (429, "busy")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert status(front.exchange(get("/health"))) == 200, (
            "the balancer's question is no request"
        )
        model.finish.set()
        assert {status(until_closed(connection)) for connection in asked} == {200}
    assert status(front.exchange(silent)) == 200


@NGINX
def test_who_is_slow_loses_the_connection_and_keeps_nobody_waiting(impatient: Nginx) -> None:
    """A head that comes a byte at a time, a body that never ends, connections that say nothing."""
    context = trusting(impatient.proxy.certificate)
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(impatient.connection(context)) for _ in range(20)]
        for connection in slow[:5]:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nX: ")
        for connection in slow[5:10]:
            connection.sendall(post(b"{}")[:-1])
        assert status(impatient.exchange(get("/health"))) == 503, "whoever is not slow is served"
        for _ in range(3):
            time.sleep(0.25)
            for connection in slow[:5]:
                # It may be closed already.
                with suppress(OSError):
                    connection.sendall(b"a")
        assert [until_closed(connection) for connection in slow] == [b""] * 20


# --- what it writes down


@NGINX
def test_the_access_log_is_json_and_has_no_prompts(front: Nginx, model: Engine) -> None:
    secret = 'my "secret" prompt'
    front.exchange(post(json.dumps({"prompt": secret}).encode(), f"X-Prompt: {secret}"))
    front.exchange(get("/v1/models?prompt=secret"))
    front.exchange(get('/v1/"\\secret-path'))
    last = lines_of(front)[-3:]
    assert [(line["method"], line["path"], line["status"]) for line in last] == [
        ("POST", "/v1/completions", 200),
        ("GET", "/v1/models", 200),
        ("GET", '/v1/"\\secret-path', 404),
    ]
    assert "prompt" not in json.dumps(last)
    assert {line["tls"] for line in last} == {"TLSv1.3"}
