"""What one invocation tells the queue and hears from it, its seconds among it."""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from cpu_worker.container import Used
from cpu_worker.failure import LaneFailure, LaneInterrupted
from tlfif import names
from tlfif.log import log
from tlfif.queue import lane, working
from tlfif.queue.scripts import Call
from worker.host import Ended
from worker.queue import Queue

T = TypeVar("T")


class Contact:
    """The lane of a `token`, to the queue.

    `told`: 'node', 'latched' or 'lost', once it has heard it. `left`: '' until it has left; then
    'call' if it is to call its successor.
    """

    def __init__(self, queue: Queue, token: str, used: Used):
        self.told = self.left = ""
        self._queue, self._token, self._used = queue, token, used
        self._heard_at = time.monotonic()
        self._answers: list[Ended] = []
        # A heartbeat that came after the farewell would bring the lane back.
        self._asking = asyncio.Lock()

    @property
    def silent_s(self) -> float:
        """For how long the queue has not answered a heartbeat."""
        return time.monotonic() - self._heard_at

    def answered(self, job: Ended) -> None:
        """Notes what an answer took, to be told with the next heartbeat."""
        self._answers.append(job)

    async def enter(self, patience_s: float) -> str:
        """'entered', 'busy' or 'latched'. Raises LaneInterrupted: the queue does not answer."""
        try:
            call = lane.enter(self._token)
            return await asyncio.wait_for(self._queue.insist(call), patience_s)
        except asyncio.TimeoutError:
            raise LaneInterrupted("the queue does not answer") from None

    async def beat(self, phase: str, in_flight: int) -> None:
        """Says that the lane is there, and what it has done."""
        answer = await self._tell_used(functools.partial(lane.beat, self._token, phase, in_flight))
        if answer is not None:
            self._heard_at = time.monotonic()
            self.told = self.told if answer == "go on" else answer
        await self._tell_answers()

    async def may_leave(self) -> bool:
        """Leaves if there is nothing to do."""
        call = functools.partial(lane.leave, self._token)
        # On this answer alone it stays, and its seconds are not counted yet.
        answer = await self._tell_used(call, uncounted="work")
        if answer in ("work", None):
            return False
        self.left = answer
        return True

    async def leave(self) -> None:
        """Leaves, whatever there is to do; should the queue not hear it, its heartbeat ends."""
        await self._tell_answers()
        if not self.left:
            answer = await self._tell_used(functools.partial(lane.leave, self._token, over=True))
            self.left = answer or "unheard"
        await self._remove_consumer()

    async def fail(self, failure: LaneFailure) -> None:
        """Leaves, and says why nobody needs to call it for a while."""
        await self._tell_answers()
        told = (self._token, failure.code, failure.message)
        call = functools.partial(lane.fail, *told, for_s=failure.for_s)
        await self._tell_used(call)
        self.left = "failed"
        await self._remove_consumer()

    async def do_not_call(self, code: str, why: str) -> None:
        """Gives back the right to call the successor, and says why."""
        await self._tell(lane.uncalled(self._token, code, why))

    async def _remove_consumer(self) -> None:
        consumer = self._queue.consumer
        await self._tell(working.leave(names.LANE_OWNER, self._token, consumer))

    async def _tell_used(
        self, make: Callable[[float], Call[str]], uncounted: str = ""
    ) -> str | None:
        """None when it has left, or the queue does not answer."""
        async with self._asking:
            if self.left:
                return None
            owed_s = self._used.owed()
            answer = await self._tell(make(owed_s))
            if answer not in (None, uncounted):
                self._used.told(owed_s)
            return answer

    async def _tell_answers(self) -> None:
        while self._answers:
            # Taken out first: heartbeat and farewell may both be here.
            job = self._answers.pop(0)
            if await self._tell(lane.answered(job.first_ms, job.work_ms)) is None:
                self._answers.insert(0, job)
                return

    async def _tell(self, call: Call[T]) -> T | None:
        """None when the queue does not answer."""
        try:
            return await self._queue.ask(call)
        except RedisError as error:
            log("queue_unavailable", "WARNING", call=call.script, why=str(error))
            return None
