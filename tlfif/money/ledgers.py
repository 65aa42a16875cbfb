"""For how long nodes and the instant lane ran, from one look at them to the next.

EC2 says when a node was last started, and mostly when it was stopped; a stop that it does not say
was just now. Whether a node ran before its last start, while nobody looked, nobody knows: that is
counted by itself, because it decides and is not reported.
"""

from collections.abc import Iterable
from dataclasses import replace

from tlfif.money import months
from tlfif.money.documents import Ledger
from tlfif.nodes import Node

RUNNING = ("pending", "running")
# EC2 bills a minute at least for each start.
LEAST_S = 60.0
# No node starts, stops and starts again from one look to the next, if they are so close. In a
# longer gap a node that was started ran before that, for all we know.
CLOSE_S = 180.0


def begun(now: float) -> Ledger:
    """The ledger of a stack that nobody has counted for before."""
    return Ledger(month=months.month(now), at=now, begun_at=now)


def unknown(now: float) -> Ledger:
    """The ledger for whoever closes something and finds none: the stack may be there all month."""
    return Ledger(month=months.month(now), at=months.begin(now))


def counted(ledger: Ledger, nodes: Iterable[Node], now: float, close_s: float = CLOSE_S) -> Ledger:
    """The ledger as of now, when the stack's nodes are these; a new month begins with nothing.

    A clock that was set back counts nothing, until it has caught up.
    """
    ledger = _this_month(ledger, now)
    if now <= ledger.at:
        return ledger
    found = {node.id: node for node in nodes}
    node_s = sum(_ran_s(ledger, node, now) for node in found.values())
    # Of one that is gone altogether nothing is known but that it ran.
    node_s += sum(now - ledger.at for each in ledger.running if each not in found)
    unseen_s = 0.0
    if now - ledger.at > close_s:
        unseen_s = sum(_unseen_s(ledger, node, now) for node in found.values())
    return replace(
        ledger,
        at=now,
        node_s=max(0.0, ledger.node_s + node_s),
        unseen_s=ledger.unseen_s + unseen_s,
        running=sorted(node.id for node in found.values() if node.state in RUNNING),
    )


def with_lane(ledger: Ledger, used_s: float) -> Ledger:
    """The ledger when the queue has counted so many seconds of the lane this month; a count that
    is lower than it was began anew, because the queue lost its memory.
    """
    more = used_s - ledger.lane_seen_s if used_s >= ledger.lane_seen_s else used_s
    return replace(ledger, lane_s=ledger.lane_s + more, lane_seen_s=used_s)


def _this_month(ledger: Ledger, now: float) -> Ledger:
    if months.month(now) <= ledger.month:
        return ledger
    return Ledger(month=months.month(now), at=months.begin(now), running=ledger.running)


def _ran_s(ledger: Ledger, node: Node, now: float) -> float:
    """For how long a node ran since the ledger's last look."""
    at, runs = ledger.at, node.state in RUNNING
    launched = min(node.launched_at, now)
    again = launched > at
    if again:
        # One that ran at the last look stopped between then and this start: in the middle, say.
        since = launched - (launched - at) / 2 * (node.id in ledger.running)
    elif node.id in ledger.running:
        since = at
    elif runs:  # since before the last look, which did not see it
        since = max(launched, months.begin(now)) if launched else at
    else:
        return 0.0
    said = not runs and node.stopped_at >= node.launched_at > 0
    until = min(node.stopped_at, now) if said else now
    if again and not runs:
        return max(until - since, LEAST_S)
    # By EC2's clock a stop may be before the last look: so much was counted too much.
    return max(until - since, -CLOSE_S)


def _unseen_s(ledger: Ledger, node: Node, now: float) -> float:
    """For how long a node that was started since may have run before, beside what is counted."""
    before_s = max(0.0, min(node.launched_at, now) - ledger.at)
    return before_s / 2 if node.id in ledger.running else before_s
