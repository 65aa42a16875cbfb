"""Closes the stack as its money ends, and opens it again: no starts, then the latch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from tlfif import aws
from tlfif.log import log
from tlfif.money import latching, months
from tlfif.money.deciding import Decision, Degree
from tlfif.money.documents import Latch
from tlfif.nodes import Node
from tlfif.queue import rounds
from tlfif.queue.rounds import Look
from tlfif.queue.scripts import run

BY = "guardian"
# Whom the queue names where only the nodes' tag was to be had. That says neither until when nor
# whether an operator lifted it, so it is believed no longer than the bucket may take to answer.
BY_TAG = "tag"
BELIEVED_S = 150.0


class NotLiftedError(RuntimeError):
    """An operator's command was not done; the message says why and what to do."""


@dataclass(frozen=True)
class Stored:
    """The document: the latch in it, None where there is none or it is not known."""

    latch: Latch | None
    is_known: bool = True

    def holding(self, now: float) -> Latch | None:
        """The latch if it has not ended."""
        return self.latch if self.latch and self.latch.until > now else None

    def is_over(self, now: float) -> bool:
        """Whether this month's latch was lifted, or ended before the month: no tag holds then."""
        begun = self.latch is not None and months.month(self.latch.since) == months.month(now)
        return begun and self.holding(now) is None


@dataclass(frozen=True)
class Closing:
    """What one run closes or opens. It stops no node: `keep` says whether those that run are to be.

    EC2 and S3 may fail: what they refuse now is there in a minute.
    """

    redis: "redis.Redis"
    ec2: Any
    s3: Any
    bucket: str

    def keep(self, nodes: Sequence[Node], told: Look, decision: Decision | None, now: float) -> str:
        """Sets or keeps the latch, or lifts what is left of an old one; why no node may run, ''
        when they may. Raises redis.RedisError.
        """
        stored = self._document()
        found = self._found(nodes, told, stored, now)
        if found is None and decision and decision.degree.latches:
            found = self._latch(decision.why, now)
        if found is None and not stored.is_known and _is_marked(nodes, now):
            found = self._believe(now)
        if found:
            latching.mark(self.ec2, nodes, now)
            return found
        self._unmark(nodes)
        if decision:
            self._close(decision, now)
        return ""

    def unlatch(
        self, nodes: Sequence[Node], told: Look, decision: Decision | None, now: float
    ) -> str:
        """Lifts the latch; a line that says so. Raises NotLiftedError, redis.RedisError."""
        if decision and decision.degree.latches:
            raise NotLiftedError(
                f"{decision.why}: the latch would be set again in a minute. Raise the cap "
                "(pulumi config set --path 'tl-fif:budget.capEur' …, then pulumi up), "
                f"or wait until {months.iso(months.end(now))}"
            )
        found = self._found(nodes, told, self._document(), now)
        lifted = Latch(reason="lifted by an operator", since=now, until=now, by="operator")
        try:
            lifted.save(self.s3, self.bucket)
        except aws.Unavailable as error:
            raise NotLiftedError(f"the bucket does not take it ({error}); try again") from error
        run(self.redis, latching.lift())
        self._unmark(nodes)
        if not found:
            return "nothing was latched"
        run(self.redis, rounds.did("unlatched", f"an operator lifted it: {found}"))
        log("unlatched", why=found)
        return f"the latch is lifted ({found}); the next job starts a node"

    def without_queue(self, nodes: Sequence[Node], now: float) -> str:
        """Why the stack is latched as far as nodes and bucket know, '' when it is not."""
        stored = self._document()
        if latch := stored.holding(now):
            latching.mark(self.ec2, nodes, now)
            return latch.reason
        is_tagged = _is_marked(nodes, now) and not stored.is_over(now)
        return "the nodes' tag says so" if is_tagged else ""

    # --- the latch's three places

    def _found(self, nodes: Sequence[Node], told: Look, stored: Stored, now: float) -> str | None:
        """Why the stack is latched, None when it is not; what one place lost it gets from another.

        The document says last whether the latch of this month was lifted.
        """
        if told.latch is not None and _holds(told.latch, now):
            if stored.is_known and not stored.holding(now):
                self._save(_again(told.latch, now))
            return str(told.latch.get("reason"))
        if latch := stored.holding(now):
            return self._restore(latch)
        if not stored.is_known or stored.is_over(now) or not _is_marked(nodes, now):
            return None
        latch = latching.new("the nodes' tag says so, and nothing else does", BY, now)
        self._save(latch)
        return self._restore(latch)

    def _document(self) -> Stored:
        try:
            return Stored(Latch.load(self.s3, self.bucket))
        except (aws.Unavailable, ValueError) as error:
            log("latch not read", "ERROR", why=str(error))
            return Stored(None, is_known=isinstance(error, ValueError))

    def _believe(self, now: float) -> str:
        """Takes the nodes' tag as the latch until the bucket answers; writes nothing there."""
        why = "the nodes' tag says so, and the bucket does not answer"
        return self._restore(latching.new(why, BY_TAG, now, now + BELIEVED_S))

    def _restore(self, latch: Latch) -> str:
        run(self.redis, latching.hold(latch))
        log("latch restored", "WARNING", why=latch.reason, until=months.iso(latch.until))
        return latch.reason

    def _latch(self, why: str, now: float) -> str:
        latch = latching.new(why, BY, now)
        run(self.redis, latching.hold(latch))
        self._save(latch)
        run(self.redis, rounds.close(None, now))
        run(self.redis, rounds.did("latched", why))
        log("latched", "ERROR", why=why, until=months.iso(latch.until))
        return why

    def _save(self, latch: Latch) -> None:
        try:
            latch.save(self.s3, self.bucket)
        except aws.Unavailable as error:
            log("bucket not latched", "ERROR", why=str(error))

    def _unmark(self, nodes: Sequence[Node]) -> None:
        if marked := [each.id for each in nodes if each.latched]:
            try:
                latching.unmark(self.ec2, marked)
                log("nodes unlatched", nodes=marked)
            except aws.Unavailable as error:
                log("nodes' tag not removed", "ERROR", nodes=marked, why=str(error))

    # --- what is closed before

    def _close(self, decision: Decision, now: float) -> None:
        is_closed = decision.degree is Degree.NO_STARTS
        until = months.end(now)
        shown = {
            "degree": decision.degree.value,
            "reason": decision.why,
            "until": months.iso(until),
        }
        if run(self.redis, rounds.close(shown if is_closed else None, until)):
            run(self.redis, rounds.did("closed" if is_closed else "opened", decision.why))
            log(decision.degree.value, why=decision.why)


def _is_marked(nodes: Sequence[Node], now: float) -> bool:
    return any(each.latch == months.month(now) for each in nodes)


def _holds(told: dict[str, Any], now: float) -> bool:
    """Whether the queue's latch is one by itself, and this month's: a clock that is behind keeps
    the last one's for a moment.
    """
    return told.get("by") != BY_TAG and _until(told, now) > now


def _until(told: dict[str, Any], now: float) -> float:
    try:
        return months.parsed(str(told.get("until")))
    except ValueError:
        return months.end(now)


def _again(told: dict[str, Any], now: float) -> Latch:
    """The queue's latch as a document; it ends when the queue's does."""
    by, reason = str(told.get("by", BY)), str(told.get("reason", ""))
    return latching.new(reason, by, now, _until(told, now))
