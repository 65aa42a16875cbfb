"""The router while queue, EC2 or S3 fail: it says so within two seconds and loses nothing."""

import asyncio
import time
import uuid
from typing import Any

import pytest
import redis
from support.routes import accepted, documented, metrics, only_a_mark_is_left
from support.world import Outage, World, full, hung, read_only, refused, slow_link

from local.aws.faults import Fault
from tlfif import names
from tlfif.queue import guarding, scripts

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def as_deployed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it counts how long the router waits for EC2."""
    monkeypatch.delenv("TLFIF_EC2_TIMEOUT_S")


# --- the queue fails: every route says so within two seconds


@pytest.mark.story("LAM-003")
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("outage", [hung, refused, read_only, full])
async def test_a_queue_that_fails_is_a_503_within_two_seconds_and_leaves_nothing_behind(
    world: World, outage: Outage, warm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    world.heartbeat()
    if warm:
        await world.infer(sub="first")
    before = world.queue.xlen(names.STREAM)
    capsys.readouterr()
    async with outage(world):
        answer = await world.infer()
        assert (answer.status, answer.body["error"]) == (503, "queue_unavailable")
        assert answer.headers["Retry-After"] == "2"
        assert answer.seconds < 2
        assert metrics(capsys.readouterr().out) == {names.METRIC_REDIS_ENQUEUE_FAIL: 1}
        for method, resource in (("DELETE", "/infer/{id}"), ("GET", "/status")):
            answer = await world.send(method, resource, job=str(uuid.uuid4()))
            assert (
                answer.status == 503 if outage in (hung, refused) else answer.status in (200, 404)
            )
            assert answer.seconds < 2
    assert world.queue.xlen(names.STREAM) == (0 if outage is refused else before)
    world.heartbeat()
    assert (await world.infer()).status == 202, "and once it is back, all is well"


@pytest.mark.parametrize("outage", [hung, refused, read_only])
async def test_a_stop_that_the_queue_does_not_hear_is_refused(world: World, outage: Outage) -> None:
    async with outage(world):
        answer = await world.send("POST", "/stop")
    assert (answer.status, answer.body["error"]) == (503, "queue_unavailable")
    assert answer.seconds < 2


async def test_a_queue_without_memory_can_be_emptied(world: World) -> None:
    world.heartbeat()
    await world.infer()
    async with full(world):
        assert (await world.send("POST", "/stop")).body["jobs"] == 1
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_queue_that_restarts_costs_one_answer_at_most(world: World) -> None:
    world.heartbeat()
    await world.infer()
    await world.valkey.stop()
    await world.valkey.start()
    world.heartbeat()
    answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "queued"), (
        "connection and scripts are made again"
    )


async def test_a_queue_behind_a_slow_network_serves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.heartbeat()
    async with slow_link(world.valkey.port, 0.2) as port:
        monkeypatch.setenv("TLFIF_REDIS_PORT", str(port))
        for _ in range(2):
            answer = await world.infer()
            assert (answer.status, answer.body["status"]) == (202, "queued")
            assert answer.seconds < 1


async def test_a_job_whose_caller_gave_up_is_not_accepted_behind_his_back(world: World) -> None:
    world.heartbeat()
    await world.infer()
    async with hung(world):
        assert (await world.infer()).status == 503
    await asyncio.sleep(0.2)
    assert world.queue.xlen(names.STREAM) == 1


# --- EC2 and S3 fail


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize("operation", ["DescribeInstances", "StartInstances"])
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "code": "RequestLimitExceeded"},
        {"status": 403, "code": "UnauthorizedOperation"},
        {"status": 500, "code": "InternalError"},
        {"hang": True},
        {"reset": True},
    ],
    ids=lambda fault: next(iter(fault.values())) if "code" not in fault else fault["code"],
)
async def test_an_ec2_that_does_not_help_leaves_the_job_to_the_guardian(
    world: World, node: str, operation: str, fault: dict[str, Any]
) -> None:
    await world.warm()
    with world.endpoint.faults.injected(
        Fault(service="ec2", operation=operation, times=None, **fault)
    ):
        answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert answer.seconds < 2
    assert world.queue.exists(names.job_key(answer.body["id"]))
    assert world.queue.exists(names.WAKE) == 0, "the next caller or the guardian may try"
    assert world.calls("StartInstances") == 0


@pytest.mark.story("LAM-004")
async def test_a_refused_job_does_not_unsay_a_wish_to_stop(world: World, node: str) -> None:
    await world.warm()
    world.endpoint.instances.delays.pending_s = 1.0
    await world.infer()
    assert (await world.send("POST", "/stop")).body == {"status": "stopping", "jobs": 1, "nodes": 0}
    # EC2 has the node for nobody: to the router it looks as if there were none.
    other = Fault(
        service="ec2",
        operation="DescribeInstances",
        status=500,
        code="InsufficientInstanceCapacity",
    )
    with world.endpoint.faults.injected(other):
        assert (await world.infer()).status == 503
    await world.state(node, "running")
    await world.guard()
    await world.state(node, "stopped")


@pytest.mark.story("LAM-003")
async def test_a_queue_whose_clock_is_ahead_is_named_once_and_serves(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = time.time
    monkeypatch.setattr("router.routes.time.time", lambda: real() - 5)
    token = world.pool.token("ada", iat=int(real()) - 60)
    for _ in range(2):
        assert (await world.infer(token=token)).status == 202
    assert world.queue.xlen(names.STREAM) == 2
    assert capsys.readouterr().out.count("clocks differ") == 1


@pytest.mark.story("LAM-004")
async def test_a_repeat_during_a_wake_that_fails_keeps_the_job_for_both(
    world: World, node: str
) -> None:
    await world.warm()
    code = "InsufficientInstanceCapacity"
    fault = Fault(service="ec2", operation="StartInstances", status=500, code=code, delay_s=0.5)
    with world.endpoint.faults.injected(fault):
        first = asyncio.create_task(world.infer(**{"Idempotency-Key": "k"}))
        await accepted(world)
        second = await world.infer(**{"Idempotency-Key": "k"})
        answers = [await first, second]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].body["id"] == second.body["id"]
    assert world.queue.exists(names.job_key(second.body["id"]))
    await world.guard()
    await world.state(node, "running")


@pytest.mark.story("LAM-004")
async def test_a_job_taken_back_is_never_accepted_though_redis_answers_no_more(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warm()
    real = scripts.run

    def lost(client: "redis.Redis", call: scripts.Call[Any]) -> Any:
        answer = real(client, call)
        if call.script == "accepting/withdraw":
            raise redis.TimeoutError("Timeout reading from socket")
        return answer

    monkeypatch.setattr(scripts, "run", lost)
    fault = Fault(
        service="ec2", operation="StartInstances", status=500, code="InsufficientInstanceCapacity"
    )
    with world.endpoint.faults.injected(fault):
        answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "queue_unavailable")
    assert world.queue.xlen(names.STREAM) == 0


@pytest.mark.story("LAM-004")
async def test_no_capacity_is_a_503_and_the_job_is_taken_back(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(
        service="ec2", operation="StartInstances", status=500, code="InsufficientInstanceCapacity"
    )
    with world.endpoint.faults.injected(fault):
        answer = await world.infer(**{"Idempotency-Key": "k"})
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (
        503,
        "no_capacity",
        "60",
    )
    only_a_mark_is_left(world)
    assert world.queue.xlen(names.STREAM) == 0
    assert metrics(capsys.readouterr().out) == {names.METRIC_EC2_CAPACITY_ERRORS: 1}


async def test_a_job_that_a_worker_took_meanwhile_stays_accepted(world: World, node: str) -> None:
    fault = Fault(
        service="ec2",
        operation="StartInstances",
        status=500,
        code="InsufficientInstanceCapacity",
        delay_s=0.3,
    )
    with world.endpoint.faults.injected(fault):
        asked = asyncio.create_task(world.infer())
        await accepted(world)
        world.claim()
        answer = await asked
    assert (answer.status, answer.body["status"]) == (202, "starting")


async def test_a_queue_lost_after_acceptance_does_not_unsay_it(world: World, node: str) -> None:
    fault = Fault(
        service="ec2",
        operation="DescribeInstances",
        status=503,
        code="RequestLimitExceeded",
        delay_s=0.3,
    )
    with world.endpoint.faults.injected(fault):
        asked = asyncio.create_task(world.infer())
        await accepted(world)
        await world.valkey.stop()
        answer = await asked
    assert answer.status == 202
    await world.valkey.start()


@pytest.mark.parametrize(
    "fault", [{"status": 503, "code": "SlowDown"}, {"hang": True}, {"reset": True}]
)
async def test_replies_that_cannot_be_written_are_left_to_the_guardian(
    world: World, fault: dict[str, Any]
) -> None:
    await world.warm()
    world.heartbeat()
    cancelled, stopped = [(await world.infer()).body["id"] for _ in range(2)]
    with world.endpoint.faults.injected(Fault(service="s3", times=None, **fault)):
        answer = await world.send("DELETE", "/infer/{id}", job=cancelled)
        assert (answer.status, answer.body["status"]) == (202, "cancelling")
        assert answer.seconds < 2
        answer = await world.send("POST", "/stop")
        assert (answer.status, answer.body["jobs"]) == (202, 1)
        assert answer.seconds < 2
        unknown = await world.send("DELETE", "/infer/{id}", job=str(uuid.uuid4()))
        assert (unknown.status, unknown.body["error"]) == (503, "storage_unavailable")
    assert set(world.queue.hkeys(names.PENDING_REPLIES)) == {cancelled, stopped}


@pytest.mark.parametrize("fault", [{"status": 503, "code": "RequestLimitExceeded"}, {"hang": True}])
async def test_a_stop_that_ec2_does_not_hear_is_remembered(
    world: World, node: str, fault: dict[str, Any]
) -> None:
    await world.warm()
    await world.infer()
    await world.state(node, "running")
    with world.endpoint.faults.injected(
        Fault(service="ec2", operation="StopInstances", times=None, **fault)
    ):
        answer = await world.send("POST", "/stop")
    assert (answer.status, answer.body) == (202, {"status": "stopping", "jobs": 1}), (
        "nobody knows how many"
    )
    documented("Stopping", answer.body)
    assert answer.seconds < 2
    assert scripts.run(world.queue, guarding.reconcile("t", 1, 8)).stop
    await world.infer(sub="bob")
    assert not scripts.run(world.queue, guarding.reconcile("t", 1, 8)).stop, (
        "a later job wants a node"
    )
