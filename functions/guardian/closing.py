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
LATCHING = (Degree.LATCHED, Degree.TRICKLE)


class NotLiftedError(RuntimeError):
    """An operator's command was not done; the message says why and what to do."""


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
        found = self._found(nodes, told, now)
        if found is None and decision and decision.degree in LATCHING:
            found = self._latch(decision.why, now)
        if found:
            self._mark(nodes, now)
            return found
        self._unmark(nodes)
        if decision:
            self._close(decision, now)
        return ""

    def unlatch(
        self, nodes: Sequence[Node], told: Look, decision: Decision | None, now: float
    ) -> str:
        """Lifts the latch; a line that says so. Raises NotLiftedError, redis.RedisError."""
        if decision and decision.degree in LATCHING:
            raise NotLiftedError(
                f"{decision.why}: the latch would be set again in a minute. Raise the cap "
                "(pulumi config set --path 'tl-fif:budget.capEur' …, then pulumi up), "
                f"or wait until {months.iso(months.end(now))}"
            )
        found = self._found(nodes, told, now)
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
        stored, is_known = self._document()
        holds = stored is not None and stored.until > now
        lifted = is_known and not holds
        marked = any(each.latch == months.month(now) for each in nodes)
        if stored is not None and holds:
            self._mark(nodes, now)
            return stored.reason
        return "the nodes' tag says so" if marked and not lifted else ""

    # --- the latch's three places

    def _found(self, nodes: Sequence[Node], told: Look, now: float) -> str | None:
        """Why the stack is latched, None when it is not; what one place lost it gets from another.

        The document says last whether the latch of this month was lifted.
        """
        stored, is_known = self._document()
        holds = stored is not None and stored.until > now
        if told.latch is not None:
            if is_known and not holds:
                self._save(_again(told.latch, now))
            return str(told.latch.get("reason"))
        if stored is not None and holds:
            return self._restore(stored)
        lifted = stored is not None and months.month(stored.since) == months.month(now)
        marked = [each.id for each in nodes if each.latch == months.month(now)]
        if not marked or lifted or not is_known:
            return None
        latch = latching.new("the nodes' tag says so, and nothing else does", BY, now)
        self._save(latch)
        return self._restore(latch)

    def _document(self) -> tuple[Latch | None, bool]:
        """The stored latch, and whether that is known."""
        try:
            return Latch.load(self.s3, self.bucket), True
        except aws.Unavailable as error:
            log("latch not read", "ERROR", why=str(error))
        except ValueError as error:
            log("latch not read", "ERROR", why=str(error))
            return None, True
        return None, False

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

    def _mark(self, nodes: Sequence[Node], now: float) -> None:
        if wanted := latching.unmarked(nodes, now):
            try:
                latching.mark(self.ec2, wanted, now)
            except aws.Unavailable as error:
                log("nodes not tagged", "ERROR", nodes=wanted, why=str(error))

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


def _again(told: dict[str, Any], now: float) -> Latch:
    """The queue's latch as a document; it ends with the month, as each does."""
    by, reason = str(told.get("by", BY)), str(told.get("reason", ""))
    return Latch(reason=reason, since=now, until=months.end(now), by=by)
