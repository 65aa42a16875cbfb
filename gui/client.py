"""The headless client: signs in, posts a prompt, follows its reply.

The demo, the smoke test and people use it.

It depends on httpx alone, so that it can be copied anywhere:

    python -m gui.client --api https://….amazonaws.com/v1 --token "$TOKEN" "What is a GPU?"
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

FINAL = ("done", "failed", "expired", "cancelled")
# After these the server can no longer answer (design: "the queue lost its memory"), so the client
# says "expired". The first counts from the server's `expires_at` by the server's own clock, the
# second from the last change that this client saw, by its monotonic one: the clock on the wall of
# this machine says nothing about the server's.
GRACE_S, SILENCE_S = 5, 120
# Should the server send no Date: longer than any job waits.
LONGEST_WAIT_S = 600
MAX_SERVER_ERRORS = 3
# Between two tries of a script's post: shorter than a person would wait.
RETRY_S = 1.0


class ApiError(Exception):
    """The API refused: `status`, `code`, the server's message, and `retry_after_s` where waiting
    helps.
    """

    def __init__(self, response: httpx.Response) -> None:
        try:
            body = response.json()
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        self.status = response.status_code
        self.code = body.get("error", "unknown")
        self.message = body.get("message") or response.text[:200] or response.reason_phrase
        wait = response.headers.get("Retry-After", "")
        self.retry_after_s = int(wait) if wait.isdigit() else None
        hint = f" (try again in {self.retry_after_s} s)" if self.retry_after_s else ""
        super().__init__(f"{self.status} {self.code}: {self.message}{hint}")


@dataclass(frozen=True)
class Job:
    """An accepted job. `expires_at` in epoch ms; `answer` is the 202 body as it came."""

    id: str
    state: str
    expires_at: int
    answer: dict[str, Any]


class Client:
    """Talks to one deployed (or local) API as one user."""

    def __init__(self, api_url: str, token: str, *, timeout_s: float = 30) -> None:
        headers = {"Authorization": token, "Accept": "application/json"}
        self._server_ms: float | None = None
        self._http = httpx.Client(base_url=api_url.rstrip("/"), headers=headers, timeout=timeout_s)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def infer(self, prompt: str, *, idempotency_key: str = "", **options: Any) -> Job:
        """Posts a prompt. `options`: idle_minutes, max_tokens, temperature, top_p, seed.

        Raises ApiError.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self._json("POST", "/infer", json={"prompt": prompt, **options}, headers=headers)
        return Job(answer["id"], answer["status"], answer["expires_at"], answer)

    def reply(self, job_id: str) -> dict[str, Any] | None:
        """The reply so far, or None while no worker has the job."""
        try:
            return self._json("GET", f"/infer/{job_id}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancels a job; {"status": "cancelled" | "cancelling" | its final status}."""
        return self._json("DELETE", f"/infer/{job_id}")

    def stop(self) -> dict[str, Any]:
        """Cancels everything and stops the nodes."""
        return self._json("POST", "/stop")

    def status(self) -> dict[str, Any]:
        """Node, queue, estimate, money."""
        return self._json("GET", "/status")

    def follow(self, job: Job, *, every_s: float = 0.5) -> Iterator[dict[str, Any]]:
        """Yields the reply each time it changed; the last one is final.

        Three 5xx in a row are raised, no 429 is.
        """
        seen: object = None
        changed_at = time.monotonic()
        errors = 0
        while True:
            try:
                reply = self.reply(job.id)
                errors = 0
            except (ApiError, httpx.TransportError) as error:
                # It says nothing about the job.
                errors += not isinstance(error, ApiError) or error.status >= 500
                if errors >= MAX_SERVER_ERRORS or not _may_pass(error):
                    raise
                time.sleep(getattr(error, "retry_after_s", None) or every_s)
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
            time.sleep(every_s)

    def _judge(
        self, job: Job, reply: dict[str, Any] | None, unchanged_s: float
    ) -> dict[str, Any] | None:
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

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self._http.request(method, path, **arguments)
        self._server_ms = _date_ms(response)
        if response.status_code >= 400:
            raise ApiError(response)
        return response.json()


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: the server, the network or too many questions are at fault."""
    return not isinstance(error, ApiError) or error.status >= 500 or error.status == 429


def _version(reply: dict[str, Any]) -> tuple[object, ...]:
    return reply.get("sequence"), reply["status"], reply.get("updated_at")


def _date_ms(response: httpx.Response) -> float | None:
    """The server's clock in epoch ms, whatever this machine's says; None when it does not tell."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() * 1000
    except (KeyError, ValueError):
        return None


def sign_in(cognito_url: str, client_id: str, username: str, password: str) -> str:
    """An access token of Cognito's, by USER_PASSWORD_AUTH (for scripts; people sign in by SRP).

    Raises ApiError.
    """
    response = httpx.post(
        cognito_url,
        headers={
            "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
            "Content-Type": "application/x-amz-json-1.1",
        },
        json={
            "AuthFlow": "USER_PASSWORD_AUTH",
            "ClientId": client_id,
            "AuthParameters": {"USERNAME": username, "PASSWORD": password},
        },
    )
    if response.status_code >= 400:
        raise ApiError(response)
    return response.json()["AuthenticationResult"]["AccessToken"]


def _print_stream(
    replies: Iterator[dict[str, Any]], write: Callable[[str], object]
) -> dict[str, Any]:
    shown = 0
    last: dict[str, Any] = {}
    for last in replies:
        text = last.get("text", "")
        if len(text) < shown:  # another worker began again
            write("\n")
            shown = 0
        write(text[shown:])
        shown = len(text)
    write("\n")
    return last


def post(client: Client, prompt: str, *, key: str, tries: int, **options: Any) -> Job:
    """Posts a prompt; a server's error is borne `tries` - 1 times, and the key makes one job of
    all.

    Raises ApiError and httpx's errors.
    """
    for left in reversed(range(tries)):
        try:
            return client.infer(prompt, idempotency_key=key, **options)
        except (ApiError, httpx.TransportError) as error:
            passes = not isinstance(error, ApiError) or error.status >= 500
            if not left or not passes:
                raise
            print(f"tl-fif: {error}; posted again", file=sys.stderr)
            time.sleep(RETRY_S)
    raise ValueError(f"tries = {tries}: at least 1")


def parse() -> argparse.Namespace:
    """The command line; argparse ends the process when it is wrong."""
    parser = argparse.ArgumentParser(
        description="Post one prompt and print its reply as it is generated."
    )
    parser.add_argument("prompt")
    parser.add_argument(
        "--api", default=os.environ.get("TLFIF_API"), help="the stack's api_url (or $TLFIF_API)"
    )
    parser.add_argument(
        "--token", default=os.environ.get("TLFIF_TOKEN"), help="an access token (or $TLFIF_TOKEN)"
    )
    parser.add_argument(
        "--idle-minutes", type=int, help="keep the node up this long afterwards (1-30)"
    )
    parser.add_argument(
        "--idempotency-key", default="", help="one job, however often the prompt is posted with it"
    )
    parser.add_argument(
        "--tries",
        type=int,
        choices=range(1, MAX_SERVER_ERRORS + 1),
        default=1,
        help="how often to post while the server fails (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, help="a file for the reply as JSON")
    arguments = parser.parse_args()
    if not arguments.api or not arguments.token:
        parser.error("--api and --token are needed; `make local` prints both")
    return arguments


def main() -> int:
    """0: done; 1: failed, expired or cancelled; 2: the API refused."""
    arguments = parse()
    options = {"idle_minutes": arguments.idle_minutes} if arguments.idle_minutes else {}
    key = arguments.idempotency_key or str(uuid.uuid4())
    try:
        with Client(arguments.api, arguments.token) as client:
            job = post(client, arguments.prompt, key=key, tries=arguments.tries, **options)
            print(f"{job.state} {job.id}", file=sys.stderr)
            last = _print_stream(client.follow(job), lambda text: print(text, end="", flush=True))
    except (ApiError, httpx.HTTPError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 2
    if arguments.output:
        arguments.output.write_text(json.dumps(last, indent=2, ensure_ascii=False) + "\n")
    if last["status"] != "done":
        print(f"{last['status']}: {last.get('error') or last.get('reason', '')}", file=sys.stderr)
    return 0 if last["status"] == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
