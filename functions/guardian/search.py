"""Ends replies that say `running` of jobs which the queue lost: with its memory, or otherwise.

Only the bucket knows of them. It is looked through when the queue was restarted or is new, and once
a day besides; in any other minute this costs one question to the queue.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import redis

from tlfif import aws, names, replies
from tlfif.log import log
from tlfif.queue import guarding
from tlfif.queue.guarding import PendingReply
from tlfif.queue.scripts import run
from tlfif.replies import Stored

# Read even by a slow S3 in what a run has left.
PAGE_SIZE = 100
# Older ones ended long ago: they were looked at yesterday, and the day before.
OLDEST_S = 2 * names.SEARCH_EVERY_S
REASON = "the queue lost it, and its worker fell silent"


@dataclass(frozen=True)
class Running:
    """A reply that says `running`, as it was read, and for how many s it had not changed."""

    key: str
    stored: Stored
    silent_s: float

    @property
    def id(self) -> str:
        """The job's."""
        return self.key.rpartition("/")[2].removesuffix(".json")


@dataclass(frozen=True)
class Search:
    """One run's share of a search; it begins no page after `give_up_at` of `time.monotonic()`.

    A page is `page_size` replies. What remains is there in the next run.
    """

    redis: "redis.Redis"
    s3: Any
    bucket: str
    give_up_at: float
    page_size: int = PAGE_SIZE

    def run(self) -> None:
        """Goes on with the search, if there is one. Raises redis.RedisError; S3 may fail."""
        cursor = run(self.redis, guarding.search())
        while cursor is not None and time.monotonic() < self.give_up_at:
            try:
                cursor = self._look_through(cursor) or None
            except aws.Unavailable as error:
                log("search interrupted", "ERROR", why=str(error))
                return

    def _look_through(self, cursor: str) -> str:
        """Ends what is lost on the page after this key; the next page's cursor, '' at the end."""
        with ThreadPoolExecutor(replies.WRITERS) as readers, aws.answering():
            listed = self.s3.list_objects_v2(
                Bucket=self.bucket,
                Prefix=f"{names.REPLIES}/",
                StartAfter=cursor,
                MaxKeys=self.page_size,
            )
            found = list(readers.map(self._read, listed.get("Contents", ())))
            lost = self._lost([each for each in found if each])
            ended = list(readers.map(self._end, lost))
        if lost:
            log("lost jobs", jobs=len(lost), ended=sum(ended))
        following = listed["Contents"][-1]["Key"] if listed["IsTruncated"] else ""
        run(self.redis, guarding.searched(following, len(lost) - sum(ended)))
        return following

    def _read(self, listed: Any) -> Running | None:
        """The reply if it says `running`. Raises botocore's errors."""
        age_s = time.time() - listed["LastModified"].timestamp()
        if age_s > OLDEST_S:
            return None
        try:
            stored = replies.read(self.s3, self.bucket, listed["Key"])
        except ValueError as error:
            # Not JSON, so none of ours: whoever put it there is no reason to end no other.
            log("reply unreadable", "ERROR", key=listed["Key"], why=str(error))
            return None
        if stored is None or stored[0].get("status") != "running":
            return None
        unchanged = stored[1] == listed["ETag"]
        return Running(listed["Key"], stored, age_s if unchanged else 0.0)

    def _lost(self, running: list[Running]) -> list[tuple[Running, PendingReply]]:
        """Those whose jobs the queue does not know, and how they are to end."""
        if not running:
            return []
        answers = run(self.redis, guarding.known([each.id for each in running]))
        return [
            (each, _ending(each, cancelled))
            for each, cancelled in zip(running, answers, strict=True)
            if cancelled != "known"
        ]

    def _end(self, lost: tuple[Running, PendingReply]) -> bool:
        """Whether the job has ended, by us or by its worker, which may live."""
        found, ending = lost
        if found.silent_s >= names.SILENT_S:
            return replies.end_unchanged(self.s3, self.bucket, ending, found.stored, "guardian")
        # Its worker may have ended it between our two questions, to S3 and to the queue.
        now = replies.read(self.s3, self.bucket, found.key)
        return now is None or now[0].get("status") != "running"


def _ending(found: Running, cancelled: str) -> PendingReply:
    status = "cancelled" if cancelled else "expired"
    return PendingReply(found.id, found.key, status, cancelled or REASON)
