"""The latch: nothing is started any more, until the month ends or an operator lifts it.

It is in three places, because each of them can be away or lose its memory: a key in the queue, for
router, guardian and instant lane; a tag on the nodes, with which IAM refuses their start; and a
document in the bucket, from which the other two are made again.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tlfif import aws, names
from tlfif.log import log
from tlfif.money import months
from tlfif.money.documents import Latch
from tlfif.nodes import GONE, Node
from tlfif.queue.scripts import Call


def new(reason: str, by: str, now: float, until: float | None = None) -> Latch:
    """A latch for the rest of the month, or until a time in it."""
    return Latch(reason=reason, since=now, until=until or months.end(now), by=by)


def shown(latch: Latch) -> dict[str, str]:
    """The latch as the queue keeps it and people read it."""
    since, until = months.iso(latch.since), months.iso(latch.until)
    return {"reason": latch.reason, "since": since, "until": until, "by": latch.by}


def hold(latch: Latch) -> Call[bool]:
    """Sets the queue's key until the latch ends, unless there is one that ends no earlier; whether
    there was none.
    """
    return Call("rounds/latch", [], [json.dumps(shown(latch)), int(latch.until)], bool)


def lift() -> Call[int]:
    """Removes the queue's key."""
    return Call("rounds/unlatch", [], [], int)


def mark(ec2: Any, nodes: Iterable[Node], now: float) -> list[str] | None:
    """Tags the nodes that lack it with the month for which they are latched: which these were;
    None, and a line of why, where EC2 did not take it. What is being terminated needs none.
    """
    month = months.month(now)
    lacking = [each.id for each in nodes if each.state not in GONE and each.latch != month]
    if lacking:
        try:
            with aws.answering():
                tag = {"Key": names.LATCH_TAG, "Value": month}
                ec2.create_tags(Resources=lacking, Tags=[tag])
        except aws.Unavailable as error:
            log("nodes not tagged", "ERROR", nodes=lacking, why=str(error))
            return None
    return lacking


def unmark(ec2: Any, instances: Sequence[str]) -> None:
    """Takes the tag off, whatever its month is. Raises aws.Unavailable."""
    with aws.answering():
        ec2.delete_tags(Resources=list(instances), Tags=[{"Key": names.LATCH_TAG}])
