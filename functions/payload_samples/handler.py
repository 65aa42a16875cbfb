"""Writes the router's redacted payload samples to a log group that keeps them for one day
(LAM-005).
"""

from functools import cache

import redis

from tlfif import environment, queue
from tlfif.log import log


@cache
def client() -> "redis.Redis":
    """Made once per execution environment."""
    told = environment.Queue.read()
    return queue.connect(told.redis_host, told.redis_port)


def handler(event: object, context: object) -> None:
    """The Lambda entry point: one line a sample."""
    for sample in queue.run(client(), queue.take_samples()):
        log("payload sample", **sample)
