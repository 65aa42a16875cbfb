"""The blows that fall on the instant lane, and on what it stands in for."""

import asyncio
import contextlib
import json
import signal
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from redis.exceptions import RedisError
from support.chaos.environments import NAME, Lambda, LambdaEnvironment, now_ms
from support.chaos.plan import Blow
from support.chaos.stack import Stack

from local.aws.faults import Fault
from tlfif import names

POLL_S = 0.02
LATCH = json.dumps({"reason": "chaos", "until": 0})
NO_NODE = ("InsufficientInstanceCapacity", 500)
THROTTLED = ("TooManyRequestsException", 429)
SLOW_DOWN = ("SlowDown", 503)


class LaneBlows:
    """Strikes the lane of a stack; `queue` is a redis.asyncio client."""

    def __init__(self, stack: Stack, lane: Lambda, queue: Any) -> None:
        self._stack, self._lane, self._queue = stack, lane, queue

    async def strike(self, blow: Blow) -> None:
        """Returns when the blow is over; what was struck has it in its `Life`."""
        match blow.kind:
            case "kill lane":
                (await self._working(blow.kind)).signal(signal.SIGKILL)
            case "freeze lane":
                await self._freeze(await self._working(blow.kind), blow.seconds)
            case "kill lane-engine":
                while not (await self._working(blow.kind)).kill_engine():  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
            case "limit lane":
                self._lane.limits_s.append(blow.seconds)
            case "call lane":
                await asyncio.gather(*(asyncio.to_thread(self._call) for _ in range(2)))
            case "refuse call":
                with self._faulty("lambda", "Invoke", THROTTLED):
                    await asyncio.sleep(blow.seconds)
            case "lose call":
                lost = Fault("lambda", "Invoke", reset=True, after=True)
                self._stack.endpoint.faults.add(lost)
            case "lose nodes":
                await self._lose_nodes(blow.seconds)
            case "latch":
                await self._latch(blow.seconds)
            case "refuse S3":
                with self._faulty("s3", "*", SLOW_DOWN):
                    await asyncio.sleep(blow.seconds)
            case _:
                raise AssertionError(blow.kind)

    async def _working(self, kind: str) -> LambdaEnvironment:
        """The lane that is at work, as soon as one is."""
        while True:
            for each in self._lane.busy:
                if each.life and each.life.token:
                    each.life.struck.append(kind)
                    return each
            await asyncio.sleep(POLL_S)

    async def _freeze(self, at: LambdaEnvironment, seconds: float) -> None:
        life, since_ms = at.life, now_ms()
        assert life is not None
        at.signal(signal.SIGSTOP)
        try:
            await self._cut(at.sockets())
            await asyncio.sleep(seconds)
        finally:
            life.frozen.append((since_ms, now_ms()))
            at.signal(signal.SIGCONT)

    async def _cut(self, ports: set[int]) -> None:
        """Ends a frozen process's connections to the queue, as a network does that forgets them."""
        for port in ports:
            with contextlib.suppress(RedisError):
                await self._queue.execute_command("CLIENT", "KILL", "ADDR", f"127.0.0.1:{port}")

    def _call(self) -> None:
        with contextlib.suppress(BotoCoreError, ClientError):
            self._stack.client("lambda").invoke(
                FunctionName=NAME, InvocationType="Event", Payload=json.dumps({"token": "twice"})
            )

    async def _lose_nodes(self, seconds: float) -> None:
        """EC2 stops them, and has no other for a while; then they come in the middle of it all."""
        with self._faulty("ec2", "StartInstances", NO_NODE):
            await asyncio.to_thread(self._stop_nodes)
            await asyncio.sleep(seconds)

    def _stop_nodes(self) -> None:
        ec2 = self._stack.client("ec2")
        for node in self._stack.nodes:
            # One that is still pending can't be stopped.
            with contextlib.suppress(BotoCoreError, ClientError):
                ec2.stop_instances(InstanceIds=[node.instance_id])

    async def _latch(self, seconds: float) -> None:
        """The budget is spent, and then there is another one."""
        with contextlib.suppress(RedisError):
            await self._queue.set(names.LATCH, LATCH)
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._unlatch()

    async def _unlatch(self) -> None:
        while True:
            with contextlib.suppress(RedisError):
                await self._queue.delete(names.LATCH)
                return
            await asyncio.sleep(POLL_S)

    def _faulty(
        self, service: str, operation: str, error: tuple[str, int]
    ) -> "contextlib.AbstractContextManager[Fault]":
        code, status = error
        fault = Fault(service, operation, status=status, code=code, times=None)
        return self._stack.endpoint.faults.injected(fault)
