"""One prompt, or one turn of a conversation: posted, shown as it is written, cancelled when
somebody ends it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gui.answers import ApiError, ClientError, UnreachableError, one_line
from gui.client import FINAL, Client, Job, Message, Reply
from gui.terminal.screen import OutputError, Screen
from gui.terminal.stops import Stopped, Stops
from gui.terminal.waiting import Waiting, number

# Between two tries of a post that failed: shorter than a person would wait.
RETRY_S = 1.0
# A 429 may ask for so long a pause; a quota's is hours.
LONGEST_PAUSE_S = 60
CANCEL_TIMEOUT_S = 10.0
LANE = "llama.cpp-lambda"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """`tries`: how often to post while the server fails; `throttled_s`: for how long in all to wait
    while the API says 429; `options` are the API's own.
    """

    tries: int = 1
    throttled_s: float = 120.0
    options: dict[str, Any] = field(default_factory=dict)


class Question:
    """One of them. `ask` returns the final reply; `job` is None until one is accepted."""

    def __init__(self, client: Client, screen: Screen, stops: Stops) -> None:
        self._client, self._screen, self._stops = client, screen, stops
        self.job: Job | None = None
        # A post went out whose answer nobody has seen.
        self._in_doubt = False
        self._refused = ""
        self._is_final = False

    def ask(self, prompt: str | Sequence[Message], key: str, patience: Patience) -> Reply:
        """Raises ClientError; Stopped and OutputError after the job is cancelled."""
        try:
            job = self._posted(prompt, key, patience)
            self._screen.note(f"{one_line(job.state, 20)} {job.id}")
            return self._shown(job)
        except (Stopped, OutputError) as error:
            self._screen.clear()
            if isinstance(error, OutputError):
                self._screen.say(error)
            self._cancel()
            raise
        except ClientError:
            if self.job is not None:
                self._screen.say(f"the job goes on: {self.job.id}")
            elif self._in_doubt:
                self._screen.say("the prompt may have been accepted; then it runs until it is done")
            raise

    @property
    def goes_on(self) -> bool:
        """Whether there is, or may be, a job that nobody sees any more."""
        return self._in_doubt or (self.job is not None and not self._is_final)

    def _posted(self, prompt: str | Sequence[Message], key: str, patience: Patience) -> Job:
        """The accepted job: the key makes one of all tries."""
        tries, throttled_s = patience.tries, patience.throttled_s
        while True:
            try:
                return self._post(prompt, key, patience.options)
            except (ApiError, UnreachableError) as error:
                pause_s = RETRY_S
                if isinstance(error, ApiError) and error.status == 429:
                    pause_s = error.retry_after_s or RETRY_S
                    throttled_s -= pause_s
                    passes = throttled_s >= 0 and pause_s <= LONGEST_PAUSE_S
                else:
                    tries -= 1
                    passes = tries > 0 and (not isinstance(error, ApiError) or error.status >= 500)
                if not passes:
                    raise
                self._screen.say(f"{error}; it is posted again in {pause_s:g} s")
            time.sleep(pause_s)

    def _post(self, prompt: str | Sequence[Message], key: str, options: dict[str, Any]) -> Job:
        """Ctrl-C waits for the answer, which has the id that is to be cancelled."""
        self._in_doubt, self._refused = True, ""
        with self._stops.held():
            try:
                self.job = self._client.infer(prompt, idempotency_key=key, **options)
                self._in_doubt = False
            except ClientError as error:
                self._in_doubt = isinstance(error, UnreachableError) and error.may_have_arrived
                self._refused = str(error)
                raise
        return self.job

    def _shown(self, job: Job) -> Reply:
        """Writes the text as it comes; the final reply."""
        waiting = Waiting(self._client, job, self._screen)
        shown, reply = "", {}
        for reply in self._client.follow(job, waiting=waiting):
            self._is_final = reply["status"] in FINAL
            text = text_of(reply)
            if not text.startswith(shown):
                # Another worker has begun again.
                self._screen.end_line()
                shown = ""
            if text != shown:
                waiting.over()
            elif not self._is_final:
                waiting.taken()
            self._screen.write(text[len(shown) :])
            shown = text
        self._screen.end_line()
        waiting.over()
        return reply

    def _cancel(self) -> None:
        """Says what became of it. A further Ctrl-C ends this at once."""
        if self.job is None:
            if self._refused and self._in_doubt:
                self._screen.say(self._refused)
            words = "it may have been accepted, and then runs until it is done"
            self._screen.say(words if self._in_doubt else "stopped; nothing was accepted")
            return
        if self._is_final:
            return
        name = self.job.id
        self._screen.note(f"cancelling {name}; Ctrl-C again ends at once")
        try:
            status = self._client.cancel(name, timeout_s=CANCEL_TIMEOUT_S).get("status")
        except Stopped:
            self._screen.say(f"{name} may run on: nobody waited for the answer")
        except ClientError as error:
            self._screen.say(f"{name} may run on, it could not be cancelled: {error}")
        else:
            ended = {"cancelled": "is cancelled", "cancelling": "is cancelled: its worker is told"}
            self._screen.say(f"{name} {ended.get(str(status), f'has ended already: {status}')}")


def text_of(reply: Reply) -> str:
    """What is written so far."""
    text = reply.get("text")
    return text if isinstance(text, str) else ""


def ending(reply: Reply) -> str:
    """How it ended, with its figures where the reply has them."""
    if reply["status"] != "done":
        why = reply.get("error") or reply.get("reason") or "no reason given"
        return f"{one_line(reply['status'], 20)}: {one_line(why)}"
    engine, begun = reply.get("engine"), number(reply.get("first_token_at"))
    created = number(reply.get("created_at"))
    who = f"by {'the instant lane' if engine == LANE else 'the node'}, {one_line(engine, 40)}"
    tokens, speed = number(reply.get("completion_tokens")), number(reply.get("tokens_per_second"))
    eur = number(reply.get("eur"))
    waited_s = (begun - created) / 1000 if begun and created else None
    told = [
        "" if tokens is None else f"{tokens:.0f} tokens",
        "" if speed is None else f"{speed:.1f} tokens/s",
        "" if eur is None else f"€{eur:.6f}",
        who if engine else "",
        "" if waited_s is None else f"first token after {waited_s:.1f} s",
    ]
    return ", ".join(["done", *filter(None, told)]).replace("done, ", "done: ", 1)
