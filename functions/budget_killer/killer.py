"""Stops the stack's nodes and latches them: first what costs, then what would start it again."""

import time
from dataclasses import dataclass, field
from typing import Any

import redis

from tlfif import aws, emf, names, nodes
from tlfif.log import log
from tlfif.money import latching
from tlfif.money.documents import Latch
from tlfif.queue import scripts

BY = "budget_killer"
# A node that is pending cannot be stopped yet; EC2 may be away for a moment.
RETRY_S = 3.0


class NotStoppedError(RuntimeError):
    """Something may still run, or could be started again; Lambda calls once more."""


@dataclass
class Killer:
    """One run; it begins no further try after `give_up_at` of `time.monotonic()`.

    Safe to repeat: what is stopping is not stopped again, and a latch that is there stays.
    """

    stack: str
    bucket: str
    ec2: Any
    s3: Any
    redis: "redis.Redis"
    give_up_at: float
    _stopped: set[str] = field(default_factory=set[str])
    _latched: set[str] = field(default_factory=set[str])

    def run(self, why: str, now: float, until: float | None = None) -> list[str]:
        """Stops and latches, until the month ends or that time; the nodes that were stopped. Raises
        NotStoppedError.

        Where the queue is away, tag and document latch; the guardian makes the key of them.
        """
        latch = latching.new(why, BY, now, until)
        left, calm = self._try(latch, now), False
        # A second calm look: what was about to be started before the latch held, is there by then.
        while (left or not calm) and time.monotonic() + RETRY_S < self.give_up_at:
            calm = not left
            time.sleep(RETRY_S)
            left = self._try(latch, now)
        emf.emit(
            names.NAMESPACE_COST,
            self.stack,
            {names.METRIC_BUDGET_STOPS: len(self._stopped)},
            stopped=sorted(self._stopped),
            latched=sorted(self._latched),
            left=left,
            why=why,
        )
        if left:
            raise NotStoppedError(f"after {len(self._stopped)} nodes: {'; '.join(left)}")
        return sorted(self._stopped)

    def _try(self, latch: Latch, now: float) -> list[str]:
        """One try; what is left to do."""
        left: list[str] = []
        found = nodes.look(self.ec2, self.stack)
        if found is None:
            left.append("EC2 does not say which nodes run")
        else:
            left += self._stop(found)
        if not {"queue", "bucket"} <= self._latched:
            self._latch(latch)
        # The tag alone says neither why nor until when, and closes neither router nor lane.
        if not {"queue", "bucket"} & self._latched:
            left.append("neither queue nor bucket takes the latch")
        if found is not None and not self._mark(found, now):
            left.append("EC2 does not take the nodes' tag")
        return left

    def _stop(self, found: list[nodes.Node]) -> list[str]:
        """Stops what runs; which nodes are still to be stopped, and why."""
        running = [each.id for each in found if each.state == "running"]
        told = nodes.stop_each(self.ec2, running)
        # For a moment EC2 may still say that one runs, and it is told twice.
        self._stopped |= {each for each, code in told.items() if not code}
        refused = [f"{each} is not stopped ({code})" for each, code in told.items() if code]
        return refused + [f"{each.id} is pending" for each in found if each.state == "pending"]

    def _latch(self, latch: Latch) -> None:
        """Where it cannot be latched it is tried again, if there is another try."""
        try:
            first = scripts.run(self.redis, latching.hold(latch))
            self._latched.add("queue")
        except redis.RedisError as error:
            log("queue not latched", "ERROR", why=str(error))
        else:
            if not first:  # whoever did it first wrote why, and the guardian what they could not
                self._latched.add("bucket")
        if "bucket" in self._latched:
            return
        try:
            latch.save(self.s3, self.bucket)
            self._latched.add("bucket")
        except aws.Unavailable as error:
            log("bucket not latched", "ERROR", why=str(error))

    def _mark(self, found: list[nodes.Node], now: float) -> bool:
        marked = latching.mark(self.ec2, found, now)
        if marked:
            self._latched.add("nodes")
        return marked is not None
