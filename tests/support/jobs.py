"""Jobs in a queue that a test talks to by itself: accepted, refused, claimed by node or lane."""

import uuid
from dataclasses import replace
from typing import Any

import redis

from tlfif import names
from tlfif.queue import accepting, guarding, lane, scripts, working

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


# --- the instant lane

# Longer prompts than this are left to a node.
SHORT, LONG = "Hello", "Hello " * 20
LANE = lane.Lane("always", 60, len(SHORT))


def laned(wakes: str = "always", **changes: Any) -> accepting.Limits:
    return replace(UNLIMITED, lane=replace(LANE, wakes=wakes), **changes)


def enter(client: "redis.Redis", token: str = "lane-1", phase: str = "working") -> str:
    """A lane that came, and works or loads."""
    answer = scripts.run(client, lane.enter(token))
    if phase != "loading" and answer == "entered":
        beat(client, token, phase)
    return answer


def beat(client: "redis.Redis", token: str = "lane-1", phase: str = "working") -> str:
    return scripts.run(client, lane.beat(token, phase, 0, 1.0))


def take(
    client: "redis.Redis", token: str = "lane-1", count: int = 10, abandoned: int = 10
) -> list[working.ClaimedJob]:
    """What the lane claims, of what is new and of what comes back."""
    name = lane.consumer_name(token)
    again = scripts.run(client, working.create_group()) and scripts.run(
        client, working.claim(name, [], abandoned)
    )
    return again + read(client, count, name)


def leave(client: "redis.Redis", token: str = "lane-1", *, over: bool = False) -> str:
    return scripts.run(client, lane.leave(token, 1.0, over=over))


def break_lane(client: "redis.Redis", message: str = "no weights") -> None:
    enter(client, phase="loading")
    scripts.run(client, lane.fail("lane-1", "NoWeights", message, 1.0))


def reconcile(
    client: "redis.Redis", wakes: str = "always", token: str = "g", caller: str = ""
) -> guarding.Reconciliation:
    return scripts.run(client, guarding.reconcile(token, 1, 8, laned(wakes).lane, caller))
