"""Refusals in OpenAI's shape, and what a refusal of the stack's is in it.

OpenAI's SDKs try 408, 409, 429 and 5xx again by themselves. Where that could only do harm, the
header `x-should-retry: false` tells them so.
"""

from email.utils import parsedate_to_datetime
from typing import Any

import httpx

# The SDKs wait no longer than this for a Retry-After; of a longer one they try again at once.
LONGEST_RETRY_S = 60
MAX_SHOWN = 500


class OpenAIError(Exception):
    """A refusal: `status`, and the fields of the `error` that clients know.

    `retry` is whether a client may try again by itself; `retry_after_s`, when.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        retry: bool = True,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self._type, self.code, self._param = type_, code, param
        self.retry_after_s = retry_after_s
        self._retry = retry and (retry_after_s or 0) <= LONGEST_RETRY_S

    def body(self) -> dict[str, Any]:
        """As a response, or an event in the middle of a stream, has it."""
        told = {"message": self.message, "type": self._type, "param": self._param}
        return {"error": {**told, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Of a response that it is."""
        headers = {} if self._retry else {"x-should-retry": "false"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers


class ApiError(Exception):
    """The stack's API refused, by its own `status`, `code`, `message` and `field`; `retry_after_s`
    where it says when.
    """

    def __init__(self, response: httpx.Response) -> None:
        body = _object(response)
        self.status = response.status_code
        self.code = str(body.get("error", "unknown"))
        self.message = str(body.get("message") or response.reason_phrase)[:MAX_SHOWN]
        self.field = str(body["field"]) if "field" in body else None
        wait = response.headers.get("Retry-After", "")
        self.retry_after_s = int(wait[:9]) if wait.isascii() and wait.isdigit() else None
        self.server_ms = server_ms(response)
        super().__init__(f"{self.status} {self.code}: {self.message}")


class BadAnswerError(Exception):
    """What answered is not the stack's API, or not as it says: `message` says what it sent."""


class SignInError(Exception):
    """Nobody could be signed in; the message says why. `passes`: trying again later may help."""

    def __init__(self, message: str, *, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


# What asking the stack may come to.
UPSTREAM = (ApiError, BadAnswerError, SignInError, httpx.HTTPError)


def translated(error: Exception) -> OpenAIError:
    """What a client is told of one of UPSTREAM."""
    match error:
        case ApiError():
            return _refused(error)
        case SignInError():
            return OpenAIError(
                503,
                f"The bridge cannot sign in to the stack: {error}",
                type_="server_error",
                code="sign_in_failed",
                retry=error.passes,
            )
        case BadAnswerError():
            message = f"The stack did not answer as its API does: {error}"
            return OpenAIError(502, message, type_="server_error", code="bad_answer")
    # Its words may have a header's value in them.
    message = f"The stack's API cannot be reached ({type(error).__name__}); is the network there?"
    return OpenAIError(502, message, type_="server_error", code="unreachable", retry_after_s=5)


def _refused(error: ApiError) -> OpenAIError:
    said, wait_s = error.message, error.retry_after_s
    match error.status:
        case 401 | 403:
            # The token was renewed, so it is not at fault; nor is the key of whoever asks.
            told = f"The stack lets the bridge's user not in: {said}"
            return OpenAIError(403, told, type_="permission_error", code=error.code, retry=False)
        case 402:
            # As OpenAI says of an account without credit: a client that retries would do so until
            # the month ends.
            return OpenAIError(
                429, said, type_="insufficient_quota", code="insufficient_quota", retry=False
            )
        case 413:
            return OpenAIError(413, said, code=error.code)
        case 429:
            return OpenAIError(
                429,
                said,
                type_="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=wait_s,
            )
        case status if status >= 500:
            return OpenAIError(
                status, said, type_="server_error", code=error.code, retry_after_s=wait_s
            )
    return OpenAIError(400, said, code=error.code, param=error.field)


def server_ms(response: httpx.Response) -> float | None:
    """The server's clock in epoch ms, whatever this machine's says; None when it does not tell."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() * 1000
    except (KeyError, ValueError):
        return None


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
