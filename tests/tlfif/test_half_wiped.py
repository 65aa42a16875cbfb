"""Every script on a queue that has lost something: nothing, all, one key, all keys but one, its
group, its consumers, its age. None fails, and no job is left that nobody ends.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from support.jobs import BOOT, NODE, UNLIMITED, WORKER, heartbeat, new_job, read

from tlfif import names
from tlfif.money import latching
from tlfif.queue import accepting, guarding, lane, rounds, scripts, watching, working
from tlfif.queue.lane import Lane
from tlfif.queue.scripts import LUA, Call

pytestmark = [pytest.mark.integration, pytest.mark.story("RED-003")]

# In this order they come; the first two are claimed.
JOBS = [new_job(idempotency_key=f"key-{number}") for number in range(4)]
RUNNING, CANCELLED, QUEUED, ENDED = JOBS
ENTRY = "1-1"
SEEN, LATER = '{"launched":1,"counted":1}', 4_000_000_000
Snapshot = dict[str, bytes]

CALLS: dict[str, Call[Any]] = {
    call.script: call
    for call in (
        accepting.accept(new_job(), dataclasses.replace(UNLIMITED, lane=Lane("backlog"))),
        accepting.cancel(RUNNING.id, "ada", runs=True),
        accepting.collect_samples(),
        accepting.empty_zones(),
        accepting.sample(1, {}),
        accepting.status(),
        accepting.stop(),
        accepting.withdraw(QUEUED),
        accepting.woken("t", ["i-2"], failure=("code", "message"), empty_zones=["z"]),
        guarding.begin_run(names.GUARDIAN, "t"),
        guarding.clear([ENDED.id]),
        rounds.close({"degree": "no_starts"}, LATER),
        rounds.did("stopped", "why", NODE),
        guarding.money("2026-11"),
        guarding.tell_money({"month": "2026-11"}),
        guarding.end_run(names.GUARDIAN, "t", done=True),
        guarding.fell_back(["i-2"], ("code", "message")),
        guarding.known([RUNNING.id, ENDED.id]),
        rounds.look([NODE, "i-2"]),
        rounds.looked({NODE: SEEN}, {NODE: "why"}),
        rounds.mend(),
        guarding.pending(older_than_s=0),
        guarding.reconcile("t", 1, 8, Lane("backlog")),
        guarding.search(),
        guarding.searched("", 1),
        guarding.sweep(ttl_s=0, lost_s=-1),
        lane.answered(900, 2_000),
        lane.beat("t", "working", 1, 0.5),
        lane.call("t"),
        lane.enter("t"),
        lane.fail("t", "code", "message", 0.5),
        lane.leave("t", 0.5),
        lane.uncalled("t", "code", "message"),
        watching.health(240),
        watching.news(),
        latching.hold(latching.new("why", "guardian", LATER)),
        latching.lift(),
        working.claim(WORKER, [ENTRY], 5, abandoned_ms=0),
        working.create_group(),
        working.drain(NODE, BOOT),
        working.give_up(NODE, BOOT, "code", "message"),
        working.finish(ENTRY, RUNNING.id, buried="why"),
        working.hand_back(WORKER, ENTRY, RUNNING.id),
        working.heartbeat(NODE, BOOT, "ready", 1, {}, 60_000),
        working.leave(NODE, BOOT, WORKER),
        working.renew(WORKER, [(ENTRY, RUNNING.id)]),
    )
}


def fill(client: "redis.Redis") -> None:
    """Every key that there can be."""
    heartbeat(client)
    for job in JOBS:
        scripts.run(client, accepting.accept(job, UNLIMITED))
    read(client, 2)
    for job in (CANCELLED, ENDED):
        scripts.run(client, accepting.cancel(job.id, "ada"))
    scripts.run(client, accepting.sample(1, {}))
    scripts.run(client, guarding.begin_run(names.GUARDIAN, "t"))
    scripts.run(client, watching.health(240))
    scripts.run(client, guarding.search())
    scripts.run(client, working.heartbeat("i-3", BOOT, "ready", 1, {}, 60_000))
    failed = {"failure": ("code", "message"), "empty_zones": ["z"]}
    scripts.run(client, accepting.woken("t", ["i-2"], **failed))
    scripts.run(client, lane.beat("t", "working", 1, 0.5))
    scripts.run(client, lane.answered(900, 2_000))
    client.xadd(names.DEAD_STREAM, {"id": "1", "reason": "why"})
    for key in (names.STOP, names.WAKE, names.LANE_WAKE, names.withdrawn_key(QUEUED.id)):
        client.set(key, "t", ex=600)
    client.set(names.LANE_CALLS, 1, ex=600)
    client.hset(names.LANE_FAILURE, mapping={"code": "c", "message": "m", "at": 1})
    for life in range(names.BOOT_FAILURES_BOUND):
        seen = json.dumps({"launched": life, "counted": life + 1})
        scripts.run(client, rounds.looked({NODE: seen}, {NODE: "why"}))
    scripts.run(client, rounds.did("stopped", "why", NODE))
    scripts.run(client, rounds.close({"degree": "no_starts"}, LATER))
    for key in (names.LATCH, names.MONEY):
        client.set(key, "{}")


def save(client: "redis.Redis") -> Snapshot:
    raw = redis.Redis(port=client.connection_pool.connection_kwargs["port"])
    with raw:
        keys: Any = raw.keys()
        return {key.decode(): raw.dump(key) for key in keys}  # pyright: ignore


def restore(client: "redis.Redis", snapshot: Snapshot) -> None:
    client.flushall()
    for key, value in snapshot.items():
        client.restore(key, 0 if key in (names.STREAM, names.LATCH) else 600_000, value)


@pytest.fixture(scope="module")
def snapshot(server: Any) -> Iterator[Snapshot]:
    client = scripts.connect("127.0.0.1", server.port)
    client.flushall()
    fill(client)
    yield save(client)
    client.close()


def answers(client: "redis.Redis", script: str) -> None:
    """Runs it; a worker alone may hear that there is no group: it makes one and asks again."""
    try:
        scripts.run(client, CALLS[script])
    except redis.ResponseError as error:
        if script != "working/claim" or not str(error).startswith("NOGROUP"):
            raise
        scripts.run(client, working.create_group())
        scripts.run(client, CALLS[script])


def ends(client: "redis.Redis") -> None:
    """Whatever is there: no worker comes, and each job has an end."""
    for job in JOBS:
        client.delete(names.job_key(job.id))
    time.sleep(0.002)
    _, pending = scripts.run(client, guarding.sweep(ttl_s=0, lost_s=-1))
    assert client.xlen(names.STREAM) == 0
    # What the queue does not know now, the search ends if its reply says that it runs.
    known = scripts.run(client, guarding.known([RUNNING.id, CANCELLED.id]))
    held = set(client.hkeys(names.PENDING_REPLIES))
    assert {each.id for each in pending} <= held
    for job, answer in zip((RUNNING, CANCELLED), known, strict=True):
        assert (answer == "known") == (job.id in held)


def stream_of_another_age(client: "redis.Redis") -> None:
    client.delete(names.STREAM)
    client.xadd(names.STREAM, {"id": QUEUED.id, "reply_key": QUEUED.reply_key}, "1-1")
    client.xgroup_create(names.STREAM, names.GROUP, "0")


def entries_that_were_delivered_and_are_nobodys(client: "redis.Redis") -> None:
    client.xgroup_destroy(names.STREAM, names.GROUP)
    client.xgroup_create(names.STREAM, names.GROUP, "$")


def group_lost(client: "redis.Redis") -> None:
    client.xgroup_destroy(names.STREAM, names.GROUP)


def consumer_lost(client: "redis.Redis") -> None:
    client.xgroup_delconsumer(names.STREAM, names.GROUP, WORKER)


def entries_lost(client: "redis.Redis") -> None:
    client.xtrim(names.STREAM, maxlen=0)


def nothing_lost(client: "redis.Redis") -> None:
    pass


LOSSES: tuple[Callable[["redis.Redis"], None], ...] = (
    nothing_lost, stream_of_another_age, entries_that_were_delivered_and_are_nobodys, group_lost,
    consumer_lost, entries_lost,
)  # fmt: skip


def test_every_script_is_tried_and_every_key_is_there(snapshot: Snapshot) -> None:
    scripts_there = {str(path.relative_to(LUA).with_suffix("")) for path in LUA.glob("*/*.lua")}
    assert CALLS.keys() == scripts_there
    constants = {getattr(names, each) for each in scripts.CONSTANTS}
    assert constants - {names.GROUP, names.NOBODY, names.LANE_OWNER} <= snapshot.keys()


@pytest.mark.parametrize("script", CALLS)
def test_no_script_fails_whichever_key_is_lost_or_left(
    client: "redis.Redis", snapshot: Snapshot, script: str
) -> None:
    client.flushall()
    answers(client, script)
    for key in snapshot:
        restore(client, {other: value for other, value in snapshot.items() if other != key})
        answers(client, script)
        restore(client, {key: snapshot[key]})
        answers(client, script)


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("script", CALLS)
def test_no_script_fails_on_a_stream_that_lost_something_and_each_job_ends(
    client: "redis.Redis",
    snapshot: Snapshot,
    script: str,
    lose: Callable[["redis.Redis"], None],
) -> None:
    restore(client, snapshot)
    lose(client)
    answers(client, script)
    ends(client)


def test_each_job_ends_whichever_key_is_lost(client: "redis.Redis", snapshot: Snapshot) -> None:
    for key in snapshot:
        restore(client, {other: value for other, value in snapshot.items() if other != key})
        ends(client)
