"""On the stop topic, of Budgets' 100 % and of the spend alarm: stops every node and latches."""

import time
from functools import cache
from typing import Any

import redis

from budget_killer.killer import Killer
from budget_killer.messages import read
from tlfif import nodes, replies
from tlfif.environment import BudgetKiller
from tlfif.log import log
from tlfif.queue import scripts

# Of the function's 60 s: the last try may take a moment after that.
WORK_S = 45.0
AWS_TIMEOUT_S = 3.0


@cache
def services() -> tuple[BudgetKiller, Any, Any, "redis.Redis"]:
    """Made once per execution environment: what it is told; EC2, S3 and the queue."""
    told = BudgetKiller.read()
    queue = scripts.connect(told.redis_host, told.redis_port)
    return told, nodes.client(AWS_TIMEOUT_S), replies.client(AWS_TIMEOUT_S), queue


def handler(event: dict[str, Any], context: Any) -> None:
    """The Lambda entry point, called by SNS. Fails when something may still run: Lambda calls it
    twice more, and its alarm rings.
    """
    now, give_up_at = time.time(), time.monotonic() + WORK_S
    records: list[dict[str, Any]] = event.get("Records") or []
    reasons = [found for each in records if (found := read(each, now))]
    if not reasons:
        subjects = [str((each.get("Sns") or {}).get("Subject"))[:200] for each in records]
        log("no reason to stop", subjects=subjects)
        return
    told, ec2, s3, queue = services()
    # Lambda hands over one; of several, the one that holds longest.
    why, until = max(reasons, key=lambda each: each.until)
    killer = Killer(told.stack, told.replies_bucket, ec2, s3, queue, give_up_at)
    log("budget stop", "ERROR", stopped=killer.run(why, now, until), why=why)
