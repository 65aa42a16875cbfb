"""Every minute: no live job without a node on its way, and no dead one without an answer."""

import time
from functools import cache
from typing import Any

import redis

from guardian.guardian import Guardian
from tlfif import emf, names, nodes, replies
from tlfif.environment import Fleet
from tlfif.queue import scripts

# Of the function's 50 s: the last batch of replies may take a moment after that.
WORK_S = 40.0
AWS_TIMEOUT_S = 3.0


@cache
def services() -> tuple[Fleet, "redis.Redis", Any, Any]:
    """Made once per execution environment: fleet, queue, EC2 and S3."""
    fleet = Fleet.read()
    return (
        fleet,
        scripts.connect(fleet.redis_host, fleet.redis_port, timeout_s=2.0),
        nodes.client(AWS_TIMEOUT_S),
        replies.client(AWS_TIMEOUT_S),
    )


def handler(event: object, context: Any) -> None:
    """The Lambda entry point.

    A queue that does not answer fails the run, which counts as an error of the function.
    """
    fleet, client, ec2, s3 = services()
    guardian = Guardian(fleet, client, ec2, s3, context.aws_request_id, time.monotonic() + WORK_S)
    found = guardian.run()
    emf.emit(names.NAMESPACE_QUEUE, fleet.stack, {names.METRIC_QUEUE_DEPTH: found.depth})
