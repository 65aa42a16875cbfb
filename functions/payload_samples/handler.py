"""Writes the router's redacted payload samples to a log group that keeps a day (LAM-005)."""

from functools import cache

import redis

from tlfif import environment
from tlfif.log import log
from tlfif.queue import accepting, scripts


@cache
def client() -> "redis.Redis":
    """Made once per execution environment."""
    told = environment.Queue.read()
    return scripts.connect(told.redis_host, told.redis_port)


def handler(event: object, context: object) -> None:
    """The Lambda entry point: one line a sample."""
    for sample in scripts.run(client(), accepting.collect_samples()):
        log("payload sample", **sample)
