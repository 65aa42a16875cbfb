"""The replies in S3: one object per job, written by whoever holds the job, and final exactly once.

Every write is conditional: the first If-None-Match, the later ones If-Match on the ETag this worker
last wrote. A body names its worker, attempt and sequence, so that no two are equal and a write of
unknown outcome can be recognised.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tlfif import replies

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
CONFLICTS = 6
CONFLICT_PAUSE_S = 0.1


class StorageError(Exception):
    """S3 does not answer, or refuses: whether the body was written is unknown."""


class Written(Enum):
    """What stands in S3 after a write: this worker's body, somebody's final reply, or that of a
    later owner.
    """

    MINE = "mine"
    FINAL = "final"
    LOST = "lost"


class _Again(Exception):
    """The condition has been brought up to date: write again."""


def client(region: str, connections: int) -> Any:
    """An S3 client for `connections` threads.

    It never retries: a conditional write that is repeated refuses itself.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
    )
    return boto3.client("s3", region_name=region, config=config)


class Replies:
    """The replies of one worker. `s3` is a boto3 client; its calls run in `pool`."""

    def __init__(self, s3: Any, bucket: str, worker: str, pool: ThreadPoolExecutor):
        self.worker = worker
        self._s3, self._bucket, self._pool = s3, bucket, pool

    def reply(self, key: str, attempt: int, holds: Callable[[], Awaitable[bool]]) -> "Reply":
        """The reply under `key` in this worker's `attempt`; `holds()` asks whether the lease is
        still its own.
        """
        return Reply(self, key, attempt, holds)

    async def warm_up(self) -> None:
        """Opens a connection and fetches the credentials before a first token waits for them.

        Raises StorageError.
        """
        await self.get("replies/none")

    async def get(self, key: str) -> tuple[dict[str, Any], str] | None:
        """The reply and its ETag, or None. Raises StorageError."""
        try:
            return await self._call(replies.read, self._s3, self._bucket, key)
        except (BotoCoreError, ClientError) as error:
            raise StorageError(str(error)) from error

    async def put(self, key: str, body: bytes, etag: str | None) -> str:
        """Writes if nothing is there, or only `etag`; the new ETag. Raises botocore's errors."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}

        def write() -> str:
            written = self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
            return written["ETag"]

        return await self._call(write)

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)


class Reply:
    """One job's object, as one attempt of one worker may write it. Writes must not overlap."""

    def __init__(
        self, replies: Replies, key: str, attempt: int, holds: Callable[[], Awaitable[bool]]
    ):
        self._replies, self._key, self._attempt, self._holds = replies, key, attempt, holds
        self._etag: str | None = None
        self._sequence = 0

    async def write(self, fields: Mapping[str, Any]) -> Written:
        """Writes one body, partial or final, and finds out what stands. Raises StorageError."""
        self._sequence += 1
        body = json.dumps({**fields, **self._stamp()}, ensure_ascii=False).encode()
        for _ in range(CONFLICTS):
            try:
                return await self._try(body)
            except _Again:
                pass
        raise StorageError(f"{self._key} changed {CONFLICTS} times while it was being written")

    def _stamp(self) -> dict[str, Any]:
        return {
            "worker": self._replies.worker,
            "attempt": self._attempt,
            "sequence": self._sequence,
        }

    async def _try(self, body: bytes) -> Written:
        try:
            self._etag = await self._replies.put(self._key, body, self._etag)
        except ClientError as error:
            code, status = (
                error.response["Error"]["Code"],
                error.response["ResponseMetadata"]["HTTPStatusCode"],
            )
            if code == "ConditionalRequestConflict":
                # Another write was under way; which of the two stood is for the next try to find
                # out.
                await asyncio.sleep(random.uniform(0, CONFLICT_PAUSE_S))
                raise _Again from None
            if code not in ("PreconditionFailed", "NoSuchKey") and status < 500:
                raise StorageError(str(error)) from error
            return await self._look(error)
        except BotoCoreError as error:
            # A time-out, say: it may have been written all the same.
            return await self._look(error)
        return Written.MINE

    async def _look(self, failure: Exception) -> Written:
        """Decides by what is there now.

        Raises _Again with the condition brought up to date, or StorageError.
        """
        found = await self._replies.get(self._key)
        if found is None:
            return await self._again(None, failure)
        theirs, etag = found
        own = (theirs.get("worker"), theirs.get("attempt")) == (self._replies.worker, self._attempt)
        if own and theirs.get("sequence") == self._sequence:
            self._etag = etag
            return Written.MINE
        if theirs["status"] in replies.FINAL:
            return Written.MINE if own else Written.FINAL
        if not own and not await self._may_replace(theirs):
            return Written.LOST
        return await self._again(etag, failure)

    async def _may_replace(self, theirs: Mapping[str, Any]) -> bool:
        """A later attempt may; an equal one (a job handed back is no new delivery) if the lease
        says so.
        """
        attempt = int(theirs.get("attempt", 0))
        return attempt < self._attempt or (attempt == self._attempt and await self._holds())

    async def _again(self, etag: str | None, failure: Exception) -> Written:
        if etag == self._etag and not _refused(failure):
            # Nothing has changed: S3 failed, and the caller knows how long to wait.
            raise StorageError(str(failure)) from failure
        self._etag = etag
        raise _Again


def _refused(failure: Exception) -> bool:
    return (
        isinstance(failure, ClientError)
        and failure.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    )
