"""One look at the month's money, as the guardian takes it each minute and the cost publisher every
15 minutes: what ran since the last one, what all that costs, and what is to be closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tlfif.money import billing, deciding, ledgers, months, spending
from tlfif.money.deciding import Decision
from tlfif.money.documents import Billed, Ledger, Metered, Tariff
from tlfif.nodes import Node

# A ledger in which nothing changed is stored so often; each time costs.
SAVE_S = 900.0
# From an older ledger the guardian has died. While it lives, nodes that a ledger does not name yet
# have just been started.
ALIVE_S = SAVE_S + 300.0
# While nodes run the guardian stores it each minute.
MINUTES_S = 300.0


@dataclass(frozen=True)
class Look:
    """What was seen: the ledger with it, our own count and its `most`, what is reported, what it
    may have cost at its dearest, what is to be closed.
    """

    ledger: Ledger
    own_usd: float
    most: spending.Most
    spent_usd: float
    dearest_usd: float
    decision: Decision


def look(
    tariff: Tariff,
    ledger: Ledger,
    metered: Metered | None,
    billed: Billed | None,
    nodes: Sequence[Node] | None,
    now: float,
    *,
    close_s: float = ledgers.CLOSE_S,
    lane_s: float | None = None,
) -> Look:
    """The look at `now`, when the stack's nodes are these, None where EC2 did not say, and the
    queue has counted so many seconds of the lane this month, None where nobody asked it. Whose
    clock is behind goes by the ledger's, at a month's turn above all.
    """
    now = max(now, ledger.at)
    known = ledger
    # Where EC2 does not say, what ran still runs; how long, the next look will know.
    reckoned = ledgers.counted(ledger, nodes or (), now, close_s)
    ledger = ledger if nodes is None else reckoned
    if lane_s is not None and ledger.month == months.month(now):
        ledger = ledgers.with_lane(ledger, lane_s)
        reckoned = ledgers.with_lane(reckoned, lane_s)
    carried = _carried_usd(tariff, known, metered) if known.month == ledger.month else 0.0
    variable = spending.variable_usd(tariff, reckoned, metered)
    own = spending.fixed_usd(tariff, reckoned, now) + variable + carried
    spent = spending.spend_usd(own, billed, now)
    most = spending.counted_most(tariff, reckoned, own, variable)
    dearest = spending.dearest_usd(most, billed, spent, now)
    most_usd = spending.most_usd(tariff, dearest, metered, now)
    decision = deciding.decide(tariff, most_usd, now)
    then = spending.own_usd(tariff, ledger, metered, ledger.at) + carried
    return Look(
        ledger=replace(
            ledger,
            own_usd=then,
            tariff=tariff.digest,
            carried_usd=carried,
            degree=decision.degree.value,
            why=decision.why,
        ),
        own_usd=own,
        most=most,
        spent_usd=spent,
        dearest_usd=dearest,
        decision=decision,
    )


def _carried_usd(tariff: Tariff, ledger: Ledger, metered: Metered | None) -> float:
    """What the month has cost more (or less) by tariffs before this one than it would by it."""
    if ledger.tariff in ("", tariff.digest):
        return ledger.carried_usd
    return ledger.own_usd - spending.own_usd(tariff, ledger, metered, ledger.at)


def later(*ledgers: Ledger | None) -> Ledger | None:
    """The ledger that has counted for longest: the guardian's, as the bucket or the queue has it,
    or the publisher's.
    """
    known = [each for each in ledgers if each is not None]
    return max(known, key=lambda each: (each.month, each.at)) if known else None


def is_worth_saving(stored: Ledger | None, ledger: Ledger) -> bool:
    """Whether a ledger says what the stored one does not."""
    if stored is None:
        return True
    same = replace(ledger, at=stored.at, why=stored.why, own_usd=stored.own_usd)
    return same != stored or ledger.at - stored.at >= SAVE_S


@dataclass(frozen=True)
class Published:
    """What the publisher saw, what it keeps of AWS's figure and its own count, and whether it is
    for it to have the nodes stopped.
    """

    seen: Look
    billed: Billed
    stop: bool


def published(
    tariff: Tariff,
    ledger: Ledger | None,
    metered: Metered | None,
    billed: Billed | None,
    figure_usd: float | None,
    nodes: Sequence[Node] | None,
    now: float,
) -> Published:
    """The publisher's look, when AWS says that it billed `figure_usd` (None: it says nothing).

    Where the guardian is dead, by the `ledger` that it stored last, the publisher counts by itself.
    """
    alive = is_alive(ledger, nodes, now)
    known = later(ledger, billed.ledger if billed else None) or ledgers.begun(now)
    now = max(now, known.at)
    close_s = ALIVE_S if alive else ledgers.CLOSE_S
    seen = look(tariff, known, metered, billed, nodes, now, close_s=close_s)
    if figure_usd is not None:
        billed = billing.seen(billed, figure_usd, seen.own_usd, seen.most, now)
        seen = look(tariff, known, metered, billed, nodes, now, close_s=close_s)
    billed = billed or Billed(month=months.month(now), at=months.begin(now))
    if not alive:
        billed = replace(billed, counted=seen.ledger.fields())
    closes = seen.decision.degree.latches
    return Published(seen, billed, closes and not alive and bool(seen.ledger.running))


def is_alive(ledger: Ledger | None, nodes: Sequence[Node] | None, now: float) -> bool:
    """Whether the guardian counts: each minute while a node runs, and else less often."""
    # Of one that was started just now it may not have told yet.
    told = ledger.running if ledger else ()
    runs = any(
        node.state in ledgers.RUNNING and (node.id in told or now - node.launched_at > MINUTES_S)
        for node in nodes or ()
    )
    return ledger is not None and now - ledger.at < (MINUTES_S if runs else ALIVE_S)
