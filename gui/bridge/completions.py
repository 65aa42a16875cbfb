"""POST /v1/chat/completions: one request, one job."""

import asyncio
import contextlib
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from gui.bridge.delivery import Delivery
from gui.bridge.errors import OpenAIError
from gui.bridge.protocol.answer import Answer
from gui.bridge.protocol.chat import Chat, parsed
from gui.bridge.protocol.reading import ClientGoneError, body_of, while_there
from gui.bridge.stack.api import Job
from gui.bridge.stack.jobs import Jobs
from gui.bridge.stack.outlook import Outlook

# More at once are refused: each asks the stack for its reply, and one user may ask only so often.
AT_ONCE = 64
# Longer than any job lives: until a worker takes it, and then until the model's last token.
LIMIT_S = 1_800.0
STOPPED = OpenAIError(
    503, "The bridge was stopped.", type_="server_error", code="stopped", retry=False
)
FULL = OpenAIError(
    429,
    f"{AT_ONCE} requests are under way; try again when some are done.",
    type_="rate_limit_error",
    code="rate_limit_exceeded",
    retry_after_s=5,
)


class Completions:
    """The ASGI app of this one route; `model` is the name by which clients know the stack's."""

    def __init__(
        self, jobs: Jobs, outlook: Outlook, model: str, say: Callable[[str], None]
    ) -> None:
        self._jobs, self._outlook, self._model, self._say = jobs, outlook, model, say
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers. Whoever goes away takes their job with them, at whatever moment."""
        answer = Answer(scope, receive, send)
        if self._stopping or len(self._under_way) >= AT_ONCE:
            await answer.refuse(STOPPED if self._stopping else FULL)
            return
        # A task of its own: the server must not be told that a request was cancelled.
        work = asyncio.create_task(self._work(answer, receive))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        try:
            await asyncio.wait({work})
        finally:
            work.cancel()

    async def close(self, within_s: float) -> None:
        """Tells every client that it ends, and has the jobs cancelled."""
        self._stopping = True
        under_way = set(self._under_way)
        for work in under_way:
            work.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=within_s)

    async def _work(self, answer: Answer, receive: Receive) -> None:
        """Answers, or refuses; never raises."""
        try:
            raw = await body_of(receive)
            async with while_there(receive):
                await self._answer(parsed(raw, self._model), answer)
        except ClientGoneError:
            pass
        except OpenAIError as error:
            await answer.refuse(error)
        except asyncio.CancelledError:
            if self._stopping:
                await answer.refuse(STOPPED)
        except Exception as error:
            self._say(f"a fault of the bridge's: {type(error).__name__}: {error}")
            fault = "A fault of the bridge's; it says more where it runs."
            await answer.refuse(OpenAIError(500, fault, type_="server_error", retry=False))

    async def _answer(self, chat: Chat, answer: Answer) -> None:
        """Raises OpenAIError."""
        try:
            async with asyncio.timeout(LIMIT_S):
                job = await self._jobs.accept(chat.body)
                await self._deliver(job, Delivery(job, chat, answer, self._outlook, self._model))
        except TimeoutError:
            raise OpenAIError(
                504, "No answer ended in time.", type_="server_error", code="timeout", retry=False
            ) from None

    async def _deliver(self, job: Job, delivery: Delivery) -> None:
        """From the acceptance to the end of the answer; of the job, at whatever moment that comes.

        Raises OpenAIError.
        """
        ended = False
        try:
            await delivery.begin()
            async with contextlib.aclosing(self._jobs.follow(job)) as replies:
                async for reply in replies:
                    ended = reply is not None and reply.is_final
                    if await delivery.take(reply):
                        return
        finally:
            if not ended:
                self._jobs.abandon(job)
