"""The guardian's count of the month's money: each minute, what ran, what that costs, and what is
to be closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

from tlfif import aws
from tlfif.log import log
from tlfif.money import ledgers, looking, months, spending
from tlfif.money.deciding import Decision, Degree
from tlfif.money.documents import Billed, Document, Ledger, Metered, Tariff
from tlfif.money.looking import Look
from tlfif.nodes import Node
from tlfif.queue import guarding
from tlfif.queue.scripts import run

Told = TypeVar("Told", bound=Document)


@dataclass
class Money:
    """Counts and decides; it stops nothing itself.

    What S3 does not give now is as it was in the last run of this execution environment.
    """

    redis: "redis.Redis"
    s3: Any
    bucket: str
    _known: dict[type[Document], Document | None] = field(
        default_factory=dict[type[Document], "Document | None"]
    )

    def keep(self, nodes: Sequence[Node] | None, now: float) -> Decision | None:
        """What is to be closed, when the stack's nodes are these; None for nodes where EC2 did not
        answer. None for a stack that has no tariff yet. Raises redis.RedisError.
        """
        tariff = self._load(Tariff)
        if tariff is None:
            log("no tariff yet, so no money is counted")
            return None
        billed, stored = self._load(Billed), self._load(Ledger)
        told, lane_s = run(self.redis, guarding.money(months.month(now)))
        queues = Ledger.of(told["ledger"]) if "ledger" in told else None
        ledger = looking.later(stored, queues, billed.ledger if billed else None)
        # Whose clock is behind goes by the ledger's: the old month's lane is no part of the new.
        at = max(now, ledger.at) if ledger else now
        if months.month(at) != months.month(now):
            _, lane_s = run(self.redis, guarding.money(months.month(at)))
        now = at
        seen = looking.look(
            tariff,
            ledger or ledgers.begun(now),
            self._load(Metered),
            billed,
            nodes,
            now,
            lane_s=lane_s,
        )
        run(self.redis, guarding.tell_money(_status(tariff, seen, now)))
        if looking.is_worth_saving(stored, seen.ledger):
            self._save(seen.ledger)
        return seen.decision

    def _load(self, kind: type[Told]) -> Told | None:
        try:
            self._known[kind] = kind.load(self.s3, self.bucket)
        except (aws.Unavailable, ValueError) as error:
            log("document not read", "ERROR", key=kind.KEY, why=str(error))
        found = self._known.get(kind)
        return found if isinstance(found, kind) else None

    def _save(self, ledger: Ledger) -> None:
        try:
            ledger.save(self.s3, self.bucket)
        except aws.Unavailable as error:
            log("ledger not saved", "ERROR", why=str(error))


def _status(tariff: Tariff, seen: Look, now: float) -> dict[str, Any]:
    """What GET /status shows, in EUR, and the ledger to go on from."""
    projected = seen.spent_usd + spending.rest_usd(tariff, now)
    is_open = seen.decision.degree is Degree.OPEN
    left = spending.gpu_hours_left(tariff, seen.spent_usd, now) if is_open else 0.0
    return {
        "month": seen.ledger.month,
        "at": now,
        "spend_eur": round(seen.spent_usd / tariff.usd_per_eur, 4),
        "projected_eur": round(projected / tariff.usd_per_eur, 4),
        "gpu_hours_left": round(left, 2),
        "degree": seen.decision.degree.value,
        "why": seen.decision.why,
        "ledger": seen.ledger.fields(),
    }
