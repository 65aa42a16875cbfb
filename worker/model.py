"""Asks the model server next door (vLLM, llama.cpp) over its OpenAI-compatible API."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx

from tlfif import names
from tlfif.log import log

CONNECT_TIMEOUT_S = 2.0
# Between two tokens; a full engine lets a request wait for its first one.
READ_TIMEOUT_S = 60.0
PROBE_EVERY_S = 0.2
_CALLERS_FAULT = (400, 413, 422)
_NOT_NOW = (401, 403, 404, 408, 429, 502, 503, 504)


class JobRefusedError(Exception):
    """The request itself is at fault, such as too long a prompt: trying again is pointless."""


class ModelAwayError(Exception):
    """The server took no request: it is down, loading or misconfigured.

    The job has not been tried.
    """


class ModelBrokeError(Exception):
    """The server took the request and failed; the job may be why."""


@dataclass(frozen=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Chunk:
    """One event of the stream; any of the three may be there."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class Model:
    """One served model. Use as an async context manager."""

    def __init__(self, url: str, name: str, transport: httpx.AsyncBaseTransport | None = None):
        self._name = name
        # A connection each: the server closes idle ones after seconds, perhaps just when a request
        # goes out.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(
            base_url=url, limits=limits, timeout=timeout, trust_env=False, transport=transport
        )

    async def __aenter__(self) -> "Model":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def probe(self) -> str:
        """Asks for one real token: '' when it comes, else why not.

        Servers report health that cannot generate.
        """
        request = {
            "model": self._name,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 1,
        }
        try:
            answer = await self._client.post("/v1/chat/completions", json=request)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if answer.status_code == 200:
            return ""
        return f"{answer.status_code}: {_message(answer.content)}"

    async def stream(self, prompt: str, options: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """Generates; leaving the iteration early closes the connection, and so ends the generation.

        An engine that refuses `max_tokens` because prompt and answer together would be too long is
        asked again without: then it takes what the prompt has left, which is less.

        Raises JobRefusedError, ModelAwayError before anything was generated, or ModelBrokeError.
        """
        try:
            async with contextlib.aclosing(self._generate(prompt, options)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except JobRefusedError as error:
            if not _is_too_long(error):
                raise
            if "max_tokens" not in options:
                shared = f"prompt and answer share {names.CONTEXT_TOKENS} tokens"
                raise JobRefusedError(f"{error}; {shared}: send a shorter prompt") from error
        else:
            return
        unbounded = {name: value for name, value in options.items() if name != "max_tokens"}
        async with contextlib.aclosing(self.stream(prompt, unbounded)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _generate(
        self, prompt: str, options: Mapping[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        request = {
            **options,
            "model": self._name,
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with self._client.stream("POST", "/v1/chat/completions", json=request) as answer:
                if answer.status_code != 200:
                    raise _failure(answer.status_code, _message(await answer.aread()))
                async for event in _events(answer):
                    yield _chunk(event)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ModelAwayError(f"{type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise ModelBrokeError(f"{type(error).__name__}: {error}") from error


def _is_too_long(error: JobRefusedError) -> bool:
    """Whether the engine refused because of its context, as vLLM and llama.cpp call it."""
    return "context" in str(error)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON documents of a server-sent event stream, up to [DONE].

    Raises ModelBrokeError if that never comes.
    """
    rest = b""
    # Not aiter_lines(): it also splits at U+2028 and the like, which JSON may contain unescaped.
    async for data in answer.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line.removeprefix(b"data:").strip()
            if payload == b"[DONE]":
                return
            yield json.loads(payload)
    raise ModelBrokeError("the stream ended early")


def _chunk(event: Mapping[str, Any]) -> Chunk:
    if event.get("error") is not None:
        error = event["error"]
        raise _failure(int(error.get("code") or 500), str(error.get("message") or error))
    choices: list[dict[str, Any]] = event.get("choices") or []
    choice = choices[0] if choices else {}
    delta: dict[str, Any] = choice.get("delta") or {}
    usage: dict[str, int] | None = event.get("usage")
    counted = Usage(usage["prompt_tokens"], usage["completion_tokens"]) if usage else None
    return Chunk(delta.get("content") or "", choice.get("finish_reason"), counted)


def _failure(status: int, message: str) -> Exception:
    if status in _CALLERS_FAULT:
        return JobRefusedError(message)
    kind = ModelAwayError if status in _NOT_NOW else ModelBrokeError
    return kind(f"{status}: {message}")


def _message(body: bytes) -> str:
    """What an OpenAI-compatible error says; both servers' shapes."""
    try:
        document: dict[str, Any] = json.loads(body)
        error: Any = document.get("error", document)
        if isinstance(error, dict):
            return str(cast("dict[str, Any]", error)["message"])
        return str(error)
    except (ValueError, AttributeError, KeyError):
        return body.decode(errors="replace")[:200]


class Gate:
    """Open while the model answers.

    Whoever finds it away shuts the gate; `run` probes until it can be opened again.
    """

    def __init__(self, model: Model, on_change: Callable[[bool], Awaitable[None]]):
        self._model = model
        self._on_change = on_change
        self._open = asyncio.Event()
        self._doubted = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    async def wait(self) -> None:
        """Returns when the gate is open."""
        await self._open.wait()

    def shut(self, why: str) -> None:
        """Nobody passes before the next successful probe."""
        if self.is_open:
            log("model_away", "WARNING", why=why)
        self._open.clear()
        self._doubted.set()

    async def run(self) -> None:
        """Probes; never returns."""
        while True:
            await self._until_ready()
            self._doubted.clear()
            self._open.set()
            await self._on_change(True)
            await self._doubted.wait()
            await self._on_change(False)
            await asyncio.sleep(PROBE_EVERY_S)

    async def _until_ready(self) -> None:
        told = None
        while why := await self._model.probe():
            if why != told:
                log("model_not_ready", why=why)
                told = why
            await asyncio.sleep(PROBE_EVERY_S)
