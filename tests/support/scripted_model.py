"""An OpenAI-compatible engine that does what the prompt says, for failures that a real one does not
produce to order: in this process, or as one of its own (`python -m support.scripted_model`).

A prompt, the last message of a conversation, is `key=value` words:

- `tokens` how many, `every` seconds between them, `first` seconds before the first, `prompt` how
  many tokens it has itself
- `finish` another reason than "stop" at its end; "none" leaves it out, "mute" the end marker too
- `refuse` answers with this HTTP status
- after so many tokens: `break_after` the connection dies, `error_after` an error event comes (of
  code `code`, 500), `hang_after` nothing more comes, `garbage_after` what is no completion
  (`garbage`: a key of GARBAGE), `drop_after` everybody's connection dies, `kill_after` the whole
  process does
- `hold_after` so many tokens it waits until `released` is set
- `faults` on how many tries it fails so; every time without it
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
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
FAULTS = (
    "refuse",
    "break_after",
    "error_after",
    "hang_after",
    "garbage_after",
    "drop_after",
    "kill_after",
)
GARBAGE = {
    "text": b"data: so it goes\n\n",
    "number": b"data: 7\n\n",
    "null": b"data: null\n\n",
    "list": b"data: [1]\n\n",
    "object": b'data: {"status": "fine"}\n\n',
    "choices": b'data: {"choices": "none"}\n\n',
    "bytes": b"data: \xff\xfe\x00\n\n",
    "half": b'data: {"choices": [{"delta": {"content": "to\n\n',
    "detail": b'data: {"detail": "internal"}\n\n',
    "object_error": b'data: {"object": "error", "message": "internal", "code": null}\n\n',
}


class ScriptedModel:
    """`mode` is what becomes of everybody: "" as their prompts say, "away" 503, "dead" 500, "hung"
    200 and silence, "aborting" ends with that reason after a token.

    `running` counts generations, `aborted` those whose client left, `asked` holds the prompts of
    all that are scripts, `conversations` the messages that each came with.
    """

    def __init__(self) -> None:
        self.url = ""
        self.mode = ""
        self.running = self.aborted = 0
        self.released = asyncio.Event()
        self.asked: list[str] = []
        self.conversations: list[list[dict[str, str]]] = []
        self._tries = Counter[str]()
        self._streams: set[Request] = set()
        self.app = Starlette(
            routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])]
        )

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        script = dict(word.split("=", 1) for word in prompt.split() if "=" in word)
        if not script:
            script = {"tokens": "1", "finish": "length"}
        else:
            self.conversations.append(body["messages"])
            if self._count(prompt, script) > int(script.get("faults", 10**9)):
                script = {key: value for key, value in script.items() if key not in FAULTS}
                script.pop("finish", None)
        if self.mode in ("away", "dead"):
            status = 503 if self.mode == "away" else 500
            return _error(status, "Loading model" if self.mode == "away" else "EngineDeadError")
        if "refuse" in script:
            message = "request (4031 tokens) exceeds the available context size (2048 tokens)"
            return _error(int(script["refuse"]), message)
        if int(script.get("prompt", 7)) + body.get("max_tokens", 0) > names.DEFAULT_CONTEXT_TOKENS:
            # As vLLM 0.10 says it, which refuses what llama.cpp cuts short.
            message = (
                f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}. "
                f"This model's maximum context length is {names.DEFAULT_CONTEXT_TOKENS} tokens and "
                f"your request has {script['prompt']} input tokens."
            )
            return _error(400, message)
        if not body.get("stream"):
            return JSONResponse(
                {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
            )
        return StreamingResponse(self._stream(request, script), media_type="text/event-stream")

    def _count(self, prompt: str, script: dict[str, str]) -> int:
        """Notes that this is asked; which try of it that is."""
        self.asked.append(prompt)
        self._tries[prompt] += 1
        return self._tries[prompt]

    async def _stream(self, request: Request, script: dict[str, str]) -> AsyncIterator[bytes]:
        self.running += 1
        self._streams.add(request)
        ended = False
        try:
            if self.mode == "hung":
                await asyncio.Event().wait()
            await asyncio.sleep(float(script.get("first", 0)))
            tokens = int(script.get("tokens", 1))
            for number in range(tokens):
                if script.get("hold_after") == str(number):
                    await self.released.wait()
                async for piece in self._fault(request, script, number):
                    yield piece
                yield _event({"choices": [{"delta": {"content": WORD}, "finish_reason": None}]})
                await asyncio.sleep(float(script.get("every", 0)))
                if self.mode == "aborting":
                    script, tokens = {**script, "finish": "abort"}, number + 1
                    break
            async for piece in self._fault(request, script, tokens):
                yield piece
            finish = script.get("finish", "stop")
            if finish not in ("none", "mute"):
                yield _event({"choices": [{"delta": {}, "finish_reason": finish}]})
            usage = {"prompt_tokens": int(script.get("prompt", 7)), "completion_tokens": tokens}
            yield _event({"choices": [], "usage": usage})
            if finish != "mute":
                yield b"data: [DONE]\n\n"
            ended = True
        finally:
            self.running -= 1
            self._streams.remove(request)
            self.aborted += not ended

    async def _fault(
        self, request: Request, script: dict[str, str], number: int
    ) -> AsyncIterator[bytes]:
        """What happens before the token of this number."""
        due = [name for name in FAULTS if script.get(name) == str(number)]
        dropped = self._streams if "drop_after" in due else {request}
        if "break_after" in due or "drop_after" in due:
            for each in dropped:
                each.scope["state"]["transport"].abort()
        if "error_after" in due:
            code = int(script.get("code", 500))
            yield _event({"error": {"code": code, "message": "out of memory"}})
        if "hang_after" in due:
            await asyncio.Event().wait()
        if "garbage_after" in due:
            yield GARBAGE[script.get("garbage", "text")]
        if "kill_after" in due:
            os.kill(os.getpid(), signal.SIGKILL)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"code": status, "message": message}}, status)


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
    model.mode = "away"
    try:
        yield
    finally:
        model.mode = ""


async def _serve(port: int) -> None:
    async with scripted_model(port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
