"""Looks at the queue for whoever watches the stack: how it is, and what happened in it."""

import json
from dataclasses import dataclass
from typing import Any

from tlfif import names
from tlfif.queue.scripts import Call, pairs


@dataclass(frozen=True)
class News:
    """What the guardian tells CloudWatch: how the queue is, and what happened since the last time.

    `oldest_s`: how long the job has waited that nobody has worked on for longest. `counts`: jobs by
    how they ended, `dead` letters, `failed_boots`. `boot`: the last boot's steps in epoch ms, and
    `money` as GET /status has it; empty when there is none.
    """

    depth: int
    oldest_s: float
    ready: int
    coming: int
    counts: dict[str, int]
    boot: dict[str, float]
    money: dict[str, Any]


def news() -> Call[News]:
    """Reads the news, which are forgotten then."""
    return Call("watching/news", [], [names.LET_GO_S * 1000], _news)


def _news(answer: list[Any]) -> News:
    depth, oldest_ms, ready, coming, flat, money = answer
    happened = pairs(flat)
    boot = happened.pop("boot", "{}")
    counts = {what: int(count) for what, count in happened.items()}
    told = json.loads(money or "{}")
    return News(depth, oldest_ms / 1000, ready, coming, counts, json.loads(boot), told)


@dataclass(frozen=True)
class Health:
    """What a queue that answers says of itself.

    `refused`: why it takes no writes, '' when it does. `unserved_s`: how long the job has waited
    that nobody has worked on for longest.
    """

    refused: str
    memory_percent: int
    unserved_s: float
    guardian_ago_s: float


def health(limit_s: float) -> Call[Health]:
    """Looks for what is wrong, at once; `limit_s` is how long a job may be unserved."""
    return Call("watching/health", [], [int(limit_s * 1000), names.GUARDIAN], _health)


def _health(answer: list[Any]) -> Health:
    refused, memory_percent, unserved_ms, ago_ms = answer
    return Health(refused, memory_percent, unserved_ms / 1000, ago_ms / 1000)
