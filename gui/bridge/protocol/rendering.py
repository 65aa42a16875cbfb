"""Completions as OpenAI renders them, whole and in chunks."""

import time
from typing import Any

from gui.bridge.errors import OpenAIError
from gui.bridge.stack.api import Job, Reply

# Why a job that did not end as `done` has no answer: its status to (HTTP status, words).
ENDINGS = {
    "failed": (500, "The model failed"),
    "expired": (503, "Nobody answered in time"),
    "cancelled": (503, "The job was cancelled, by somebody else than this client"),
}
# How the worker says that prompt and answer have no room (worker/model.py).
TOO_LONG = ("context length", "send a shorter prompt")


class Rendering:
    """The completions of one job; `usage` says whether the stream ends with what it used."""

    def __init__(self, job: Job, model: str, *, usage: bool) -> None:
        self._usage = usage
        self._head = {
            "id": f"chatcmpl-{job.id}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }

    def whole(self, reply: Reply, text: str, reason: str) -> dict[str, Any]:
        """A response that is not streamed."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return self._object("chat.completion", [choice]) | {"usage": usage_of(reply)}

    def chunk(self, *, reason: str | None = None, **delta: str) -> dict[str, Any]:
        """A piece of the answer, or, with a reason, its end."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._chunk([choice], None)

    def usage_chunk(self, reply: Reply) -> dict[str, Any]:
        """What comes last if the client wants it."""
        return self._chunk([], usage_of(reply))

    def _chunk(self, choices: list[Any], used: dict[str, int] | None) -> dict[str, Any]:
        chunk = self._object("chat.completion.chunk", choices)
        return chunk | {"usage": used} if self._usage else chunk

    def _object(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {**self._head, "object": kind, "choices": choices}


def usage_of(reply: Reply) -> dict[str, int]:
    """Tokens, 0 where they are not known: of an answer that a stop cut off."""
    prompt, completion = reply.tokens("prompt"), reply.tokens("completion")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def reason_of(reply: Reply) -> str:
    """Why a whole answer ended."""
    return "length" if reply.fields.get("finish_reason") == "length" else "stop"


def unanswered(reply: Reply) -> OpenAIError:
    """What is said of a job that ended without an answer. To try again at once would mend nothing,
    and might wake what somebody has just stopped.
    """
    why = str(reply.fields.get("error") or reply.fields.get("reason") or "it does not say why")
    if reply.status == "failed" and any(words in why for words in TOO_LONG):
        return OpenAIError(400, why, code="context_length_exceeded", param="messages")
    status, words = ENDINGS[reply.status]
    return OpenAIError(
        status, f"{words}: {why}", type_="server_error", code=reply.status, retry=False
    )


def began_anew() -> OpenAIError:
    """What is said when another worker's answer contradicts what was streamed."""
    return OpenAIError(
        500,
        "The worker was lost in the middle of its answer, and the one that took over answers in "
        "other words; what you have is not the beginning of a whole answer. Ask again.",
        type_="server_error",
        code="began_anew",
        retry=False,
    )
