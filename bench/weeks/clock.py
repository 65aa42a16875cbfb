"""The simulation's clock, and a real queue that lives by it."""

import hashlib
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.exceptions import NoScriptError

from tlfif import names
from tlfif.queue import scripts, working
from tlfif.queue.scripts import Call

T = TypeVar("T")
EXPIRIES = "simulated:expiries"

# What surrounds each of the queue's scripts, which is sent as it is but for its clock. The last key
# is the simulated time, and no key of the queue's. A TTL that a script sets is the server's, which
# knows real seconds: it is taken off the key and noted in simulated ones, and the key is deleted
# when they have passed.
AROUND = """
local simulated_ms = tonumber(table.remove(KEYS))
local function simulated_time()
  return {tostring(math.floor(simulated_ms / 1000)), tostring(simulated_ms %% 1000 * 1000)}
end
local expiries = redis.call('HGETALL', '%(expiries)s')
for i = 1, #expiries, 2 do
  if tonumber(expiries[i + 1]) <= simulated_ms then
    redis.call('DEL', expiries[i])
    redis.call('HDEL', '%(expiries)s', expiries[i])
  end
end
local function script()
%(script)s
end
local answer = script()
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left_ms = redis.call('PTTL', key)
  if left_ms >= 0 then
    redis.call('HSET', '%(expiries)s', key, string.format('%%.0f', simulated_ms + left_ms))
    redis.call('PERSIST', key)
  end
end
return answer
"""


class Clock:
    """Events in the order of their times; `now_ms` is the simulation's, in epoch ms."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Has something happen so many seconds from now."""
        at = self.now_ms + round(seconds * 1000)
        heapq.heappush(self._events, (at, next(self._numbers), what))

    def run(self, until_ms: int) -> None:
        """Lets everything happen that is due by then."""
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, what = heapq.heappop(self._events)
            what()


class SimulatedQueue:
    """The queue's own scripts on a real server, in simulated time.

    Two things stay in real time, and neither decides anything here: the ids of the stream's
    entries, and for how long a worker has been silent, because no worker dies in a simulation.
    """

    def __init__(self, client: "redis.Redis", clock: Clock) -> None:
        self.clock = clock
        self._client: Any = client
        self._texts: dict[str, tuple[str, str]] = {}

    def ask(self, call: Call[T]) -> T:
        """The script's answer, as the time is now."""
        text, sha = self._text(call.script)
        keys = [*call.keys, self.clock.now_ms]
        try:
            answer = self._client.evalsha(sha, len(keys), *keys, *call.args)
        except NoScriptError:
            answer = self._client.eval(text, len(keys), *keys, *call.args)
        return call.parse(answer)

    def claim(self, consumer: str, free: int) -> list[working.ClaimedJob]:
        """What a worker's consumer does: what came back to the queue first, else new jobs."""
        if claimed := self.ask(working.claim(consumer, [], free)):
            return claimed
        unread = {names.STREAM: ">"}
        found = self._client.xreadgroup(names.GROUP, consumer, unread, count=free)
        entries: Sequence[str] = [entry for _, read in found or () for entry, _ in read]
        return self.ask(working.claim(consumer, entries, 0)) if entries else []

    def depth(self) -> int:
        """How many jobs wait or run."""
        return self._client.xlen(names.STREAM)

    def _text(self, script: str) -> tuple[str, str]:
        if script not in self._texts:
            plain, _ = scripts.source(script)
            own = plain.replace("redis.call('TIME')", "simulated_time()")
            text = AROUND % {"expiries": EXPIRIES, "script": own}
            self._texts[script] = text, hashlib.sha1(text.encode()).hexdigest()
        return self._texts[script]
