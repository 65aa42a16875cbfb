"""The worker's replies in S3, written while a job runs and final exactly once.

Every write is conditional: the first If-None-Match, the later ones If-Match on the ETag this worker
last wrote. What a write has come to that S3 did not confirm, `tlfif.replies.judge` says.
"""

import asyncio
import contextlib
import functools
import json
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, TypeVar

from redis.exceptions import RedisError

from tlfif import aws, names, replies
from tlfif.log import log
from tlfif.replies import Author, Failure, Stored, Verdict
from worker.backoff import Backoff
from worker.lease import Lease

T = TypeVar("T")

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
CONFLICTS = 6
CONFLICT_PAUSE_S = 0.1
NEW_CLIENT_AFTER_S = 1.0
# Far more than a worker holds or has handed back at a time.
SEQUENCES_BOUND = 10_000


class StorageError(Exception):
    """S3 or the queue does not answer, or refuses: whether the body was written is unknown."""


class Written(Enum):
    """What stands in S3 after a write.

    This worker's body, somebody's final reply, or that of a later owner.
    """

    MINE = "mine"
    FINAL = "final"
    LOST = "lost"


STANDS = {
    Verdict.MINE: Written.MINE,
    Verdict.ENDED: Written.MINE,
    Verdict.FINAL: Written.FINAL,
    Verdict.LOST: Written.LOST,
}


def client(region: str | None, connections: int) -> Any:
    """Makes an S3 client for `connections` threads; without a region it is the environment's."""
    return aws.client(
        "s3", region, connect_s=CONNECT_TIMEOUT_S, read_s=READ_TIMEOUT_S, connections=connections
    )


class Replies:
    """The replies of one worker. `make_s3` makes a boto3 client, whose calls run in `pool`.

    `why_not` says why S3 took or gave nothing the last time, '' when it did.
    """

    def __init__(
        self, make_s3: Callable[[], Any], bucket: str, worker: str, pool: ThreadPoolExecutor
    ):
        self.worker, self.bucket = worker, bucket
        self.why_not = ""
        self._make_s3, self._s3, self._pool = make_s3, make_s3(), pool
        self._made_at = time.monotonic()
        self._sequences: dict[str, int] = {}

    def next_sequence(self, key: str) -> int:
        """How many bodies of this reply the worker has begun to write, with this one.

        Also those of an earlier claim: a job that it handed back may come back to it.
        """
        sequence = self._sequences[key] = self._sequences.pop(key, 0) + 1
        if len(self._sequences) > SEQUENCES_BOUND:
            del self._sequences[next(iter(self._sequences))]
        return sequence

    async def until_well(self) -> None:
        """Returns when S3 answers: at once, if it did the last time."""
        backoff = Backoff()
        while self.why_not:
            await backoff.pause()
            with contextlib.suppress(StorageError):
                await self.warm_up()

    async def warm_up(self) -> None:
        """Opens a connection and fetches the credentials before a first token waits for them.

        Raises StorageError.
        """
        await self.get(names.reply_key("nobody", "none"))

    async def get(self, key: str) -> Stored | None:
        """The reply and its ETag, or None. Raises StorageError."""
        try:
            return await self._call(replies.read, self.bucket, key)
        except aws.errors() as error:
            raise StorageError(str(error)) from error

    async def put(self, key: str, body: bytes, etag: str | None) -> str:
        """Writes if nothing is there, or only `etag`; the new ETag. Raises botocore's errors."""
        return await self._call(replies.put, self.bucket, key, body, etag)

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        call = functools.partial(function, self._s3, *args)
        try:
            answer = await self._in_pool(call)
        except aws.errors() as error:
            await self._note(error)
            raise
        self.why_not = ""
        return answer

    async def _note(self, error: Exception) -> None:
        """Remembers that S3 does not answer; a client that it refuses makes way for a new one.

        One that was made before there were credentials to have goes without for good.
        """
        failure = replies.why_failed(error)
        if failure in (Failure.REFUSED, Failure.CONFLICT):
            self.why_not = ""
            return
        self.why_not = f"S3 does not answer: {aws.code(error)}"
        refused = failure is Failure.DENIED or aws.is_without_credentials(error)
        if refused and time.monotonic() - self._made_at > NEW_CLIENT_AFTER_S:
            log("new_s3_client", "WARNING", why=str(error))
            self._made_at = time.monotonic()
            self._s3 = await self._in_pool(self._make_s3)

    async def _in_pool(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class Reply:
    """One job's object, as one attempt of one worker may write it. Writes must not overlap."""

    def __init__(self, replies: Replies, lease: Lease):
        self._replies, self._lease = replies, lease
        self._key = lease.job.reply_key
        self._etag: str | None = None

    async def write(self, fields: Mapping[str, Any]) -> Written:
        """Writes one body, partial or final, and finds out what stands. Raises StorageError."""
        sequence = self._replies.next_sequence(self._key)
        author = Author(self._replies.worker, self._lease.job.deliveries, sequence)
        body = json.dumps({**fields, **vars(author)}, ensure_ascii=False).encode()
        for _ in range(CONFLICTS):
            written = await self._try(author, body)
            if written:
                return written
        raise StorageError(f"{self._key} changed {CONFLICTS} times while it was being written")

    async def _try(self, author: Author, body: bytes) -> Written | None:
        """What stands, or None to write again, over what is there now. Raises StorageError."""
        try:
            self._etag = await self._replies.put(self._key, body, self._etag)
        except aws.errors() as error:
            return await self._after(error, author)
        return Written.MINE

    async def _after(self, error: Exception, author: Author) -> Written | None:
        failure = replies.why_failed(error)
        if failure is Failure.DENIED:
            raise StorageError(str(error)) from error
        if failure is Failure.CONFLICT:
            # Which of the two writes stood is for the next try to find out.
            await asyncio.sleep(random.uniform(0, CONFLICT_PAUSE_S))
            return None
        found = await self._replies.get(self._key)
        reply, etag = found or (None, None)
        verdict = await self._judge(author, reply)
        if verdict is Verdict.REPLACE and etag == self._etag and failure is Failure.UNKNOWN:
            # Nothing has changed: S3 failed, and the caller knows how long to wait.
            raise StorageError(str(error)) from error
        if verdict in (Verdict.MINE, Verdict.REPLACE):
            self._etag = etag
        return STANDS.get(verdict)

    async def _judge(self, author: Author, reply: Mapping[str, Any] | None) -> Verdict:
        verdict = replies.judge(author, reply)
        if verdict is not Verdict.IF_HELD:
            return verdict
        try:
            held = await self._lease.holds()
        except RedisError as error:
            raise StorageError(f"whose lease it is the queue does not say: {error}") from error
        return Verdict.REPLACE if held else Verdict.LOST
