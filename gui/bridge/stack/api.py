"""The stack's API, as one user who is signed in anew whenever that is needed."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from gui.bridge.errors import ApiError, BadAnswerError, server_ms
from gui.bridge.stack.cognito import SignIn

FINAL = ("done", "failed", "expired", "cancelled")
# API Gateway gives a function 15 s to answer; a reply is read within 10.
POST_TIMEOUT_S, POLL_TIMEOUT_S = 20.0, 12.0
# The stack lets one caller have ten requests a second after a burst of 60, of all kinds together.
POLLS_PER_S, POLLS_BURST = 8.0, 20.0


@dataclass(frozen=True)
class Job:
    """An accepted job. `estimate_s` is when its first token is to be expected, None if a worker is
    ready; `expires_at` is in epoch ms by the server's clock, `accepted_at` in s by this one's.
    """

    id: str
    estimate_s: float | None
    expires_at: int
    accepted_at: float


@dataclass(frozen=True)
class Reply:
    """What there is of an answer; `fields` are the API's own."""

    status: str
    text: str
    fields: dict[str, Any]

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def version(self) -> tuple[object, ...]:
        """Another one for each body that a worker writes."""
        written = (self.fields.get(name) for name in ("worker", "attempt", "sequence"))
        return (*written, self.status, self.fields.get("updated_at"), len(self.text))

    def tokens(self, of: str) -> int:
        """How many `prompt` or `completion` tokens it has, as far as that is known."""
        count = self.fields.get(f"{of}_tokens")
        return count if isinstance(count, int) else 0


class Pacer:
    """Lets `per_s` pass in a second, after a burst."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._every_s, self._burst_s = 1 / per_s, burst / per_s
        self._next = 0.0

    async def turn(self) -> None:
        """Returns when it is the caller's."""
        now = time.monotonic()
        self._next = max(self._next, now - self._burst_s) + self._every_s
        if self._next > now:
            await asyncio.sleep(self._next - now)


class Api:
    """Every call raises ApiError, BadAnswerError, SignInError or one of httpx's errors."""

    def __init__(self, http: httpx.AsyncClient, url: str, sign_in: SignIn) -> None:
        self._http, self._url, self._sign_in = http, url.rstrip("/"), sign_in
        self._polls = Pacer(POLLS_PER_S, POLLS_BURST)

    async def infer(self, body: dict[str, Any], key: str) -> Job:
        """Posts; the same `key` gives the same job."""
        headers = {"Idempotency-Key": key}
        response = await self._ask("POST", "/infer", json=body, headers=headers)
        answer = _object(response)
        try:
            estimate = answer.get("estimate")
            estimate_s = None if estimate is None else float(estimate)
            expires_at = int(answer["expires_at"])
            job_id = str(uuid.UUID(answer["id"]))
            return Job(job_id, estimate_s, expires_at, time.monotonic())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise BadAnswerError(f"POST {self._url}/infer gave no job") from None

    async def reply(self, job: Job) -> tuple[Reply | None, float | None]:
        """The reply so far, None while nobody has the job; and the server's clock in epoch ms."""
        await self._polls.turn()
        path = f"/infer/{job.id}"
        try:
            response = await self._ask("GET", path, timeout=POLL_TIMEOUT_S)
        except ApiError as error:
            if error.status == 404:
                return None, error.server_ms
            raise
        answer = _object(response)
        text = answer.get("text", "")
        if not isinstance(answer.get("status"), str) or not isinstance(text, str):
            raise BadAnswerError(f"GET {self._url}{path} gave no reply")
        return Reply(answer["status"], text, answer), server_ms(response)

    async def cancel(self, job_id: str) -> None:
        """Has a job cancelled; it may have ended meanwhile."""
        try:
            await self._ask("DELETE", f"/infer/{job_id}")
        except ApiError as error:
            if error.status != 404:
                raise

    async def status(self) -> dict[str, Any]:
        """Node, lane, queue, estimates."""
        await self._polls.turn()
        return _object(await self._ask("GET", "/status", timeout=POLL_TIMEOUT_S))

    async def _ask(self, method: str, path: str, **call: Any) -> httpx.Response:
        """Once more, with a new token, when the one that we had is refused."""
        token = await self._sign_in.token()
        response = await self._send(method, path, token, call)
        if response.status_code in (401, 403):
            newer = await self._sign_in.renewed(token)
            if newer != token:
                response = await self._send(method, path, newer, call)
        if response.status_code >= 400:
            raise ApiError(response)
        return response

    async def _send(
        self, method: str, path: str, token: str, call: dict[str, Any]
    ) -> httpx.Response:
        headers = {**call.get("headers", {}), "Authorization": token, "Accept": "application/json"}
        told = {"timeout": POST_TIMEOUT_S, **call, "headers": headers}
        return await self._http.request(method, self._url + path, **told)


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        request = response.request
        raise BadAnswerError(f"{request.method} {request.url} gave no JSON object")
    return answer
