"""Final and partial replies in S3: who may write what, and how router and guardian write theirs.

One object per job, one final reply per job, held by S3's conditional writes. Every body names its
writer, so that a write of unknown outcome can be recognised. `judge` decides what a write that
failed has come to, here and in the worker.
"""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tlfif import aws
from tlfif.queue.guarding import PendingReply

FINAL = ("done", "failed", "expired", "cancelled")
CALL_TIMEOUT_S = 0.8
ATTEMPTS = 5
WRITERS = 16

# A reply's fields and its ETag.
Stored = tuple[dict[str, Any], str]


# --- whose reply stands ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Author:
    """Who writes a body: the `sequence`-th of a worker's `attempt` at a job.

    Router and guardian name no attempt: they write for a worker that will not, whichever it was.
    """

    worker: str
    attempt: int | None = None
    sequence: int = 0


class Failure(Enum):
    """Why S3 did not confirm a conditional write."""

    REFUSED = "refused"  # another write came first: the condition does not hold
    CONFLICT = "conflict"  # another write is under way; which of the two stands is open
    UNKNOWN = "unknown"  # a time-out, say: it may have been written all the same
    DENIED = "denied"  # it was not written, and will not be


class Verdict(Enum):
    """What stands, and what that means for the author."""

    MINE = "mine"  # this very write
    ENDED = "ended"  # an earlier final reply of the author's own
    FINAL = "final"  # somebody else's final reply
    LOST = "lost"  # a partial reply of a later attempt
    IF_HELD = "if held"  # of an equal attempt: replace it if the lease is the author's, else lost
    REPLACE = "replace"  # nothing, or what the author may replace: try again with its ETag


def why_failed(error: Exception) -> Failure:
    """What botocore's error says about a conditional write."""
    code, status = aws.code(error), aws.status(error)
    if code == "ConditionalRequestConflict":
        return Failure.CONFLICT
    # NoSuchKey: the version that was to be replaced has gone.
    if code in ("PreconditionFailed", "NoSuchKey"):
        return Failure.REFUSED
    return Failure.UNKNOWN if status is None or status >= 500 else Failure.DENIED


def judge(author: Author, reply: Mapping[str, Any] | None) -> Verdict:
    """Whose reply stands, after a write that S3 did not confirm; `reply` is what it has now."""
    if reply is None:
        return Verdict.REPLACE
    own = (reply.get("worker"), reply.get("attempt")) == (author.worker, author.attempt)
    if own and reply.get("sequence") == author.sequence:
        return Verdict.MINE
    if reply["status"] in FINAL:
        return Verdict.ENDED if own else Verdict.FINAL
    if own or author.attempt is None:
        return Verdict.REPLACE
    return _by_attempt(author.attempt, int(reply.get("attempt", 0)))


def _by_attempt(mine: int, theirs: int) -> Verdict:
    if theirs == mine:
        # A job that was handed back is no new delivery.
        return Verdict.IF_HELD
    return Verdict.REPLACE if theirs < mine else Verdict.LOST


# --- S3 -------------------------------------------------------------------------------------------


def client(timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """Makes an S3 client that gives up in time for the caller to answer."""
    return aws.client("s3", connect_s=timeout_s, read_s=timeout_s, connections=WRITERS)


def read(s3: Any, bucket: str, key: str) -> Stored | None:
    """The reply and its ETag, or None when there is none yet. Raises botocore's errors."""
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except aws.errors() as error:
        if aws.code(error) in ("NoSuchKey", "404"):
            return None
        raise
    return json.loads(found["Body"].read()), found["ETag"]


def put(s3: Any, bucket: str, key: str, body: bytes, etag: str | None) -> str:
    """Writes over the version with this ETag, or over nothing; the new ETag.

    Raises botocore's errors.
    """
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    written = s3.put_object(
        Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition
    )
    return written["ETag"]


# --- router and guardian --------------------------------------------------------------------------


def write_final(s3: Any, bucket: str, reply: PendingReply, writer: str) -> str:
    """Ends a job as `reply` says unless it has ended already; the status that stands.

    A worker's partial reply is replaced, keeping its text. Raises aws.Unavailable.
    """
    found: Stored | None = None
    with aws.answering():
        for attempt in range(ATTEMPTS):
            author = Author(f"{writer}/{attempt}")
            if _put_over(s3, bucket, reply, author, found):
                return reply.status
            found = read(s3, bucket, reply.reply_key)
            if found and judge(author, found[0]) is not Verdict.REPLACE:
                return found[0]["status"]
    raise aws.Unavailable(
        f"{reply.reply_key} changed {ATTEMPTS} times while its final reply was being written"
    )


def end_unchanged(s3: Any, bucket: str, reply: PendingReply, found: Stored, writer: str) -> bool:
    """Ends a job as `reply` says if its reply is still as it was `found`; whether it did.

    Raises aws.Unavailable.
    """
    with aws.answering():
        return _put_over(s3, bucket, reply, Author(writer), found)


def _put_over(
    s3: Any, bucket: str, reply: PendingReply, author: Author, found: Stored | None
) -> bool:
    """Whether the final reply replaced what was found. Raises botocore's errors."""
    partial, etag = found or ({}, None)
    try:
        put(s3, bucket, reply.reply_key, _body(partial, reply, author), etag)
    except aws.errors() as error:
        if why_failed(error) not in (Failure.REFUSED, Failure.CONFLICT):
            raise
        return False
    return True


def _body(partial: Mapping[str, Any], reply: PendingReply, author: Author) -> bytes:
    now = int(time.time() * 1000)
    ended = {"id": reply.id, "status": reply.status, "reason": reply.reason}
    times = {"finished_at": now, "updated_at": now}
    return json.dumps({"text": "", **partial, **ended, "worker": author.worker, **times}).encode()


def write_all(
    s3: Any, bucket: str, replies: Sequence[PendingReply], writer: str, give_up_at: float
) -> tuple[list[PendingReply], str]:
    """Writes many final replies at once, until one fails or `time.monotonic()` says `give_up_at`.

    Returns those that stand, and why the others do not ('' when all do): they stay pending.
    """
    why: list[str] = []

    def write(reply: PendingReply) -> bool:
        if why:
            return False
        if time.monotonic() > give_up_at:
            why.append("out of time")
            return False
        try:
            write_final(s3, bucket, reply, writer)
        except aws.Unavailable as error:
            why.append(str(error))
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as writers:
        written = list(writers.map(write, replies))
    standing = [reply for reply, done in zip(replies, written, strict=True) if done]
    return standing, why[0] if why else ""
