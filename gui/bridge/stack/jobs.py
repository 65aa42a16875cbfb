"""The jobs of this bridge: accepted, followed to their end, and cancelled when nobody wants them
any more. Whatever the stack accepts from here ends in one way or the other.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import httpx

from gui.bridge.errors import UPSTREAM, ApiError, OpenAIError, SignInError, translated
from gui.bridge.stack.api import Api, Job, Reply

# How long a client is kept waiting for its turn before it is told to come back.
PATIENCE_S = 20.0
# So many prompts are posted at once; the others wait in line.
POSTS_AT_ONCE = 4
# How often one is posted while the server fails, and the longest Retry-After of its that is waited
# for then.
TRIES, SHORT_S = 3, 5
# A job's reply may not be readable for so long before its client is told.
BEAR_S = 30.0
# Past its `expires_at` by the server's own clock, or after so long if that does not tell, a job
# without a reply has expired; one whose reply has not changed for so long, too.
GRACE_S, LONGEST_WAIT_S, SILENCE_S = 5, 600.0, 120.0
# Seconds between two looks, until so many seconds after the acceptance; a reply is written anew at
# most once a second once it has begun.
LOOKS = ((1.0, 0.1), (10.0, 0.25), (float("inf"), 0.5))
# Seconds between two looks while the first token is to be expected in more than so many.
FAR_LOOK_S, FAR_S = 2.0, 10.0
CANCEL_TRIES = 6

Say = Callable[[str], None]


class Jobs:
    """`say` is told, in a line, of what no client hears of."""

    def __init__(self, api: Api, say: Say) -> None:
        self._api, self._say = api, say
        self._line = asyncio.Semaphore(POSTS_AT_ONCE)
        self._not_before = 0.0
        self._chores: set[asyncio.Task[None]] = set()

    async def accept(self, body: dict[str, Any]) -> Job:
        """Posts a job, again where that helps, and waits for its turn. Raises OpenAIError.

        Should this be cancelled, then so is the job, also one of which we do not know yet whether
        it was accepted.
        """
        deadline, key = time.monotonic() + PATIENCE_S, str(uuid.uuid4())
        post: asyncio.Task[Job] | None = None
        doubtful, tries = False, 0
        try:
            while True:
                async with self._turn(deadline):
                    post, tries = asyncio.create_task(self._api.infer(body, key)), tries + 1
                    try:
                        return await asyncio.shield(post)
                    except UPSTREAM as error:
                        doubtful = doubtful or _may_have_been_accepted(error)
                        pause_s = self._retry_s(error, tries, deadline)
                await asyncio.sleep(pause_s)
        except BaseException:
            if post is not None and (doubtful or _may_bring_a_job(post)):
                self._do(self._withdraw(post, body, key, doubtful))
            raise

    async def follow(self, job: Job) -> AsyncGenerator[Reply | None, None]:
        """The reply as it is at each look, None while there is none; the last one is final.

        Raises OpenAIError when it cannot be read any more.
        """
        seen: object = None
        changed_at = well_at = time.monotonic()
        while True:
            reply = None
            try:
                reply, server_ms = await self._api.reply(job)
                well_at = now = time.monotonic()
                if reply is not None and reply.version != seen:
                    seen, changed_at = reply.version, now
                reply = _judged(job, reply, now - changed_at, server_ms)
                pause_s = _pause_s(job, begun=reply is not None and reply.text != "")
            except UPSTREAM as error:
                pause_s = _bear(error, time.monotonic() - well_at)
            yield reply
            if reply is not None and reply.is_final:
                return
            await asyncio.sleep(pause_s)

    def abandon(self, job: Job) -> None:
        """Has it cancelled, whatever becomes of whoever calls."""
        self._do(self._cancel(job.id))

    async def close(self, within_s: float) -> None:
        """Waits for what is still being cancelled."""
        if self._chores:
            _, left = await asyncio.wait(self._chores, timeout=within_s)
            if left:
                self._say(f"{len(left)} jobs were not cancelled in time; they end by themselves")
            for chore in left:
                chore.cancel()

    @contextlib.asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncIterator[None]:
        """A place among those who post, when the stack's limits allow it; raises OpenAIError when
        that is not before the deadline.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._line.acquire()
        except TimeoutError:
            raise _busy(1.0) from None
        try:
            while (wait_s := self._not_before - time.monotonic()) > 0:
                if self._not_before > deadline:
                    raise _busy(wait_s)
                await asyncio.sleep(wait_s)
            yield
        finally:
            self._line.release()

    def _retry_s(self, error: Exception, tries: int, deadline: float) -> float:
        """How long to wait before it is posted again; raises OpenAIError when it is not."""
        if not isinstance(error, ApiError):
            if tries >= TRIES or isinstance(error, SignInError):
                raise translated(error) from error
            return float(tries)
        wait_s = error.retry_after_s
        if error.status == 429 and wait_s is not None:
            # For everybody: the limits are the user's, and all here are one.
            self._not_before = max(self._not_before, time.monotonic() + wait_s)
            if self._not_before <= deadline:
                return 0.0
        if error.status >= 500 and tries < TRIES and (wait_s or 1) <= SHORT_S:
            return wait_s or float(tries)
        raise translated(error) from error

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _withdraw(
        self, post: "asyncio.Task[Job]", body: dict[str, Any], key: str, doubtful: bool
    ) -> None:
        """Cancels what the posts have come to whose client is gone; `doubtful`: one before this
        may have been accepted.
        """
        try:
            job = await post
        except UPSTREAM as error:
            if not doubtful and not _may_have_been_accepted(error):
                return
            # The same key: it tells which job that is, and makes one only if there was none.
            try:
                job = await self._api.infer(body, key)
            except UPSTREAM as again:
                self._say(f"a job may have been accepted that nobody wants: {translated(again)}")
                return
        await self._cancel(job.id)

    async def _cancel(self, job_id: str) -> None:
        for tried in range(1, CANCEL_TRIES + 1):
            try:
                return await self._api.cancel(job_id)
            except UPSTREAM as error:
                if tried == CANCEL_TRIES or not _passes(error):
                    self._say(f"job {job_id} was not cancelled: {translated(error)}")
                    return None
                wait_s = getattr(error, "retry_after_s", None)
                await asyncio.sleep(min(wait_s or tried / 2, SHORT_S))
        return None


def _busy(wait_s: float) -> OpenAIError:
    return OpenAIError(
        429,
        "The stack takes 5 prompts in a second and 20 in a minute of one user, and more wait here.",
        type_="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_s=max(1, round(wait_s + 0.5)),
    )


def _may_bring_a_job(post: "asyncio.Task[Job]") -> bool:
    """Whether a post that nobody waits for any more is under way, or has brought one."""
    return not post.done() or (not post.cancelled() and post.exception() is None)


def _may_have_been_accepted(error: Exception) -> bool:
    """Whether the request may have arrived, and the job be in the queue all the same."""
    if isinstance(error, ApiError):
        return error.status in (500, 502, 504) or error.code == "unavailable"
    return not isinstance(error, SignInError | httpx.ConnectError | httpx.ConnectTimeout)


def _passes(error: Exception) -> bool:
    """Whether asking again may help."""
    if isinstance(error, ApiError):
        return error.status >= 500 or error.status == 429
    return not isinstance(error, SignInError) or error.passes


def _bear(error: Exception, failing_s: float) -> float:
    """How long to wait until the next look; raises OpenAIError when there is none: it says nothing
    about the job, but nobody knows any more what does.
    """
    wait_s = getattr(error, "retry_after_s", None) or 1
    limited = isinstance(error, ApiError) and error.status == 429 and wait_s <= BEAR_S
    if not limited and (failing_s > BEAR_S or not _passes(error)):
        raise translated(error) from error
    return min(wait_s, BEAR_S)


def _pause_s(job: Job, *, begun: bool) -> float:
    if begun:
        return LOOKS[-1][1]
    waited_s = time.monotonic() - job.accepted_at
    if job.estimate_s is not None and job.estimate_s - waited_s > FAR_S:
        # Each look counts towards the requests that the stack lets a user have in a day.
        return FAR_LOOK_S
    return next(pause_s for until_s, pause_s in LOOKS if waited_s < until_s)


def _judged(
    job: Job, reply: Reply | None, unchanged_s: float, server_ms: float | None
) -> Reply | None:
    """What to believe: a job that nobody can finish any more has expired, and the server cannot
    say so (docs/api.md).
    """
    if reply is None:
        over = (
            unchanged_s > LONGEST_WAIT_S
            if server_ms is None
            else server_ms > job.expires_at + GRACE_S * 1000
        )
        return Reply("expired", "", {"reason": "nobody took the job in time"}) if over else None
    if not reply.is_final and unchanged_s > SILENCE_S:
        return Reply("expired", reply.text, {"reason": "its worker fell silent"})
    return reply
