"""Jobs in a queue that a test talks to by itself: accepted, refused, claimed."""

import uuid
from typing import Any

import redis

from tlfif import names
from tlfif.queue import accepting, scripts, working

LIMITS = accepting.Limits()
UNLIMITED = accepting.Limits(backlog_cap=10**9, burst=10**6, sustained=10**6)
NODE, BOOT = "i-0123456789abcdef0", "b1"
WORKER = working.consumer_name(NODE, BOOT)


def new_job(sub: str = "ada", **changes: Any) -> accepting.NewJob:
    return accepting.NewJob(
        **{"id": str(uuid.uuid4()), "sub": sub, "prompt": "Hello", "idle_minutes": 5, **changes}
    )


def accept(
    client: "redis.Redis", job: accepting.NewJob, limits: accepting.Limits = UNLIMITED
) -> accepting.Accepted:
    answer = scripts.run(client, accepting.accept(job, limits))
    assert isinstance(answer, accepting.Accepted)
    return answer


def refuse(
    client: "redis.Redis", job: accepting.NewJob, limits: accepting.Limits = LIMITS
) -> accepting.Refused:
    before = snapshot(client)
    answer = scripts.run(client, accepting.accept(job, limits))
    assert isinstance(answer, accepting.Refused)
    assert snapshot(client) == before, "a refused job leaves nothing behind"
    return answer


def snapshot(client: "redis.Redis") -> dict[str, object]:
    return {key: client.dump(key) for key in client.keys()}  # noqa: SIM118 (a Redis command)


def heartbeat(
    client: "redis.Redis", phase: str = "ready", node: str = NODE, boot: str = BOOT
) -> str:
    return scripts.run(client, working.heartbeat(node, boot, phase, 0, {}))


def read(client: "redis.Redis", count: int = 10, worker: str = WORKER) -> list[working.ClaimedJob]:
    scripts.run(client, working.create_group())
    found: Any = client.xreadgroup(names.GROUP, worker, {names.STREAM: ">"}, count=count)
    entries = [entry for entry, _ in found[0][1]] if found else []
    return scripts.run(client, working.claim(worker, entries, 0))
