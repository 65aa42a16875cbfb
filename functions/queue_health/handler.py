"""GET /queue-health: does the queue answer within 200 ms, and is what it holds being worked on?

A queue that only answers a ping may refuse every job, or hold jobs that nobody will answer
(RED-004).
"""

import time
from functools import cache
from typing import Any

import redis

from tlfif import emf, names
from tlfif.environment import QueueHealth
from tlfif.log import log
from tlfif.proxy import Event, Problem, Response, respond
from tlfif.queue import scripts, watching
from tlfif.queue.watching import Health

LIMIT_MS = 200
RETRY_AFTER_S = 60


@cache
def services() -> tuple[QueueHealth, "redis.Redis"]:
    """What it is told and a client, made once per execution environment.

    It waits longer than the limit, to tell a slow queue from a dead one.
    """
    told = QueueHealth.read()
    return told, scripts.connect(told.redis_host, told.redis_port, timeout_s=0.5)


def handler(event: Event, context: Any) -> Response:
    """200 {"redis": "ok", "latencyMs": x, …}, or 503 with everything that is wrong."""
    told, client = services()
    # Where a minute takes longer, the guardian comes later; where it is short, machines are not
    # faster.
    scale = max(1.0, told.seconds_per_minute / 60)
    facts: dict[str, object] = {}
    try:
        latency_ms, health = ask(client, scale * names.UNSERVED_LIMIT_S)
    except redis.RedisError as error:
        message = f"The queue does not answer: {type(error).__name__}."
        problem = Problem(503, "queue_unavailable", message, retry_after_s=RETRY_AFTER_S)
    else:
        facts, wrong = shown(latency_ms, health), wrongs(latency_ms, health, scale)
        message = f"The queue is not well: {'; '.join(wrong)}."
        unwell = Problem(503, "queue_unhealthy", message, retry_after_s=RETRY_AFTER_S, **facts)
        problem = unwell if wrong else None
    emf.emit(names.NAMESPACE_QUEUE, told.stack, {names.METRIC_QUEUE_HEALTHY: int(not problem)})
    log("queue health", "ERROR" if problem else "INFO", wrong=str(problem or ""), **facts)
    if problem:
        return problem.response(event, context.aws_request_id)
    return respond(event, 200, {"redis": "ok", **facts}, {"Cache-Control": "no-store"})


def ask(client: "redis.Redis", limit_s: float) -> tuple[float, Health]:
    """A ping's round trip in ms, the first of which may have to connect; and what is wrong."""
    client.ping()
    began = time.perf_counter()
    client.ping()
    latency_ms = round((time.perf_counter() - began) * 1000, 2)
    return latency_ms, scripts.run(client, watching.health(limit_s))


def wrongs(latency_ms: float, health: Health, scale: float = 1.0) -> list[str]:
    """All that is wrong, each with the figure and the limit it passes."""
    unserved_s, guardian_s = scale * names.UNSERVED_LIMIT_S, scale * names.GUARDIAN_LIMIT_S
    found = {
        f"it took {latency_ms:.0f} ms to answer a ping, more than {LIMIT_MS}": latency_ms
        > LIMIT_MS,
        f"it takes no writes ({health.refused})": bool(health.refused),
        f"its memory is {health.memory_percent} % full, of which {names.MEMORY_LIMIT_PERCENT} "
        "are too much": health.memory_percent >= names.MEMORY_LIMIT_PERCENT,
        f"a job waits for {health.unserved_s:.0f} s and nobody works on it, more than "
        f"{unserved_s:.0f}": health.unserved_s > unserved_s,
        f"the guardian has done nothing for {health.guardian_ago_s:.0f} s, more than "
        f"{guardian_s:.0f}": health.guardian_ago_s > guardian_s,
    }
    return [what for what, is_so in found.items() if is_so]


def shown(latency_ms: float, health: Health) -> dict[str, object]:
    """The figures, as the answer names them."""
    return {
        "latencyMs": latency_ms,
        "memoryPercent": health.memory_percent,
        "unservedSeconds": round(health.unserved_s, 1),
        "guardianSeconds": round(health.guardian_ago_s, 1),
    }
