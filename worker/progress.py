"""What is known of a job's generation so far, as its reply tells it."""

import json
import time
from typing import Any

from tlfif import names
from tlfif.log import log
from tlfif.queue.working import ClaimedJob
from worker.model import Usage


class Progress:
    """Text, tokens and times of one delivery; times in epoch ms."""

    def __init__(self, job: ClaimedJob):
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self._job = job
        self.options: dict[str, Any] = json.loads((job.values or {}).get("options") or "{}")
        self._pieces: list[str] = []
        self._started_at = _now_ms()
        self._first_token_at: int | None = None

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
        """Says so if the answer could not have as many tokens as its caller allowed."""
        asked = self.options.get("max_tokens")
        left = names.CONTEXT_TOKENS - self.usage.prompt_tokens if self.usage else None
        if asked is None or left is None or asked <= left:
            return {}
        shared = f"prompt and answer share {names.CONTEXT_TOKENS} tokens"
        return {"notice": f"max_tokens was lowered from {asked} to {left}: {shared}"}

    def log_end(self, body: dict[str, Any]) -> None:
        """Logs a final reply that stands, without its text."""
        told = ("status", "completion_tokens", "tokens_per_second", "reason", "error", "notice")
        fields = {key: body[key] for key in told if body.get(key) is not None}
        latency = body["finished_at"] - self._created_at
        log(
            "job_ended", id=self._job.id, attempt=self._job.deliveries, latency_ms=latency, **fields
        )

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
        }

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
