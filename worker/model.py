"""Asks the model server next door (vLLM, llama.cpp) over its OpenAI-compatible API."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tlfif import names
from tlfif.queue.conversation import Message
from worker import completions
from worker.completions import (
    Chunk,
    JobRefusedError,
    ModelAwayError,
    ModelBrokeError,
    ModelError,
    ModelSilentError,
    ModelStuckError,
)

CONNECT_TIMEOUT_S = 2.0
# One real token: the engine may say that it is healthy and be unable to generate.
PROBE = [Message(role="user", content="Hi")]


@dataclass(frozen=True)
class Patience:
    """How long an engine may be silent, in seconds, before it has failed.

    - `silence_s`: a request, between two events of its stream; also a probe of an engine that still
      loads, because the first generation may compile something
    - `probe_s`: a probe of one that has answered before, with a sequence free for it
    """

    silence_s: float = 60.0
    probe_s: float = 10.0


class Model:
    """One served model, whose prompts and answers share `context_tokens`. Use as an async context
    manager.
    """

    def __init__(
        self,
        url: str,
        name: str,
        patience: Patience | None = None,
        context_tokens: int = names.DEFAULT_CONTEXT_TOKENS,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self.patience = patience or Patience()
        self.context_tokens = context_tokens
        self._name = name
        # When any job last heard of the engine, by time.monotonic().
        self.heard_at = 0.0
        # A connection each: the server closes idle ones after seconds, perhaps just when a request
        # goes out.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(self.patience.silence_s, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(
            base_url=url, limits=limits, timeout=timeout, trust_env=False, transport=transport
        )

    async def __aenter__(self) -> "Model":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def probe(self, timeout_s: float) -> ModelError | None:
        """Asks for one real token, as a job does; None when it comes in time, else why not."""
        try:
            await asyncio.wait_for(self._one_token(), timeout_s)
        except asyncio.TimeoutError:
            return ModelSilentError(f"no token within {timeout_s:g} s")
        except ModelError as error:
            return error
        except JobRefusedError as error:
            return ModelAwayError(f"it refuses the simplest request: {error}")
        return None

    async def _one_token(self) -> None:
        async with contextlib.aclosing(self._generate(PROBE, {"max_tokens": 1})) as chunks:
            async for _ in chunks:
                pass

    async def stream(
        self, messages: Sequence[Message], options: Mapping[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        """Generates what follows `messages`, which the engine's own template makes a prompt of;
        leaving the iteration early closes the connection, and so ends the generation.

        An engine that refuses `max_tokens` because prompt and answer together would be too long is
        asked again without: then it takes what the prompt has left, which is less.

        Ends when the answer is complete. Raises JobRefusedError, ModelAwayError before anything was
        generated, or ModelBrokeError.
        """
        try:
            async with contextlib.aclosing(self._generate(messages, options)) as chunks:
                async for chunk in chunks:
                    self.heard_at = time.monotonic()
                    yield chunk
        except JobRefusedError as error:
            if not _is_too_long(error):
                raise
            if "max_tokens" not in options:
                shared = f"prompt and answer share {self.context_tokens} tokens"
                fix = "a shorter prompt" if len(messages) == 1 else "fewer or shorter messages"
                raise JobRefusedError(f"{error}; {shared}: send {fix}") from error
        else:
            return
        unbounded = {name: value for name, value in options.items() if name != "max_tokens"}
        async with contextlib.aclosing(self.stream(messages, unbounded)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _generate(
        self, messages: Sequence[Message], options: Mapping[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        request = {
            **options,
            "model": self._name,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        finished = False
        try:
            async with self._client.stream("POST", "/v1/chat/completions", json=request) as answer:
                if answer.status_code != 200:
                    raise completions.refusal(answer.status_code, await answer.aread())
                events = completions.chunks(
                    answer.aiter_bytes(), self.patience.silence_s, self.context_tokens
                )
                async for chunk in events:
                    finished = finished or chunk.finish_reason is not None
                    yield chunk
        except httpx.ConnectError as error:
            raise ModelAwayError(_words(error)) from error
        except httpx.ConnectTimeout as error:
            raise ModelStuckError(_words(error)) from error
        except httpx.ReadTimeout as error:
            raise ModelSilentError(f"no event within {self.patience.silence_s:g} s") from error
        except httpx.HTTPError as error:
            # A complete answer stays one, though its figures or the end marker are missing.
            if not finished:
                raise ModelBrokeError(_words(error)) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _is_too_long(error: JobRefusedError) -> bool:
    """Whether the engine refused because of its context, as vLLM and llama.cpp call it."""
    return "context" in str(error)
