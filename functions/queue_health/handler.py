"""GET /queue-health: does the queue answer, and within 200 ms? (RED-004)"""

import time
from functools import cache
from typing import Any

import redis

from tlfif import emf, names
from tlfif.environment import QueueHealth
from tlfif.log import log
from tlfif.proxy import Event, Problem, Response, respond
from tlfif.queue import scripts

LIMIT_MS = 200
RETRY_AFTER_S = 60


@cache
def services() -> tuple[str, "redis.Redis"]:
    """The stack's name and a client, made once per execution environment.

    It waits longer than the limit, to tell a slow queue from a dead one.
    """
    told = QueueHealth.read()
    return told.stack, scripts.connect(told.redis_host, told.redis_port, timeout_s=0.5)


def handler(event: Event, context: Any) -> Response:
    """200 {"redis": "ok", "latencyMs": x}, or 503 with what is wrong."""
    stack, client = services()
    try:
        latency_ms = ping_ms(client)
        slow = f"it took {latency_ms:.0f} ms to answer a ping, more than {LIMIT_MS}"
        wrong = slow if latency_ms > LIMIT_MS else ""
    except redis.RedisError as error:
        latency_ms, wrong = None, f"it does not answer: {type(error).__name__}"
    emf.emit(names.NAMESPACE_QUEUE, stack, {names.METRIC_QUEUE_HEALTHY: int(not wrong)})
    log("queue health", "ERROR" if wrong else "INFO", latencyMs=latency_ms, wrong=wrong)
    if wrong:
        message = f"The queue is not well: {wrong}."
        problem = Problem(503, "queue_unavailable", message, retry_after_s=RETRY_AFTER_S)
        return problem.response(event, context.aws_request_id)
    body = {"redis": "ok", "latencyMs": latency_ms}
    return respond(event, 200, body, {"Cache-Control": "no-store"})


def ping_ms(server: "redis.Redis") -> float:
    """The round trip of a PING in ms; the first, which may have to connect, is not counted."""
    server.ping()
    began = time.perf_counter()
    server.ping()
    return round((time.perf_counter() - began) * 1000, 2)
