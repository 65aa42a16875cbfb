"""Carries a plan out: sends and cancels the jobs, strikes the blows, runs the guardian meanwhile,
and waits until nothing is left to happen.
"""

import asyncio
import contextlib
import signal
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from support.chaos.environments import NAME
from support.chaos.lane_account import LOOK_EVERY_MS, Seen
from support.chaos.lane_blows import LaneBlows
from support.chaos.plan import (
    FLEETING_TTL_S,
    LANE_BLOWS,
    LANE_PROMPT_BYTES,
    NODES,
    WAKE_AFTER_S,
    Blow,
    Plan,
    PlannedJob,
)
from support.chaos.stack import BUCKET, SLOTS, STACK, Node, Stack

from guardian.guardian import Guardian
from tlfif import names
from tlfif.calling import Caller
from tlfif.environment import Fleet
from tlfif.queue import accepting, scripts
from tlfif.queue.scripts import Call

LIMITS = {"burst": 10**4, "sustained": 10**4, "backlog_cap": 10**4, "node_count": NODES}
POLL_S = 0.02
GUARDIAN_EVERY_S = 1.0
# Nothing has ended for so long: nothing will.
STALLED_S = 60.0
# What has ended is over for the engines too, but for a frozen watcher's.
LAST_S = 2.0
# All calls of a run give up long before that.
END_S = 30.0
# And it waits for what failed and may come back.
LANE_LAST_S = 4.0
# Of ten callers told to call the lane, one dies before it does.
FORGETS_TO_CALL = 10
BOUNDED = {names.STREAM, names.DEAD_STREAM, names.RUNS, names.MONEY, names.SEARCH}


@dataclass
class Outcome:
    """What the callers were told and did, by job id, and what was struck.

    `sent` may have been accepted, though the answer was lost.
    """

    sent: list[str] = field(default_factory=list[str])
    accepted: list[str] = field(default_factory=list[str])
    cancels: dict[str, str] = field(default_factory=dict[str, str])
    # Unfinished when the queue lost its memory, or when somebody asked for a stop.
    wiped: set[str] = field(default_factory=set[str])
    stopped: set[str] = field(default_factory=set[str])
    struck: Counter[str] = field(default_factory=Counter[str])
    # When watchers were killed or frozen, in epoch ms.
    deaths: list[int] = field(default_factory=list[int])
    # When the queue forgot, in epoch ms, and whom it had buried by then, or has in the end.
    wipes: list[int] = field(default_factory=list[int])
    # What the queue knew of lane and nodes, again and again.
    seen: list[Seen] = field(default_factory=list[Seen])
    dead: set[str] = field(default_factory=set[str])
    left: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0
    stalled: bool = False


class Run:
    """One run of a plan on a stack."""

    def __init__(self, plan: Plan, stack: Stack) -> None:
        self.outcome = Outcome()
        self._plan, self._stack = plan, stack
        self._redis: Any = Redis(
            host=stack.valkey.host,
            port=stack.valkey.port,
            decode_responses=True,
            protocol=2,
            socket_connect_timeout=5,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        # Held while the queue forgets: who is accepted then is accepted before or after.
        self._remembering = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._lane = stack.lane and LaneBlows(stack, stack.lane, self._redis)
        self._caller = self._make_caller()
        self._cancels: defaultdict[int, list[PlannedJob]] = defaultdict(list)
        for job in plan.jobs:
            if job.cancelled_after is not None:
                self._cancels[job.number + job.cancelled_after].append(job)

    async def run(self) -> Outcome:
        """Returns when every job has ended, or none has for STALLED_S."""
        began = time.monotonic()
        guardian = asyncio.create_task(self._guard())
        sending = asyncio.create_task(self._send_all())
        striking = asyncio.create_task(self._strike_all())
        looking = asyncio.create_task(self._look())
        try:
            self.outcome.stalled = not await self._settled(sending)
        finally:
            await self._end(sending, striking, looking, *self._tasks)
        self.outcome.left = await self._left()
        self.outcome.dead |= await self._dead()
        await self._end(guardian)
        await self._redis.aclose()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    @staticmethod
    async def _end(*tasks: "asyncio.Task[None]") -> None:
        """Raises what one of them has failed with; TimeoutError, naming those that do not end."""
        left, until = set(tasks), time.monotonic() + END_S
        while left:
            # Again and again: a client of the queue that has just written loses it (wait_for, until
            # Python 3.12).
            for task in left:
                task.cancel()
            left = (await asyncio.wait(left, timeout=1))[1]
            if time.monotonic() > until:
                raise TimeoutError(f"still there: {', '.join(map(repr, left))}")
        for task in tasks:
            if not task.cancelled():
                task.result()

    # --- the callers

    async def _send_all(self) -> None:
        for job in self._plan.jobs:
            await _until(lambda backlog=job.backlog: self._under_way < backlog)
            await self._send(job)
            self._cancel_all(job.number)
        for number in range(len(self._plan.jobs), max(self._cancels, default=0) + 1):
            self._cancel_all(number)

    def _cancel_all(self, number: int) -> None:
        """Cancels whatever is to be cancelled once the job of this number has been accepted."""
        for job in self._cancels.get(number, ()):
            self._begin(self._cancel(job))

    @property
    def _under_way(self) -> int:
        return len(self.outcome.accepted) - self._ended

    async def _send(self, job: PlannedJob) -> None:
        """As the router does: a caller whom nobody answers asks again, with the same id."""
        new = accepting.NewJob(
            id=job.id,
            sub=job.sub,
            prompt=job.prompt,
            idle_minutes=names.MAX_IDLE_MINUTES,
        )
        lane = self._caller.policy
        limits = accepting.Limits(**LIMITS, slots=SLOTS, ttl_s=job.ttl_s, lane=lane)
        self.outcome.sent.append(job.id)
        while True:
            async with self._remembering:
                with contextlib.suppress(RedisError):
                    answer = await self._ask(accepting.accept(new, limits))
                    if isinstance(answer, accepting.Accepted):
                        self.outcome.accepted.append(job.id)
                        break
                    assert (answer.why, bool(self._lane)) == ("latched", True), answer
            await asyncio.sleep(POLL_S)
        if answer.call and job.number % FORGETS_TO_CALL:
            self._begin(asyncio.to_thread(self._caller.call, job.id))
        if answer.wake:
            # The right to start a node goes back at once: here the guardian starts them all.
            await self._insist(accepting.woken(job.id))

    async def _cancel(self, job: PlannedJob) -> None:
        self.outcome.cancels[job.id] = ""
        answer, _ = await self._insist(accepting.cancel(job.id, job.sub))
        self.outcome.cancels[job.id] = answer

    async def _ask(self, call: Call[Any]) -> Any:
        return await scripts.arun(self._redis, call)

    async def _insist(self, call: Call[Any]) -> Any:
        while True:
            with contextlib.suppress(RedisError):
                return await self._ask(call)
            await asyncio.sleep(POLL_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    # --- the blows

    async def _strike_all(self) -> None:
        for blow in self._plan.blows:
            await _until(lambda after=blow.after: self._ended >= after)
            if blow.kind.endswith("queue"):
                await self._strike_queue(blow)
            else:
                self._begin(self._strike(blow))

    @property
    def _ended(self) -> int:
        return len(self._stack.endpoint.ended | self.outcome.wiped)

    @property
    def _unfinished(self) -> set[str]:
        return set(self.outcome.sent) - self._stack.endpoint.ended

    async def _strike(self, blow: Blow) -> None:
        """To the node that it is meant for, or another that is up, as soon as there is one."""
        nodes = self._stack.nodes[blow.node :] + self._stack.nodes[: blow.node]
        match blow.kind.split(" "):
            case _ if blow.kind in LANE_BLOWS and self._lane:
                await self._lane.strike(blow)
            case ["kill", part]:
                await _first(nodes, lambda node: node.signal(part, signal.SIGKILL))
            case ["freeze", part]:
                frozen = await _first(nodes, lambda node: node.signal(part, signal.SIGSTOP))
                try:
                    await asyncio.sleep(blow.seconds)
                finally:
                    await frozen.signal(part, signal.SIGCONT)
            case ["engine", mode]:
                faulty = await _first(nodes, lambda node: node.set_mode(mode))
                await asyncio.sleep(blow.seconds)
                await faulty.set_mode("none")
            case _:
                await self._stop()
        if blow.kind.endswith("watcher"):
            self.outcome.deaths.append(int(time.time() * 1000))
        self.outcome.struck[blow.kind] += 1

    async def _stop(self) -> None:
        """`POST /stop`; its replies and the nodes are the guardian's."""
        async with self._remembering:
            self.outcome.stopped |= self._unfinished
            await self._insist(accepting.stop())

    async def _strike_queue(self, blow: Blow) -> None:
        """Its server is killed; with or without what it has written down it comes back."""
        valkey = self._stack.valkey
        async with contextlib.AsyncExitStack() as forgetting:
            if blow.kind == "wipe queue":
                await forgetting.enter_async_context(self._remembering)
                self.outcome.dead |= await self._dead()
            await valkey.kill()
            if blow.kind == "wipe queue":
                valkey.wipe()
                self.outcome.wiped |= self._unfinished
                self.outcome.wipes.append(int(time.time() * 1000))
            await asyncio.sleep(blow.seconds)
            await valkey.start()
        self.outcome.struck[blow.kind] += 1

    async def _dead(self) -> set[str]:
        """Whom the queue has buried."""
        while True:
            with contextlib.suppress(RedisError):
                return {entry["id"] for _, entry in await self._redis.xrange(names.DEAD_STREAM)}

    async def _look(self) -> None:
        """Notes what the queue knows, while it answers."""
        while True:
            with contextlib.suppress(RedisError):
                nodes = (await self._ask(accepting.status())).nodes
                token = await self._redis.hget(names.LANE, "token")
                ready = any(node["phase"] == "ready" for node in nodes)
                self.outcome.seen.append(Seen(int(time.time() * 1000), ready, token or ""))
            await asyncio.sleep(LOOK_EVERY_MS / 1000)

    # --- the guardian

    async def _guard(self) -> None:
        """Its function's runs, a second apart instead of a minute."""
        ec2, s3 = await asyncio.to_thread(
            lambda: (self._stack.client("ec2"), self._stack.client("s3"))
        )
        # Its look at nodes and money is not struck here: a second for its minute, it would take
        # every frozen watcher for a dead one.
        rounds: Any = SimpleNamespace(go=lambda now: None)
        while True:
            give_up_at = time.monotonic() + 10
            guardian = Guardian(
                self._caller, ec2, s3, str(uuid.uuid4()), give_up_at, rounds, FLEETING_TTL_S
            )
            with contextlib.suppress(RedisError):
                await asyncio.to_thread(guardian.run)
            await asyncio.sleep(GUARDIAN_EVERY_S)

    def _make_caller(self) -> Caller:
        """Who calls the lane, in the router's place and the guardian's."""
        fleet = Fleet(
            redis_host=self._stack.valkey.host,
            redis_port=self._stack.valkey.port,
            stack=STACK,
            replies_bucket=BUCKET,
            gpu_count=NODES,
            gpu_slots=SLOTS,
            lane_function=NAME if self._lane else "",
            lane_prompt_bytes=LANE_PROMPT_BYTES,
            gpu_wake=self._plan.wake,
            gpu_wake_after_seconds=WAKE_AFTER_S,
        )
        queue = scripts.connect(fleet.redis_host, fleet.redis_port, timeout_s=2.0)
        made = Caller(queue, fleet, timeout_s=3.0)
        vars(made)["functions"] = self._stack.client("lambda")
        return made

    # --- the end

    async def _settled(self, sending: "asyncio.Task[None]") -> bool:
        """Whether all has come to an end."""
        ended, since = -1, time.monotonic()
        while time.monotonic() - since < STALLED_S:
            await asyncio.sleep(0.2)
            if sending.done():
                sending.result()
                if await self._is_empty():
                    return True
            if ended != (now := len(self._stack.endpoint.ended)):
                ended, since = now, time.monotonic()
        return False

    async def _is_empty(self) -> bool:
        """Nothing waits, nobody works, and every reply that there is is final."""
        try:
            depth = await self._redis.xlen(names.STREAM)
            pending = await self._redis.hlen(names.PENDING_REPLIES)
        except RedisError:
            return False
        endpoint = self._stack.endpoint
        return not depth and not pending and set(endpoint.bodies) <= endpoint.ended

    async def _left(self) -> dict[str, Any]:
        """What there still is: in the queue, and under way in the engines."""
        await asyncio.sleep(LAST_S + (LANE_LAST_S if self._lane else 0))
        keys = {key: await self._redis.ttl(key) async for key in self._redis.scan_iter()}
        held = 0
        with contextlib.suppress(ResponseError):
            held = (await self._redis.xpending(names.STREAM, names.GROUP))["pending"]
        return {
            "lane": keys.get(names.LANE) or 0,
            "jobs": sorted(key for key in keys if key.startswith(names.job_key(""))),
            "keys without an end": sorted(
                key for key, ttl_s in keys.items() if ttl_s < 0 and key not in BOUNDED
            ),
            "waiting": await self._redis.xlen(names.STREAM),
            "held": held,
            "generating": sum([await node.generating() for node in self._stack.nodes]),
        }


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def _first(nodes: list[Node], struck: Callable[[Node], Awaitable[bool]]) -> Node:
    """The first node to be struck."""
    while True:
        for node in nodes:
            if await struck(node):
                return node
        await asyncio.sleep(POLL_S)
