"""The bridge over HTTP: what it serves, whom it lets in, and what it says otherwise."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from support.bridges import KEY, Running
from support.scripted_stack import ScriptedStack, done, ended, refusal

from gui.bridge.app import Access, Bridge
from gui.bridge.stack import jobs

pytestmark = pytest.mark.integration


def events(text: str) -> list[Any]:
    """What a stream's events carry; comments are skipped, as by any client."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [
        block if (block := each.removeprefix("data: ")) == "[DONE]" else json.loads(block)
        for each in blocks
    ]


# --- answers


async def test_an_answer(running: Running, stack: ScriptedStack) -> None:
    answer = await running.chat(max_tokens=5)
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["object"] == "chat.completion"
    assert body["model"] == "tl-fif"
    assert body["choices"][0]["message"]["content"] == "Paris."
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert body["id"] == f"chatcmpl-{answer.headers['x-request-id']}"
    said = [{"role": "user", "content": "Hello"}]
    assert stack.posts == [{"messages": said, "max_tokens": 5}]
    assert stack.unended == stack.cancelled == set()


async def test_a_stream_with_its_usage(running: Running, stack: ScriptedStack) -> None:
    stack.script = [None, "Pa", "Paris", done("Paris is", finish_reason="length")]
    wanted = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await running.chat(**wanted)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, usage, end = events(answer.text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Pa"},
        {"content": "ris"},
        {"content": " is"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["length"]
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert (usage["choices"], usage["usage"]["total_tokens"], end) == ([], 10, "[DONE]")


async def test_while_a_node_wakes_a_stream_says_what_is_done_and_for_how_long(
    running: Running, stack: ScriptedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.bridge.delivery.WAITING_S", 0.0)
    monkeypatch.setattr("gui.bridge.stack.jobs.FAR_LOOK_S", 0.1)
    stack.estimate, stack.script = 43.4, [*[None] * 4, done("Paris.")]
    text = (await running.chat(stream=True)).text
    comments = [line for line in text.splitlines() if line.startswith(":")]
    assert comments[0] == ": starting, eta 43 s"
    assert comments[-1].startswith(": node loading, lane off, eta 4")
    assert events(text)[-1] == "[DONE]"


async def test_text_that_looks_like_the_stream_stays_text(
    running: Running, stack: ScriptedStack
) -> None:
    hostile = '\n\ndata: [DONE]\n\n: x\r\ndata: {"error":{}}\u2028\u0085😀'
    stack.script = [hostile[:3], hostile[:20], done(hostile)]
    chunks = events((await running.chat(hostile, stream=True)).text)[:-1]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == hostile
    assert stack.posts[0]["messages"][0]["content"] == hostile


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_ends_the_answer_and_the_job(
    running: Running, stack: ScriptedStack, stream: bool
) -> None:
    stack.script = ["One EN", "One END two", done("One END two three")]
    answer = await running.chat(stream=stream, stop=["END"])
    if stream:
        chunks = events(answer.text)[:-1]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        text, reason = choice["message"]["content"], choice["finish_reason"]
    assert (text, reason) == ("One ", "stop")
    await running.bridge.close(5)
    assert stack.cancelled == set(stack.jobs.values())


# --- what ends without an answer


ENDS = [
    (ended("failed", error="the engine broke"), 500, "failed"),
    (ended("failed", error="maximum context length is 2048"), 400, "context_length_exceeded"),
    (ended("expired", reason="nobody took it"), 503, "expired"),
    (ended("cancelled", reason="stopped"), 503, "cancelled"),
]


@pytest.mark.parametrize(("end", "status", "code"), ENDS)
async def test_a_job_that_ends_without_an_answer_is_an_error_that_no_client_repeats(
    running: Running, stack: ScriptedStack, end: dict[str, Any], status: int, code: str
) -> None:
    stack.script = ["Pa", end]
    answer = await running.chat()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert answer.headers.get("x-should-retry") == (None if status == 400 else "false")
    *_, last, mark = events((await running.chat(stream=True)).text)
    assert (last, mark) == ({"error": error}, "[DONE]")


async def test_a_stream_whose_worker_was_replaced_ends_with_an_error_not_with_a_mixture(
    running: Running, stack: ScriptedStack
) -> None:
    stack.script = ["One two", "Once upon", done("Once upon a time")]
    *_, last, mark = events((await running.chat(stream=True)).text)
    assert (last["error"]["code"], mark) == ("began_anew", "[DONE]")
    whole = (await running.chat()).json()
    assert whole["choices"][0]["message"]["content"] == "Once upon a time"
    await running.bridge.close(5)
    assert stack.unended == set()


async def test_a_stack_that_fails_for_a_moment_is_borne_and_one_that_goes_on_is_an_error(
    running: Running, stack: ScriptedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.failing = [refusal(502, wait_s=0), refusal(429, wait_s=0)]
    assert (await running.chat()).status_code == 200
    monkeypatch.setattr(jobs, "BEAR_S", 0.0)
    stack.failing = [refusal(502, "storage_unavailable")] * 5
    answer = await running.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "storage_unavailable")
    await running.bridge.close(5)
    assert stack.unended == set()


# --- refusals of the stack's


REFUSED = [
    (refusal(400, "invalid_request", field="seed", message="seed is bad"), 400, "invalid_request"),
    (refusal(402, "budget_exhausted"), 429, "insufficient_quota"),
    (refusal(413, "too_large"), 413, "too_large"),
    (refusal(429, "quota_exceeded", wait_s=3600), 429, "rate_limit_exceeded"),
    (refusal(503, "no_capacity", wait_s=60), 503, "no_capacity"),
]


@pytest.mark.parametrize(("said", "status", "code"), REFUSED)
async def test_a_refusal_of_the_stacks_is_one_of_openais(
    running: Running, stack: ScriptedStack, said: Any, status: int, code: str
) -> None:
    stack.refusals = [said]
    answer = await running.chat(stream=True)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers.get("retry-after") == said.headers.get("retry-after")
    repeats = answer.headers.get("x-should-retry") != "false"
    assert repeats == (code not in ("insufficient_quota", "rate_limit_exceeded"))
    assert error["param"] == ("seed" if status == 400 else None)


async def test_a_short_wait_is_waited_for_here_and_one_job_comes_of_it(
    running: Running, stack: ScriptedStack
) -> None:
    stack.refusals = [refusal(429, "rate_limited", wait_s=1), refusal(503, wait_s=1)]
    assert (await running.chat()).status_code == 200
    assert len(stack.posts) == 3
    assert len(stack.jobs) == 1


async def test_many_at_once_are_bounded_and_each_has_an_answer(
    running: Running, stack: ScriptedStack
) -> None:
    answers = await asyncio.gather(*(running.chat() for _ in range(200)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 64
    assert {a.headers["retry-after"] for a in answers if a.status_code == 429} == {"5"}
    assert stack.unended == set()


# --- the surface


async def test_models(running: Running) -> None:
    listed = (await running.http.get("/models")).json()
    assert [each["id"] for each in listed["data"]] == ["tl-fif"]
    assert (await running.http.get("/models/tl-fif")).json() == listed["data"][0]
    answer = await running.http.get("/models/org/other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/v1/completions", 404, "POST /v1/completions is not served"),
        ("POST", "/chat/completions", 404, "the base URL ends in /v1"),
        ("GET", "/v1/chat/completions", 405, "is not allowed"),
        ("DELETE", "/v1/models", 405, "is not allowed"),
        ("OPTIONS", "/v1/models", 405, "is not allowed"),
        ("POST", "/v1/chat/completions", 400, "not JSON"),
    ],
)
async def test_what_is_not_served_is_refused_in_openais_words(
    running: Running, method: str, path: str, status: int, says: str
) -> None:
    url = running.url.removesuffix("/v1") + path
    answer = await running.http.request(method, url, content=b"{" if status == 400 else None)
    error = answer.json()["error"]
    assert (answer.status_code, set(error)) == (status, {"message", "type", "param", "code"})
    assert says in error["message"]
    assert (answer.headers.get("allow") is not None) == (status == 405)


async def test_a_body_that_is_too_large_is_a_413_that_its_sender_can_read(
    running: Running, stack: ScriptedStack
) -> None:
    answer = await running.http.post("/chat/completions", content=b"x" * (3 << 20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert stack.posts == []


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", KEY, "Bearer \xe4"],
)
async def test_nobody_is_let_in_without_the_key(running: Running, sent: str) -> None:
    headers = {b"Authorization": sent.encode("latin-1")}
    for path in ("/models", "/nothing"):
        answer = await running.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "10.0.0.1", "", "[::1"])
async def test_nobody_is_let_in_by_another_name_of_this_machine(
    running: Running, host: str
) -> None:
    answer = await running.http.get("/models", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80"])
async def test_this_machines_own_names_are_let_in(running: Running, host: str) -> None:
    assert (await running.http.get("/models", headers={"Host": host})).status_code == 200


async def asked(access: Access, method: str = "GET", **headers: str) -> httpx.Response:
    """One request to a bridge whom these may ask."""
    stack = ScriptedStack()
    async with stack.client():
        bridge = Bridge(None, access, print)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(bridge.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            sent = {"Authorization": f"Bearer {KEY}", **headers}
            return await http.request(method, "/v1/models", headers=sent)


async def test_a_page_may_ask_only_if_it_was_named() -> None:
    page = "http://localhost:3000"
    preflight = {"Origin": page, "Access-Control-Request-Method": "POST", "Authorization": ""}
    access = Access(key=KEY, origins=[page])
    answer = await asked(access, "OPTIONS", **preflight)
    assert answer.headers["access-control-allow-origin"] == page
    asks = {"Access-Control-Request-Private-Network": "true"}
    answer = await asked(access, "OPTIONS", **preflight, **asks)
    assert answer.headers["access-control-allow-private-network"] == "true"
    refused = await asked(access, Origin=page, Authorization="")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, page)
    other = await asked(access, "OPTIONS", **{**preflight, "Origin": "http://evil.test"})
    assert "access-control-allow-origin" not in other.headers
    answer = await asked(Access(key=KEY), Origin=page)
    assert "access-control-allow-origin" not in answer.headers


async def test_what_is_reached_by_others_is_reached_by_address_or_by_a_name_it_was_told() -> None:
    access = Access(key=KEY, hosts=["host.docker.internal"], any_address=True)
    hosts = {"10.0.0.1:80": 200, "host.docker.internal": 200, "evil.test": 403}
    for host, status in hosts.items():
        assert (await asked(access, Host=host)).status_code == status
