"""The guardian's count of the month's money: each minute, what ran, what that costs, and what is
to be closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import redis

from tlfif import aws
from tlfif.log import log
from tlfif.money import deciding, months, spending, uptime
from tlfif.money.deciding import Decision, Degree
from tlfif.money.documents import Billed, Document, Ledger, Metered, Tariff
from tlfif.nodes import Node
from tlfif.queue import guarding
from tlfif.queue.scripts import run

# A ledger in which nothing changed is stored so often; each time costs.
SAVE_S = 900.0
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
        default_factory=dict[type[Document], Document | None]
    )

    def keep(self, nodes: Sequence[Node] | None, now: float) -> Decision | None:
        """What is to be closed, when the stack's nodes are these; None of those that EC2 did not
        name, and None for a stack that has no tariff yet. Raises redis.RedisError.
        """
        tariff = self._load(Tariff)
        if tariff is None:
            log("no tariff yet, so no money is counted")
            return None
        metered, billed = self._load(Metered), self._load(Billed)
        before = self._load(Ledger)
        told, lane_s = run(self.redis, guarding.money(months.month(now)))
        ledger = _later(before, told.get("ledger"))
        ledger = uptime.begun(now) if ledger is None else ledger
        month = ledger.month
        if nodes is not None:
            ledger = uptime.counted(ledger, nodes, now)
        if ledger.month == months.month(now) and (ledger.month == month or lane_s):
            ledger = uptime.with_lane(ledger, lane_s)
        most = spending.most_usd(tariff, ledger, metered, billed, now)
        decision = deciding.decide(tariff, most, now)
        ledger = replace(ledger, degree=decision.degree.value, why=decision.why)
        own = spending.own_usd(tariff, ledger, metered, now)
        spent = spending.spend_usd(own, billed, now)
        run(self.redis, guarding.tell_money(_status(tariff, ledger, decision, spent, now)))
        if before is None or _is_worth_saving(before, ledger):
            self._save(ledger)
        return decision

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


def _later(stored: Ledger | None, told: dict[str, Any] | None) -> Ledger | None:
    """The ledger that has counted for longer: the bucket's, or the queue's, which is told more
    often and forgets.
    """
    if not told:
        return stored
    queues = Ledger.of(told)
    return queues if stored is None or queues.at >= stored.at else stored


def _is_worth_saving(before: Ledger, ledger: Ledger) -> bool:
    still = replace(ledger, at=before.at, why=before.why)
    return still != before or ledger.at - before.at >= SAVE_S


def _status(
    tariff: Tariff, ledger: Ledger, decision: Decision, spent: float, now: float
) -> dict[str, Any]:
    """What GET /status shows, in EUR, and the ledger to go on from."""
    projected = spent + spending.rest_usd(tariff, now)
    is_open = decision.degree is Degree.OPEN
    left = spending.gpu_hours_left(tariff, spent, now) if is_open else 0.0
    return {
        "month": ledger.month,
        "at": now,
        "spend_eur": round(spent / tariff.usd_per_eur, 4),
        "projected_eur": round(projected / tariff.usd_per_eur, 4),
        "gpu_hours_left": round(left, 2),
        "degree": decision.degree.value,
        "why": decision.why,
        "ledger": ledger.fields(),
    }
