"""A request for a chat completion, read: what the stack is asked, and how the client wants it.

What would change the answer and cannot be had is refused; what is null, empty or says the usual is
as good as left out; what changes nothing is ignored, as are fields that nobody here knows.
"""

import json
from dataclasses import dataclass
from typing import Any

from gui.bridge.errors import OpenAIError
from gui.bridge.protocol.messages import converted

# The stack's limits.
MAX_TOKENS, MIN_TOP_P, SEEDS = 1_024, 0.01, 2**31
# OpenAI's own, of `stop`; and a length that no client needs.
MAX_STOPS, MAX_STOP = 4, 200
# Fields whose wish cannot be granted, with the values that wish for nothing, and what to do.
NOTHING: tuple[Any, ...] = (None, [], {}, False)
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((None, 1), "is not 1: one answer a request; send several requests"),
    "best_of": ((None, 1), "is not 1: one answer a request"),
    "logprobs": (NOTHING, "cannot be told: leave it out"),
    "top_logprobs": ((None, 0), "cannot be told: leave it out"),
    "frequency_penalty": ((None, 0), "is not applied by this stack: send 0, or leave it out"),
    "presence_penalty": ((None, 0), "is not applied by this stack: send 0, or leave it out"),
    "logit_bias": (NOTHING, "is not applied by this stack: leave it out"),
    "response_format": (
        (None, {"type": "text"}),
        "is not text, and nothing here holds the model to JSON; ask for it in the prompt",
    ),
    "functions": (NOTHING, "are no use: this model calls no tools; leave them out"),
    "audio": (NOTHING, "cannot be had: this model writes text only"),
    "modalities": ((None, [], ["text"]), 'are not ["text"]: this model writes text only'),
    "web_search_options": ((None,), "cannot be had: this model searches nothing"),
}


@dataclass(frozen=True)
class Chat:
    """`body` is for POST /infer; `stops` end the answer, and are not in it."""

    body: dict[str, Any]
    stream: bool
    include_usage: bool
    stops: list[str]


def parsed(raw: bytes, model: str) -> Chat:
    """The request of a body; raises OpenAIError."""
    try:
        asked = json.loads(raw)
    except (ValueError, RecursionError):
        raise OpenAIError(400, "The body is not JSON; send an object with messages.") from None
    if not isinstance(asked, dict):
        raise OpenAIError(400, "The body is no JSON object; send one with messages.")
    known(asked.get("model"), model)
    _refuse(asked)
    body = {"messages": converted(asked.get("messages")), **_options(asked)}
    stream_options = asked.get("stream_options") or {}
    if not isinstance(stream_options, dict):
        raise OpenAIError(400, "stream_options is no object", param="stream_options")
    return Chat(
        body,
        stream=_flag(asked, "stream"),
        include_usage=_flag(stream_options, "include_usage"),
        stops=_stops(asked.get("stop")),
    )


def known(asked: Any, model: str) -> None:
    """Raises OpenAIError for a model that there is not; without a name it is the one there is."""
    if asked is None or asked == model:
        return
    shown = str(asked)[:80]
    raise OpenAIError(
        404,
        f"There is no model {shown!r} here; the only one is {model!r}.",
        code="model_not_found",
        param="model",
    )


def _refuse(asked: dict[str, Any]) -> None:
    """Raises OpenAIError for a wish that cannot be granted."""
    for name, (harmless, why) in REFUSED.items():
        if not _among(asked.get(name), harmless):
            raise _unsupported(name, why)
    # Whoever forbids the tools that they send misses nothing.
    if asked.get("tools") and asked.get("tool_choice") != "none":
        raise _unsupported("tools", "are no use: this model calls none; leave them out")


def _among(value: Any, harmless: tuple[Any, ...]) -> bool:
    # 0 and False are equal to Python, and not to whoever sends them.
    numbers = not isinstance(value, bool)
    return any(value == each and numbers == (not isinstance(each, bool)) for each in harmless)


def _unsupported(name: str, why: str) -> OpenAIError:
    return OpenAIError(400, f"{name} {why}.", code="unsupported_parameter", param=name)


def _options(asked: dict[str, Any]) -> dict[str, Any]:
    """What POST /infer takes beside the messages."""
    options: dict[str, Any] = {}
    for name in ("max_tokens", "max_completion_tokens"):
        if (tokens := _whole_number(asked, name, least=1)) is not None:
            # Clients send what other models have; the answer says `length` if that was too few.
            options["max_tokens"] = min(tokens, MAX_TOKENS)
    if (temperature := _number(asked, "temperature", 2)) is not None:
        options["temperature"] = temperature
    if (top_p := _number(asked, "top_p", 1)) is not None:
        options["top_p"] = max(top_p, MIN_TOP_P)
    if (seed := _whole_number(asked, "seed")) is not None:
        options["seed"] = seed % SEEDS
    # The stack's own, for `extra_body`: it judges the value itself.
    if (minutes := _whole_number(asked, "idle_minutes")) is not None:
        options["idle_minutes"] = minutes
    return options


def _whole_number(asked: dict[str, Any], name: str, *, least: int | None = None) -> int | None:
    value = asked.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise OpenAIError(400, f"{name} is no whole number", param=name)
    if least is not None and value < least:
        raise OpenAIError(400, f"{name} is less than {least}", param=name)
    return value


def _number(asked: dict[str, Any], name: str, most: int) -> float | None:
    value = asked.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OpenAIError(400, f"{name} is no number", param=name)
    # No NaN is, either.
    if not 0 <= value <= most:
        raise OpenAIError(400, f"{name} is not from 0 to {most}", param=name)
    return float(value)


def _flag(asked: dict[str, Any], name: str) -> bool:
    value = asked.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise OpenAIError(400, f"{name} is neither true nor false", param=name)


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value or []
    good = isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)
    if not good or len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP for stop in stops):
        raise OpenAIError(
            400,
            f"stop is neither a text nor a list of up to {MAX_STOPS}, of {MAX_STOP} characters",
            param="stop",
        )
    return [stop for stop in stops if stop]
