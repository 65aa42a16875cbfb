"""Whatever the stack accepts from the bridge is delivered or cancelled, at whatever moment its
client goes away.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from support.bridges import KEY, Running, request
from support.calls import eventually
from support.scripted_stack import Look, ScriptedStack, done, refusal

from gui.bridge.stack import jobs
from gui.bridge.stack.api import Job

pytestmark = pytest.mark.integration
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connection(
    running: Running,
) -> AsyncIterator[Connection]:
    host, _, port = running.url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def sent(*, stream: bool = True) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(request(stream=stream)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def so(condition: Callable[[], bool]) -> None:
    async def is_so() -> bool:
        return condition()

    await eventually(is_so)


# --- clients that leave


async def before_the_whole_request(stack: ScriptedStack, reader: asyncio.StreamReader) -> None:
    """It has not all been sent."""


async def before_the_post_is_answered(stack: ScriptedStack, reader: asyncio.StreamReader) -> None:
    await so(lambda: bool(stack.posts))


async def while_it_waits(stack: ScriptedStack, reader: asyncio.StreamReader) -> None:
    await so(lambda: bool(stack.looks))


async def in_the_middle(stack: ScriptedStack, reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"words")


async def in_line(stack: ScriptedStack, reader: asyncio.StreamReader) -> None:
    await so(lambda: len(stack.posts) == 1 and not stack.refusals)


Leaves = Callable[[ScriptedStack, asyncio.StreamReader], Awaitable[None]]
LEAVES: dict[str, tuple[Leaves, Sequence[Look]]] = {
    "before the whole request": (before_the_whole_request, [None]),
    "before the post is answered": (before_the_post_is_answered, [None]),
    "while it waits": (while_it_waits, [None]),
    "in the middle": (in_the_middle, [None, "words"]),
    "while it is in line": (in_line, [None]),
}


@pytest.mark.parametrize("moment", LEAVES)
async def test_whoever_leaves_takes_the_job_with_them(
    running: Running, stack: ScriptedStack, moment: str
) -> None:
    leaves, script = LEAVES[moment]
    stack.script = [*script]
    if leaves is before_the_post_is_answered:
        stack.gate.clear()
    if leaves is in_line:
        stack.refusals = [refusal(429, "rate_limited", wait_s=15)]
    async with connection(running) as (reader, writer):
        raw = sent()
        writer.write(raw[:-5] if leaves is before_the_whole_request else raw)
        await writer.drain()
        async with asyncio.timeout(60):
            await leaves(stack, reader)
    if leaves is before_the_post_is_answered:
        stack.gate.set()
    if leaves in (before_the_whole_request, in_line):
        assert (await running.http.get("/models")).status_code == 200
        await running.bridge.close(5)
        assert stack.jobs == {}
        return
    await so(lambda: bool(stack.cancelled))
    assert stack.unended == set()
    assert running.said == []


async def test_whoever_leaves_without_a_stream_takes_the_job_with_them(
    running: Running, stack: ScriptedStack
) -> None:
    stack.script = [None, "Pa"]
    async with connection(running) as (_, writer):
        writer.write(sent(stream=False))
        await so(lambda: bool(stack.looks))
    await so(lambda: bool(stack.cancelled))


async def test_whoever_leaves_after_the_end_has_cancelled_nothing(
    running: Running, stack: ScriptedStack
) -> None:
    async with connection(running) as (reader, writer):
        writer.write(sent())
        async with asyncio.timeout(60):
            await reader.readuntil(b"[DONE]")
    await running.bridge.close(5)
    assert (stack.unended, stack.cancelled) == (set(), set())


async def test_a_job_whose_acceptance_got_lost_is_found_and_cancelled(
    running: Running, stack: ScriptedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504: API Gateway did not wait, and the router may have accepted it all the same."""
    monkeypatch.setattr(jobs, "TRIES", 1)
    stack.refusals = [refusal(504, "timeout", wait_s=1)]
    assert (await running.chat()).status_code == 504
    await running.bridge.close(5)
    assert stack.cancelled == set(stack.jobs.values())
    assert len(stack.cancelled) == 1


async def test_a_slow_reader_gets_all_of_it(running: Running, stack: ScriptedStack) -> None:
    stack.script = [done("long " * 200_000)]
    async with connection(running) as (reader, writer):
        writer.write(sent())
        await so(lambda: bool(stack.ended))
        answer = b""
        async with asyncio.timeout(60):
            while not answer.endswith(b"0\r\n\r\n"):
                answer += await reader.read(50_000)
    assert answer.count(b"long ") == 200_000


# --- the end


async def test_when_the_bridge_ends_streams_are_told_and_jobs_cancelled(
    running: Running, stack: ScriptedStack
) -> None:
    stack.script = [None]
    streams = [asyncio.create_task(running.chat(stream=stream)) for stream in (True, False)]
    await so(lambda: len(stack.looks) == 2)
    await running.bridge.close(5)
    streamed, whole = [await stream for stream in streams]
    assert '"code":"stopped"' in streamed.text
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "stopped")
    assert stack.cancelled == set(stack.jobs.values())
    assert len(stack.cancelled) == 2
    assert (await running.chat()).status_code == 503


# --- what is believed of a job without a reply


async def test_a_job_that_nobody_took_in_time_has_expired_by_the_servers_clock(
    running: Running, stack: ScriptedStack
) -> None:
    """Whatever this machine's says; the next look is an hour later there."""
    stack.script = [None]
    stack.server_ms = lambda: 3_600_000 * sum(stack.looks.values(), start=len(stack.looks))
    answer = await running.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "expired")


async def test_a_reply_that_does_not_change_any_more_has_expired(
    running: Running, stack: ScriptedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SILENCE_S", 0.3)
    silent = {"status": "running", "text": "Pa", "sequence": 1, "updated_at": 1}
    stack.script = [silent]
    answer = await running.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "expired")


@pytest.mark.parametrize(
    ("estimate_s", "waited_s", "begun", "pause_s"),
    [
        (None, 0, False, 0.1),
        (60, 0, False, 2.0),
        (60, 49, False, 2.0),
        (60, 51, False, 0.5),
        (9, 2, False, 0.25),
        (60, 0, True, 0.5),
    ],
)
def test_looks_are_rare_while_the_answer_is_far(
    monkeypatch: pytest.MonkeyPatch,
    estimate_s: float | None,
    waited_s: float,
    begun: bool,
    pause_s: float,
) -> None:
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: 100.0 + waited_s))
    job = Job("id", estimate_s, 0, 100.0)
    assert jobs._pause_s(job, begun=begun) == pause_s
