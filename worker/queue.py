"""The queue as one worker sees it: redis-py's asyncio client and the name of its consumer."""

from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tlfif import names
from tlfif.log import log
from tlfif.queue import scripts
from tlfif.queue.scripts import Call
from worker.backoff import Backoff

T = TypeVar("T")

# Longer than a read of the stream blocks.
CONNECT_TIMEOUT_S, TIMEOUT_S = 2.0, 5.0


def connect(host: str, port: int) -> "Redis":
    """Makes a client as `Queue` wants it. Use as an async context manager."""
    return Redis(
        host=host,
        port=port,
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        # Every loop of the worker waits and tries again by itself.
        retry=Retry(NoBackoff(), 0),
    )


class Queue:
    """Asks the queue in a consumer's name.

    `client` is a redis.asyncio client that decodes responses and whose socket time-out exceeds the
    longest `block_ms`.
    """

    def __init__(self, client: Any, consumer: str):
        self.client, self.consumer = client, consumer

    async def ask(self, call: Call[T]) -> T:
        """Asks once. Raises RedisError."""
        return await scripts.arun(self.client, call)

    async def insist(self, call: Call[T]) -> T:
        """Asks until the queue answers."""
        backoff = Backoff()
        while True:
            try:
                return await self.ask(call)
            except RedisError as error:
                log("queue_unavailable", "WARNING", call=call.script, why=str(error))
                await backoff.pause()

    async def read(self, count: int, block_ms: int) -> list[str]:
        """Entries of the stream that nobody has read, waiting for the first. Raises RedisError."""
        unread = {names.STREAM: ">"}
        streams = await self.client.xreadgroup(
            names.GROUP, self.consumer, unread, count=count, block=block_ms
        )
        return [entry for _, entries in streams or () for entry, _ in entries]

    async def cancellations(self, job_ids: list[str]) -> list[str | None]:
        """Per job, why it was cancelled, or None. Raises RedisError."""
        return await self.client.mget([names.cancelled_key(each) for each in job_ids])
