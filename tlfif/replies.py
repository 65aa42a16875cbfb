"""Replies written on behalf of a worker: cancelled, expired or failed jobs that none will finish.

The same rule as the worker's: one final reply per job, held by S3's conditional writes. boto3 is
imported on use.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tlfif.queue import Owed

FINAL = ("done", "failed", "expired", "cancelled")
CALL_TIMEOUT_S = 0.8
ATTEMPTS = 5
WRITERS = 16
# S3's words for a conditional write that came second, and for one whose object has gone meanwhile.
LOST_RACE = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


class Unavailable(Exception):
    """S3 is throttling, silent or refusing; the message is its error code."""


def client(timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """An S3 client that gives up in time for the caller to answer."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=WRITERS,
    )
    return boto3.client("s3", config=config)


@contextmanager
def answering() -> Iterator[None]:
    """Raises Unavailable for whatever botocore raises within."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise Unavailable(error.response["Error"]["Code"]) from error
    except BotoCoreError as error:
        raise Unavailable(type(error).__name__) from error


def read(s3: Any, bucket: str, key: str) -> tuple[dict[str, Any], str] | None:
    """The reply and its ETag, or None when there is none yet. Raises botocore's errors."""
    from botocore.exceptions import ClientError

    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return json.loads(found["Body"].read()), found["ETag"]


def write_final(s3: Any, bucket: str, reply: Owed, writer: str) -> str:
    """Ends a job as `reply` says unless it has ended already; the status that stands.

    Raises Unavailable.

    A worker's partial reply is replaced, keeping its text.
    """
    found = None
    with answering():
        for attempt in range(ATTEMPTS):
            partial, etag = found or ({}, None)
            if _put(
                s3, bucket, reply.reply_key, _body(partial, reply, f"{writer}/{attempt}"), etag
            ):
                return reply.status
            found = read(s3, bucket, reply.reply_key)
            if found and found[0]["status"] in FINAL:
                return found[0]["status"]
    raise Unavailable(
        f"{reply.reply_key} changed {ATTEMPTS} times while its final reply was being written"
    )


def _put(s3: Any, bucket: str, key: str, body: bytes, etag: str | None) -> bool:
    """Whether the write won: over the version with this ETag, or over nothing.

    Raises botocore's errors.
    """
    from botocore.exceptions import ClientError

    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    try:
        s3.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in LOST_RACE:
            raise
        return False
    return True


def _body(partial: dict[str, Any], reply: Owed, writer: str) -> bytes:
    now = int(time.time() * 1000)
    ended = {"id": reply.id, "status": reply.status, "reason": reply.reason, "worker": writer}
    return json.dumps(
        {"text": "", **partial, **ended, "finished_at": now, "updated_at": now}
    ).encode()


def write_all(
    s3: Any, bucket: str, replies: Sequence[Owed], writer: str, give_up_at: float
) -> tuple[list[Owed], str]:
    """Writes many final replies at once, until one fails or `time.monotonic()` says `give_up_at`.

    Returns those that stand, and why the others do not ('' when all do): they stay owed.
    """
    why: list[str] = []

    def write(reply: Owed) -> bool:
        if why:
            return False
        if time.monotonic() > give_up_at:
            why.append("out of time")
            return False
        try:
            write_final(s3, bucket, reply, writer)
        except Unavailable as error:
            why.append(str(error))
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as writers:
        written = list(writers.map(write, replies))
    return [reply for reply, done in zip(replies, written, strict=True) if done], why[
        0
    ] if why else ""
