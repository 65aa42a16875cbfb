"""What a server said, and the errors that the headless client makes of it: one printable line each,
without the token.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


class ClientError(Exception):
    """What was asked came to nothing; the message is one line, and never has the token."""


class SettingError(ClientError):
    """A URL or token that cannot be used; the message says why and what to do."""


class UnreachableError(ClientError):
    """The API was not reached, or broke off; `may_have_arrived`: so the request may be at work."""

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        self.may_have_arrived = may_have_arrived
        super().__init__(message)


class AnswerError(ClientError):
    """Who answered is not this API: a portal's page, a redirect, JSON without what it must have."""


@dataclass(frozen=True)
class Answer:
    """What a server said, whoever it was."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> dict[str, Any] | None:
        """Its JSON object; None where it is none."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def words(self) -> str:
        """The beginning of a body that is no answer of this API, without its markup."""
        return one_line(re.sub(r"<[^>]*>", " ", self.content[:2000].decode(errors="replace")), 120)


class ApiError(ClientError):
    """The API refused: `status`, `code`, the server's message, and `retry_after_s` where waiting
    helps. `secret` is left out of what the server said.
    """

    def __init__(self, answer: Answer, hint: str = "", secret: str = "") -> None:
        body = answer.document or {}
        self.status = answer.status
        self.code = without(secret, one_line(body.get("error") or body.get("__type") or "", 40))
        self.code = self.code or "unknown"
        message = one_line(body.get("message") or answer.words, 500)
        self.message = without(secret, message) or _phrase(answer.status)
        self.retry_after_s = _seconds(answer.headers.get("Retry-After", ""))
        until = without(secret, one_line(body.get("until") or "", 40))
        hints = [
            hint,
            f"it lifts at {until}" if until and until not in message else "",
            f"try again in {self.retry_after_s} s" if self.retry_after_s else "",
        ]
        said = "; ".join(filter(None, hints))
        text = f"{self.status} {self.code}: {self.message}"
        super().__init__(f"{text} ({said})" if said else text)


def one_line(text: object, most: int = 300) -> str:
    """Printable in a line, whoever wrote it: no control characters, no halves of characters."""
    # Twice as much, for what is left out of it.
    words = "".join(each if each.isprintable() else " " for each in str(text)[: 2 * most]).split()
    line = " ".join(words)
    return line if len(line) <= most else f"{line[:most]}…"


def without(secret: str, text: str) -> str:
    """Without the token: a server may repeat what it was told. A short one is a test's."""
    secret = secret.removeprefix("Bearer ")
    return text.replace(secret, "(the token)") if len(secret) >= 6 else text


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _seconds(text: str) -> int | None:
    """A Retry-After in seconds; None where it is something else."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
