"""What the watcher makes of a model server's answers (EC2-003); the bytes are those that vLLM and
llama.cpp send.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tlfif.queue.conversation import Message, of
from worker.completions import (
    Chunk,
    JobRefusedError,
    ModelAwayError,
    ModelBrokeError,
    Usage,
)
from worker.model import Model

pytestmark = pytest.mark.story("EC2-003")

HI = of({"prompt": "Hi"})
CONVERSATION: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "I am Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    {"role": "user", "content": "Who am I?"},
]
DONE = b"data: [DONE]\n\n"


def event(**document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


STOP = event(choices=[{"delta": {}, "finish_reason": "stop"}])


def text(content: str | None) -> bytes:
    return event(choices=[{"delta": {"content": content}, "finish_reason": None}])


class Stream(httpx.AsyncByteStream):
    """A body in given pieces; an exception among them is raised.

    `closed` when the client has left.
    """

    def __init__(self, *pieces: bytes | Exception):
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        self.closed = True


def model_that(answer: Callable[[httpx.Request], httpx.Response]) -> Model:
    return Model("http://model", "tinyllama", transport=httpx.MockTransport(answer))


def model_streaming(*pieces: bytes | Exception) -> Model:
    return model_that(lambda request: httpx.Response(200, stream=Stream(*pieces)))


async def chunks(model: Model) -> list[Chunk]:
    return [chunk async for chunk in model.stream(HI, {})]


async def test_the_request_is_openai_s_and_the_options_cannot_bend_it() -> None:
    seen: dict[str, Any] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen.update(json.loads(request.content), path=request.url.path)
        return httpx.Response(200, stream=Stream(STOP, DONE))

    options = {"temperature": 0.2, "max_tokens": 9, "model": "other", "stream": False}
    assert [chunk async for chunk in model_that(answer).stream(CONVERSATION, options)] == [
        Chunk(finish_reason="stop")
    ]
    assert seen == {
        "path": "/v1/chat/completions",
        "model": "tinyllama",
        "messages": CONVERSATION,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
        "max_tokens": 9,
    }


async def test_text_finish_reason_and_usage_come_out() -> None:
    stop = event(choices=[{"delta": {}, "finish_reason": "stop"}])
    usage = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    got = await chunks(model_streaming(text(None), text("Par"), text("is"), stop, usage, DONE))
    assert [chunk.text for chunk in got] == ["", "Par", "is", "", ""]
    assert (got[3].finish_reason, got[4].usage) == ("stop", Usage(5, 2))


async def test_any_split_of_the_bytes_gives_the_same_text() -> None:
    """Including line separators that JSON leaves unescaped and characters cut in half."""
    wanted = "na\u2028\u00efve \x85 \U0001f999 \r\n end"
    body = b": ping\n\n" + text(wanted) + b"\n" + STOP + DONE
    for size in (1, 2, 3, 7, len(body)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        assert "".join(chunk.text for chunk in await chunks(model_streaming(*pieces))) == wanted


async def test_carriage_returns_end_lines_too() -> None:
    body = (text("a") + STOP + DONE).replace(b"\n", b"\r\n")
    assert [chunk.text for chunk in await chunks(model_streaming(body))] == ["a", ""]


@pytest.mark.parametrize(
    "pieces",
    [
        (text("a"),),
        (text("a"), httpx.ReadError("reset")),
        (text("a"), httpx.ReadTimeout("silent")),
        (text("a"), httpx.RemoteProtocolError("cut")),
        (text("a"), event(error={"code": 500, "message": "out of memory"})),
        (text("a"), event(error={"message": "no code"})),
    ],
)
async def test_a_stream_that_fails_is_the_models_fault_perhaps_the_jobs(
    pieces: tuple[bytes | Exception, ...],
) -> None:
    stream = model_streaming(*pieces).stream(HI, {})
    assert (await anext(stream)).text == "a"
    with pytest.raises(ModelBrokeError):
        await anext(stream)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (
            400,
            '{"error":{"code":400,"message":"request (4031 tokens) exceeds 2048"}}',
            JobRefusedError,
            "exceeds 2048",
        ),
        (
            400,
            '{"object":"error","message":"maximum context length is 2048"}',
            JobRefusedError,
            "maximum context",
        ),
        (422, '{"detail":"no such field"}', JobRefusedError, "no such field"),
        (
            404,
            '{"error":{"message":"The model `x` does not exist."}}',
            ModelAwayError,
            "does not exist",
        ),
        (503, '{"error":{"message":"Loading model"}}', ModelAwayError, "503: Loading model"),
        (429, "busy", ModelAwayError, "429: busy"),
        (500, "Internal Server Error", ModelBrokeError, "500: Internal"),
        (500, '{"error":"text"}', ModelBrokeError, "500: text"),
        (500, "[]", ModelBrokeError, "500"),
    ],
)
async def test_refusals_say_whose_fault_they_are(
    status: int, body: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await chunks(model_that(lambda request: httpx.Response(status, text=body)))


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
async def test_a_server_that_is_down_is_away(failure: Exception) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise failure

    model = model_that(answer)
    with pytest.raises(ModelAwayError):
        await chunks(model)
    assert type(failure).__name__ in str(await model.probe(1))


async def test_leaving_early_closes_the_stream() -> None:
    body = Stream(text("a"), text("b"), DONE)
    model = model_that(lambda request: httpx.Response(200, stream=body))
    async with contextlib.aclosing(model.stream(HI, {})) as stream:
        async for _ in stream:
            break
    assert body.closed


@pytest.mark.parametrize(
    ("messages", "fix"),
    [(HI, "send a shorter prompt"), (CONVERSATION, "send fewer or shorter messages")],
)
async def test_what_is_too_long_for_the_model_is_refused_with_the_fix(
    messages: list[Message], fix: str
) -> None:
    told = '{"error":{"message":"This model\'s maximum context length is 2048 tokens"}}'
    model = model_that(lambda request: httpx.Response(400, text=told))
    with pytest.raises(JobRefusedError, match=f"share 2048 tokens: {fix}"):
        await anext(model.stream(messages, {}))
