"""An OpenAI-compatible model that does what the prompt says: for failures that a real one does not
produce to order.

A prompt is `key=value` words: `tokens` (how many), `every` (seconds between them), `first` (seconds
before the first), `break_after` (tokens, then the connection dies), `error_after` (tokens, then an
error event), `refuse` (HTTP status), `prompt` (how many tokens it has itself).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.machine.ports import listen
from local.machine.serving import serving
from tlfif import names

WORD = "tok "


class ScriptedModel:
    """`away` makes every answer 503; `running` counts generations, `aborted` those whose client
    left, `asked` all.
    """

    def __init__(self) -> None:
        self.url = ""
        self.away = False
        self.running = self.aborted = 0
        self.asked: list[str] = []
        self.app = Starlette(
            routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])]
        )

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        if self.away:
            return JSONResponse({"error": {"code": 503, "message": "Loading model"}}, 503)
        if not body.get("stream"):
            return JSONResponse(
                {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
            )
        prompt = body["messages"][0]["content"]
        self.asked.append(prompt)
        script = dict(word.split("=") for word in prompt.split())
        if "refuse" in script:
            message = "request (4031 tokens) exceeds the available context size (2048 tokens)"
            return JSONResponse(
                {"error": {"code": int(script["refuse"]), "message": message}},
                int(script["refuse"]),
            )
        if int(script.get("prompt", 7)) + body.get("max_tokens", 0) > names.CONTEXT_TOKENS:
            # As vLLM 0.10 says it, which refuses what llama.cpp cuts short.
            message = (
                f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}. "
                f"This model's maximum context length is {names.CONTEXT_TOKENS} tokens and your "
                f"request has {script['prompt']} input tokens."
            )
            return JSONResponse({"error": {"code": 400, "message": message}}, 400)
        return StreamingResponse(self._stream(request, script), media_type="text/event-stream")

    async def _stream(self, request: Request, script: dict[str, str]) -> AsyncIterator[bytes]:
        self.running += 1
        ended = False
        try:
            await asyncio.sleep(float(script.get("first", 0)))
            tokens = int(script.get("tokens", 1))
            for number in range(tokens):
                if number == int(script.get("break_after", -1)):
                    request.scope["state"]["transport"].abort()
                if number == int(script.get("error_after", -1)):
                    yield _event({"error": {"code": 500, "message": "out of memory"}})
                yield _event({"choices": [{"delta": {"content": WORD}, "finish_reason": None}]})
                await asyncio.sleep(float(script.get("every", 0)))
            yield _event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            usage = {"prompt_tokens": int(script.get("prompt", 7)), "completion_tokens": tokens}
            yield _event({"choices": [], "usage": usage})
            yield b"data: [DONE]\n\n"
            ended = True
        finally:
            self.running -= 1
            self.aborted += not ended


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def scripted_model(port: int = 0) -> AsyncIterator[ScriptedModel]:
    """A running scripted model."""
    model = ScriptedModel()
    async with serving(model.app, listen(port, "the scripted model")) as model.url:
        yield model


@contextlib.contextmanager
def away(model: ScriptedModel) -> Iterator[None]:
    """The model is loading within a block."""
    model.away = True
    try:
        yield
    finally:
        model.away = False
