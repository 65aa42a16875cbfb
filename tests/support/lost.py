"""Jobs that run, and then the queue that forgets them."""

import json
from typing import Any

from support.jobs import new_job
from support.world import BUCKET, World

from tlfif import names
from tlfif.queue import accepting, guarding, scripts, working
from tlfif.queue.working import ClaimedJob

UNLIMITED = accepting.Limits(backlog_cap=10**9, burst=10**6, sustained=10**6, slots=8)


def write(world: World, claimed: ClaimedJob, status: str = "running", text: str = "Once") -> None:
    """What a worker writes of its job, whatever stands there."""
    body = {"id": claimed.id, "status": status, "text": text, "worker": "i-1:b1", "attempt": 1}
    s3 = world.moto.client("s3")
    s3.put_object(Bucket=BUCKET, Key=claimed.reply_key, Body=json.dumps(body))


def start(world: World, count: int = 1, sub: str = "ada") -> list[ClaimedJob]:
    """Jobs that a worker has begun to answer."""
    world.heartbeat()
    for _ in range(count):
        scripts.run(world.queue, accepting.accept(new_job(sub), UNLIMITED))
    begun = [claimed for _ in range(-(-count // 10)) for claimed in world.claim()]
    for claimed in begun:
        write(world, claimed)
    return begun


def wipe(world: World) -> None:
    """The queue's memory is lost; the node, which is still there, says so again."""
    world.queue.flushall()
    world.heartbeat()


# --- what may be lost of a job that a worker has


def hash_expired(world: World, claimed: ClaimedJob) -> None:
    world.queue.delete(names.job_key(claimed.id))


def entry_and_hash_gone(world: World, claimed: ClaimedJob) -> None:
    world.queue.delete(names.STREAM, names.job_key(claimed.id))


def entry_gone(world: World, claimed: ClaimedJob) -> None:
    world.queue.delete(names.STREAM)


def entry_removed(world: World, claimed: ClaimedJob) -> None:
    world.queue.xdel(names.STREAM, claimed.entry)


def group_gone(world: World, claimed: ClaimedJob) -> None:
    world.queue.xgroup_destroy(names.STREAM, names.GROUP)


def consumer_gone(world: World, claimed: ClaimedJob) -> None:
    world.queue.xgroup_delconsumer(names.STREAM, names.GROUP, "i-1:b1")


def handed_back_and_group_gone(world: World, claimed: ClaimedJob) -> None:
    scripts.run(world.queue, working.hand_back("i-1:b1", claimed.entry, claimed.id))
    group_gone(world, claimed)


def ended_without_a_reply(world: World, claimed: ClaimedJob) -> None:
    finish(world, claimed)


def pending_reply_gone(world: World, claimed: ClaimedJob) -> None:
    world.queue.delete(names.job_key(claimed.id))
    scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=-1))
    world.queue.delete(names.PENDING_REPLIES)


def everything_gone(world: World, claimed: ClaimedJob) -> None:
    wipe(world)


def nothing_gone(world: World, claimed: ClaimedJob) -> None:
    pass


LOSSES = (
    everything_gone, entry_and_hash_gone, hash_expired, entry_gone, entry_removed, group_gone,
    consumer_gone, handed_back_and_group_gone, ended_without_a_reply, pending_reply_gone,
    nothing_gone,
)  # fmt: skip


def ending(world: World, claimed: ClaimedJob) -> tuple[str, str]:
    """Status and reason in the bucket."""
    reply: dict[str, Any] = world.reply(claimed.reply_key) or {}
    return reply.get("status", ""), reply.get("reason", "")


def a_day_later(world: World) -> None:
    """As if the last search had been a day ago."""
    world.queue.hset(names.SEARCH, "next", 0)


def finish(world: World, claimed: ClaimedJob) -> None:
    """What a worker says when the final reply stands."""
    scripts.run(world.queue, working.finish(claimed.entry, claimed.id))
