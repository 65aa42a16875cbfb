"""Every minute: no live job without a node on its way, and no dead one without an answer."""

import time
from functools import cache
from typing import Any

import redis

from guardian.rounds import Guardian
from guardian.settings import Settings
from tlfif import emf, names, nodes, queue, replies

# Of the function's 50 s: the last batch of replies may take a moment after that.
WORK_S = 40.0
AWS_TIMEOUT_S = 3.0


@cache
def services() -> tuple[Settings, "redis.Redis", Any, Any]:
    """Made once per execution environment: settings, queue, EC2 and S3."""
    settings = Settings.from_environment()
    client = queue.connect(settings.redis_host, settings.redis_port, timeout_s=2.0)
    return settings, client, nodes.client(AWS_TIMEOUT_S), replies.client(AWS_TIMEOUT_S)


def handler(event: object, context: Any) -> None:
    """The Lambda entry point. A queue that does not answer fails the run, which counts as an error of the function."""
    settings, client, ec2, s3 = services()
    guardian = Guardian(settings, client, ec2, s3, context.aws_request_id, time.monotonic() + WORK_S)
    found = guardian.run()
    emf.emit(names.NAMESPACE_QUEUE, settings.stack, {names.METRIC_QUEUE_DEPTH: found.depth})
