"""What is known of a job's generation so far, as its reply tells it."""

import json
import time
from typing import Any

from tlfif.log import log
from tlfif.queue.working import ClaimedJob
from worker.completions import Usage
from worker.meter import Share

_LOGGED = (
    "status",
    "engine",
    "finish_reason",
    "completion_tokens",
    "tokens_per_second",
    "eur",
    "reason",
    "error",
    "notice",
)


class Progress:
    """Text, tokens, times and price of one delivery; times in epoch ms, price in EUR.

    `queue_lost_it`: the queue knows the job no more.
    """

    def __init__(self, job: ClaimedJob, engine: str, context_tokens: int):
        """`engine` is the name of what generates; `context_tokens` are what it has for prompt and
        answer together.
        """
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.share: Share | None = None
        self.queue_lost_it = False
        self._job, self._engine, self._context_tokens = job, engine, context_tokens
        self.options: dict[str, Any] = json.loads((job.values or {}).get("options") or "{}")
        self._pieces: list[str] = []
        self._started_at = _now_ms()
        self._first_token_at: int | None = None

    def begin_again(self) -> None:
        """Forgets what an engine generated that has failed since."""
        self.usage = self.finish_reason = self.share = None
        self._pieces.clear()
        self._first_token_at = None

    def add(self, text: str) -> None:
        """Appends what the engine has generated."""
        if self._first_token_at is None:
            self._first_token_at = _now_ms()
            log("first_token", id=self._job.id, latency_ms=self._first_token_at - self._started_at)
        self._pieces.append(text)

    def body(self, status: str) -> dict[str, Any]:
        """A partial reply's fields."""
        return self._body(status, _now_ms())

    def final_body(self, status: str, **why: str) -> dict[str, Any]:
        """A final reply's fields; `why` is its reason or its error."""
        now = _now_ms()
        ended = {"finished_at": now, "finish_reason": self.finish_reason, **self._notice()}
        return {**self._body(status, now), **ended, **why}

    def _notice(self) -> dict[str, str]:
        """What its caller should know about an answer that is there."""
        notices = [each for each in (self._shortened(), self._outlived()) if each]
        return {"notice": "; ".join(notices)} if notices else {}

    def _shortened(self) -> str:
        """Says so if the answer could not have, or would have had, more tokens."""
        asked = self.options.get("max_tokens")
        left = self._context_tokens - self.usage.prompt_tokens if self.usage else None
        shared = f"prompt and answer share {self._context_tokens} tokens"
        if asked is not None and left is not None and asked > left:
            return f"max_tokens was lowered from {asked} to {left}: {shared}"
        if self.finish_reason != "length":
            return ""
        return f"the answer was cut off: {shared if asked is None else f'max_tokens is {asked}'}"

    def _outlived(self) -> str:
        return "the queue lost its memory meanwhile" if self.queue_lost_it else ""

    def log_end(self, body: dict[str, Any]) -> None:
        """Logs a final reply that stands, without its text."""
        fields = {key: body[key] for key in _LOGGED if body.get(key) is not None}
        waited = self._started_at - self._created_at
        latency = body["finished_at"] - self._created_at
        ended = {"attempt": self._job.deliveries, "queued_ms": waited, "latency_ms": latency}
        log("job_ended", id=self._job.id, **ended, **fields)

    def _body(self, status: str, now: int) -> dict[str, Any]:
        usage = self.usage
        return {
            "id": self._job.id,
            "status": status,
            "text": "".join(self._pieces),
            "created_at": self._created_at,
            "started_at": self._started_at,
            "first_token_at": self._first_token_at,
            "updated_at": now,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "tokens_per_second": _speed(usage, self._first_token_at, now),
            "engine": self._engine,
            "eur": self.share.eur if self.share else None,
        }

    @property
    def first_token_ms(self) -> int | None:
        """From acceptance to the first token; None without one."""
        first = self._first_token_at
        return None if first is None else first - self._created_at

    @property
    def _created_at(self) -> int:
        """When the job was accepted; its entry says so too, should the hash have expired."""
        values = self._job.values or {}
        return int(values.get("created_at") or self._job.entry.partition("-")[0])


def _speed(usage: Usage | None, first_at: int | None, end: int) -> float | None:
    """Tokens a second after the first one, which waited for the prompt; None if unknown."""
    if usage is None or first_at is None or usage.completion_tokens < 2 or end <= first_at:
        return None
    return round((usage.completion_tokens - 1) * 1000 / (end - first_at), 1)


def _now_ms() -> int:
    return int(time.time() * 1000)
