"""The headless client as a library: posts a prompt or a conversation, follows the reply, cancels.

The demo, the smoke test and benches use it, and the command beside it (gui/terminal):

    python -m gui.client --api https://….amazonaws.com/v1 "What is a GPU?"

It depends on httpx alone, so that it can be copied anywhere, with the three files that it imports.
Every error that leaves it is a ClientError: one line, whatever the server said, without the token.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until the command's own handler is there: Ctrl-C while the rest is imported is no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gui.answers import (
    Answer,
    AnswerError,
    ApiError,
    ClientError,
    UnreachableError,
    one_line,
    without,
)
from gui.checks import checked_token, checked_url, is_loopback, why_refused
from gui.fetching import UNSENT, fetched, why_none

FINAL = ("done", "failed", "expired", "cancelled")
# After these the server can no longer answer (design: "the queue lost its memory"), so the client
# says "expired". The first counts from the server's `expires_at` by the server's own clock, the
# second from the last change that this client saw, by its monotonic one: the clock on the wall of
# this machine says nothing about the server's.
GRACE_S, SILENCE_S = 5, 120
# Should the server send no Date: longer than any job waits.
LONGEST_WAIT_S = 600
MAX_SERVER_ERRORS = 3
# A reply may not be readable for so long in a row before that is raised.
BEAR_S = 30
# A pause that a 429 may ask for, and for how long it may go on to; a quota's is hours.
LONGEST_PAUSE_S, THROTTLED_S = 60, 120
# No moment of a job's is later, in epoch ms.
FAR_MS = 1e15
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
Reply = dict[str, Any]
# {"role": "system" | "user" | "assistant", "content": text}
Message = dict[str, str]


@dataclass(frozen=True)
class Job:
    """An accepted job. `expires_at` in epoch ms; `answer` is the 202 body as it came."""

    id: str
    state: str
    expires_at: float
    answer: dict[str, Any]


class Client:
    """Talks to one deployed (or local) API as one user.

    Raises SettingError when the URL or the token cannot be used; each call raises ApiError,
    AnswerError or UnreachableError. A loopback address is asked without the environment's proxies.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        *,
        timeout_s: float = 30,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(api_url)
        self._token = checked_token(token)
        self._timeout_s = timeout_s
        self._server_ms: float | None = None
        self._proxied = not is_loopback(self.url)
        headers = {"Authorization": self._token, "Accept": "application/json"}
        try:
            self._http = httpx.Client(
                headers=headers, transport=transport, trust_env=self._proxied, timeout=timeout_s
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            why = f"the environment's proxy or certificates cannot be used: {one_line(error)}"
            raise ClientError(why) from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def infer(
        self, prompt: str | Sequence[Message], *, idempotency_key: str = "", **options: Any
    ) -> Job:
        """Posts a prompt, or a conversation's messages. `options`: idle_minutes, max_tokens,
        temperature, top_p, seed.
        """
        headers = {"Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        asked = {"prompt": prompt} if isinstance(prompt, str) else {"messages": list(prompt)}
        content = json.dumps({**asked, **options}).encode()
        answer = self._call("POST", "/infer", content=content, headers=headers)
        match answer:
            case {"id": str(name), "status": str(state), "expires_at": int() | float() as ends}:
                if _ID.fullmatch(name) and 0 < ends < FAR_MS:
                    return Job(name, state, ends, answer)
        raise AnswerError(f"{self.url}/infer accepted the prompt without id, status or expires_at")

    def reply(self, job_id: str) -> Reply | None:
        """The reply so far, or None while no worker has the job."""
        try:
            reply = self._call("GET", f"/infer/{job_id}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(reply.get("status"), str):
            raise AnswerError(f"{self.url}/infer/{job_id} answered with a reply without status")
        return reply

    def cancel(self, job_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Cancels a job; {"status": "cancelled" | "cancelling" | its final status}."""
        return self._call("DELETE", f"/infer/{job_id}", timeout_s)

    def stop(self) -> dict[str, Any]:
        """Cancels everything and stops the nodes."""
        return self._call("POST", "/stop")

    def status(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Node, queue, estimate, money."""
        return self._call("GET", "/status", timeout_s)

    def follow(
        self, job: Job, *, every_s: float = 0.5, waiting: Callable[[], object] = lambda: None
    ) -> Iterator[Reply]:
        """Yields the reply each time it changed; the last one is final. `waiting` is called before
        each pause.

        What fails for 30 s in a row is raised; a 429 is when it lasts.
        """
        seen: object = None
        changed_at = time.monotonic()
        failed = _Failed()
        while True:
            try:
                reply = self.reply(job.id)
                failed = _Failed()
            except ClientError as error:
                # It says nothing about the job.
                pause_s = failed.bear(error, every_s)
                waiting()
                time.sleep(pause_s)
                continue
            if reply is not None and _version(reply) != seen:
                # Also of a first one, for which a node's boot may have been waited for.
                changed_at = time.monotonic()
            reply = self._judge(job, reply, time.monotonic() - changed_at)
            if reply is not None and _version(reply) != seen:
                seen = _version(reply)
                yield reply
                if reply["status"] in FINAL:
                    return
            waiting()
            time.sleep(every_s)

    def _judge(self, job: Job, reply: Reply | None, unchanged_s: float) -> Reply | None:
        """What the caller may believe: a job that nobody can finish any more has expired (the
        server can't say so).
        """
        if reply is None and self._is_over(job, unchanged_s):
            why = "nobody took the job in time"
            return {"id": job.id, "status": "expired", "text": "", "reason": why}
        if reply and reply["status"] not in FINAL and unchanged_s > SILENCE_S:
            return {**reply, "status": "expired", "reason": "its worker fell silent"}
        return reply

    def _is_over(self, job: Job, waited_s: float) -> bool:
        """Whether a job without a reply should have one by now, by the server's last Date."""
        if self._server_ms is None:
            return waited_s > LONGEST_WAIT_S
        return self._server_ms > job.expires_at + GRACE_S * 1000

    def _call(
        self, method: str, path: str, timeout_s: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """The JSON object that the API answers. Raises ApiError, AnswerError, UnreachableError."""
        url = f"{self.url}{path}"
        arguments["timeout"] = timeout_s or self._timeout_s
        try:
            answer = fetched(self._http, method, url, **arguments)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, OverflowError) as error:
            via = " through the environment's proxy" if self._is_proxied() else ""
            why = without(self._token, why_none(error, self.url))
            raise UnreachableError(
                f"{method} {url}{via}: {why}", may_have_arrived=not isinstance(error, UNSENT)
            ) from error
        self._server_ms = _date_ms(answer.headers)
        if answer.status >= 400:
            raise ApiError(answer, self._hint(answer, path), self._token)
        if answer.status >= 300:
            to = without(self._token, one_line(answer.headers.get("Location", "nowhere")))
            why = "which is not followed: the token is for the API alone"
            raise AnswerError(f"{method} {url} was redirected ({answer.status}) to {to}, {why}")
        if (found := answer.document) is None:
            said = without(self._token, answer.words) or "nothing"
            why = f"answered with no JSON object, so it is not the API; is it a portal? {said}"
            raise AnswerError(f"{method} {url} {why}")
        return found

    def _hint(self, answer: Answer, path: str) -> str:
        """What is probably wrong with the URL or the token."""
        foreign = "error" not in (answer.document or {})
        if answer.status in (403, 404) and (foreign or (answer.status == 404 and path == "/infer")):
            if "/" not in self.url.partition("://")[2]:
                return f"{self.url} has no stage; is it {self.url}/v1?"
            return f"is {self.url} the stack's api_url?"
        if answer.status in (401, 403):
            return why_refused(self._token, self._server_ms)
        return f"{self.url} does not answer as the API does" if foreign else ""

    def _is_proxied(self) -> bool:
        if not self._proxied:
            return False
        try:
            return not {self.url.partition(":")[0], "all"}.isdisjoint(urllib.request.getproxies())
        except ValueError:
            return False


@dataclass
class _Failed:
    """What failed in a row while a reply was asked for."""

    since: float | None = None
    throttled_s: float = 0.0

    def bear(self, error: ClientError, every_s: float) -> float:
        """For how many seconds to pause; raises the error where it is not to be borne."""
        wait_s = getattr(error, "retry_after_s", None) or every_s
        now = time.monotonic()
        if isinstance(error, ApiError) and error.status == 429:
            self.throttled_s += wait_s
        elif self.since is None:
            self.since = now
        if (
            (isinstance(error, ApiError) and error.status < 500 and error.status != 429)
            or (self.since is not None and now - self.since > BEAR_S)
            or self.throttled_s > THROTTLED_S
            or wait_s > LONGEST_PAUSE_S
        ):
            raise error
        return wait_s


def _version(reply: Reply) -> tuple[object, ...]:
    return reply.get("sequence"), reply["status"], reply.get("updated_at")


def _date_ms(headers: Mapping[str, str]) -> float | None:
    """The server's clock in epoch ms, whatever this machine's says; None when it does not tell."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp() * 1000
    except (KeyError, IndexError, OverflowError, TypeError, ValueError):
        return None


def sign_in(cognito_url: str, client_id: str, username: str, password: str) -> str:
    """An access token of Cognito's, by USER_PASSWORD_AUTH (for scripts; people sign in by SRP).

    Raises ApiError, AnswerError, UnreachableError.
    """
    secrets = {"USERNAME": username, "PASSWORD": password}
    asked = {"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": client_id, "AuthParameters": secrets}
    headers = {
        "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
        "Content-Type": "application/x-amz-json-1.1",
    }
    try:
        said = httpx.post(
            cognito_url,
            headers=headers,
            content=json.dumps(asked).encode(),
            trust_env=not is_loopback(cognito_url),
        )
    except (ImportError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        why = f"{cognito_url}: {why_none(error, cognito_url)}"
        raise UnreachableError(why, may_have_arrived=True) from error
    answer = Answer(said.status_code, said.headers, said.content)
    if answer.status >= 400:
        raise ApiError(answer, secret=password)
    match answer.document:
        case {"AuthenticationResult": {"AccessToken": str(token)}}:
            return token
    raise AnswerError(f"{cognito_url} gave no token: has {username} a password of their own yet?")


if __name__ == "__main__":
    from gui.terminal import main

    sys.exit(main())
