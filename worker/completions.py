"""Reads an OpenAI-compatible stream of completion events, and believes none of it unseen."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

# The reasons with which an answer is complete. Any other ended it before that: vLLM says "abort"
# and "error", and sends its end marker all the same.
COMPLETE = ("stop", "length")
# Nothing that an engine sends in one piece is nearly as long.
LONGEST_LINE = 1 << 20
# An answer has at most as many tokens as the context; a stream of more events does not end.
EVENTS_PER_TOKEN = 4

_CALLERS_FAULT = (400, 413, 422)
_NOT_NOW = (401, 403, 404, 408, 429, 502, 503, 504)


class JobRefusedError(Exception):
    """The request itself is at fault, such as too long a prompt: trying again is pointless."""


class ModelError(Exception):
    """The engine failed; whether because of the job is for others to find out."""


class ModelAwayError(ModelError):
    """The server took no request: it is down, loading or misconfigured."""


class ModelStuckError(ModelAwayError):
    """The server is there and took no request: it accepts no connection."""


class ModelBrokeError(ModelError):
    """The server took the request, and failed or did not do what it says it does."""


class ModelSilentError(ModelBrokeError):
    """The server took the request and says nothing more."""


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


async def chunks(
    data: AsyncIterator[bytes], silence_s: float, context_tokens: int
) -> AsyncIterator[Chunk]:
    """The events of a stream that is complete: its last reason to finish is one of COMPLETE.

    Raises ModelBrokeError for any other stream, also for one that has nothing but comments for
    `silence_s`, or more events than `context_tokens` can make; and the errors of `data`.
    """
    finish_reason, count = None, 0
    async for payload in _payloads(data, silence_s):
        if payload == b"[DONE]":
            break
        chunk = _chunk(payload)
        count += 1
        if count > EVENTS_PER_TOKEN * context_tokens:
            raise ModelBrokeError(f"the stream did not end after {count} events")
        finish_reason = chunk.finish_reason or finish_reason
        if finish_reason and finish_reason not in COMPLETE:
            raise ModelBrokeError(f"the engine broke off: finish_reason {finish_reason!r}")
        yield chunk
    if finish_reason is None:
        raise ModelBrokeError("the stream ended early: it gave no reason to finish")


async def _payloads(data: AsyncIterator[bytes], silence_s: float) -> AsyncIterator[bytes]:
    """What each event of a server-sent event stream carries."""
    rest, event_at = b"", time.monotonic()
    # Not aiter_lines(): it also splits at U+2028 and the like, which JSON may contain unescaped.
    async for received in data:
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()
                event_at = time.monotonic()
        if time.monotonic() - event_at > silence_s:
            raise ModelSilentError(f"no event within {silence_s:g} s")
        if len(rest) > LONGEST_LINE:
            raise ModelBrokeError(f"an event is longer than {LONGEST_LINE} bytes")


def _chunk(payload: bytes) -> Chunk:
    """Raises ModelBrokeError for what is no completion."""
    try:
        event = _object(json.loads(payload))
        if event.get("error") is not None or event.get("object") == "error":
            # Whatever its code: the engine had taken the request.
            raise ModelBrokeError(_words(event))
        choices: Any = event["choices"]
        choice = _object(choices[0]) if choices else {}
        return Chunk(_text(choice), _reason(choice), _usage(event))
    except (ValueError, TypeError, LookupError) as error:
        shown = payload[:100].decode(errors="replace")
        raise ModelBrokeError(f"the engine sent what is no completion: {shown}") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return cast("dict[str, Any]", value)


def _text(choice: Mapping[str, Any]) -> str:
    content: object = _object(choice.get("delta") or {}).get("content") or ""
    if not isinstance(content, str):
        raise TypeError
    return content


def _reason(choice: Mapping[str, Any]) -> str | None:
    reason: object = choice.get("finish_reason")
    return None if reason is None else str(reason)


def _usage(event: Mapping[str, Any]) -> Usage | None:
    """None also where the engine counts otherwise: an answer does not hang on its figures."""
    usage: Any = event.get("usage")
    try:
        return Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
    except (TypeError, KeyError, ValueError):
        return None


def refusal(status: int, body: bytes) -> Exception:
    """What an answer other than 200 means, by its status."""
    message = f"{status}: {_message(body)}"
    if status in _CALLERS_FAULT:
        return JobRefusedError(_message(body))
    return (ModelAwayError if status in _NOT_NOW else ModelBrokeError)(message)


def _message(body: bytes) -> str:
    """What an OpenAI-compatible error says, of any server."""
    try:
        return _words(_object(json.loads(body)))
    except (ValueError, TypeError):
        return body.decode(errors="replace")[:200]


def _words(document: Mapping[str, Any]) -> str:
    error: Any = document.get("error", document)
    if isinstance(error, dict):
        told = cast("dict[str, Any]", error)
        return str(told.get("message") or told.get("detail") or told)
    return str(error)
