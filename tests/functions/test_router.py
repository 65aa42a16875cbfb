"""The router's handler in this process, on a real queue and the AWS endpoint: its contract, its
answer to faults.
"""

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
import redis
import yaml
from jsonschema import Draft4Validator
from support.world import STACK, Outage, World, full, hung, read_only, refused, slow_link, unsigned

from components.gateway import OPENAPI
from local.aws.faults import Fault
from tlfif import names, queue

pytestmark = pytest.mark.integration

OTHER_ORIGINS = (
    "http://localhost.evil.example", "https://localhost:3000", "http://127.0.0.1:3000", "null", "http://localhost:x",
    "http://localhost:3000/", "http://localhost:123456", "http://evil.example", "",
)  # fmt: skip


@pytest.fixture
def node(world: World) -> str:
    return world.add_node()


def heartbeat(world: World, phase: str = "ready", node: str = "i-1") -> None:
    queue.run(world.queue, queue.heartbeat(node, "b1", phase, 0, {}))


def take(world: World, worker: str = "i-1:b1") -> list[queue.Item]:
    queue.run(world.queue, queue.create_group())
    found: Any = world.queue.xreadgroup(names.GROUP, worker, {names.STREAM: ">"}, count=10)
    entries = [entry for entry, _ in found[0][1]] if found else []
    return queue.run(world.queue, queue.take(worker, entries, 0))


async def accepted(world: World) -> None:
    """Waits for the first job in the queue."""
    async with asyncio.timeout(5):
        while world.queue.xlen(names.STREAM) == 0:  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(0.01)


def metrics(output: str) -> dict[str, float]:
    """The sums of all metrics in what was printed."""
    sums: dict[str, float] = {}
    for line in output.splitlines():
        document = json.loads(line)
        for group in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert group["Dimensions"] == [["Stack"]]
            assert document["Stack"] == STACK
            for metric in group["Metrics"]:
                sums[metric["Name"]] = sums.get(metric["Name"], 0) + document[metric["Name"]]
    return sums


def documented(schema: str, body: dict[str, Any]) -> None:
    """The body is what openapi.yaml says it is."""
    spec = yaml.safe_load(OPENAPI.read_text())
    resolved = json.loads(json.dumps(spec["components"]["schemas"][schema]))
    Draft4Validator(resolved).validate(body)


# --- POST /infer


@pytest.mark.story("LAM-003", "LAM-005")
async def test_a_job_is_queued_to_a_node_that_is_up(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    heartbeat(world)
    answer = await world.infer("Hi", Origin="http://localhost:5173")
    job = answer.body["id"]
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert "eta" not in answer.body
    documented("Accepted", answer.body)
    assert (answer.headers["X-Request-Id"], answer.headers["Location"]) == (job, f"/infer/{job}")
    stored = world.queue.hgetall(f"job:{job}")
    assert (stored["prompt"], stored["sub"], stored["idle_minutes"]) == ("Hi", "ada", "5")
    assert 295 <= world.queue.ttl(f"job:{job}") <= 300
    assert uuid.UUID(job).version == 4
    assert list(world.endpoint.calls) == [], "a warm path that asks EC2 would not be one"
    assert "Hi" not in capsys.readouterr().out, "no log has a prompt in it"


@pytest.mark.story("LAM-004")
async def test_a_stopped_node_is_started_once(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = await asyncio.gather(*(world.infer(sub=f"user-{number}") for number in range(8)))
    assert {answer.status for answer in answers} == {202}
    assert {
        (answer.body["status"], answer.body["eta"], answer.body["estimate"]) for answer in answers
    } == {("starting", 90, 90.0)}
    documented("Accepted", answers[0].body)
    await world.state(node, "running")
    assert world.calls("StartInstances") == 1
    assert metrics(capsys.readouterr().out) == {names.METRIC_EC2_STARTS: 1}


@pytest.mark.story("LAM-004")
async def test_the_estimate_is_the_90th_percentile_of_measured_boots(
    world: World, node: str
) -> None:
    for seconds in (40, 50, 61.23):
        queue.run(world.queue, queue.heartbeat("i-1", "b1", "draining", 0, {}, int(seconds * 1000)))
    answer = await world.infer()
    assert answer.body["status"] == "starting"
    assert answer.body["estimate"] == 61.2


@pytest.mark.story("LAM-004")
async def test_a_job_for_a_node_that_is_still_stopping_is_kept(world: World, node: str) -> None:
    world.endpoint.instances.delays.stopping_s = 1
    await world.infer()
    await world.state(node, "running")
    await world.send("POST", "/stop")
    answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert world.queue.exists(names.WAKE_KEY) == 0, "the guardian may try"
    assert world.queue.exists(f"job:{answer.body['id']}")


def only_a_mark_is_left(world: World) -> None:
    """Of a job that was taken back: for the same call sent again."""
    [mark] = set(world.queue.keys("*")) - {names.STREAM}
    assert mark.startswith("withdrawn:")
    assert 0 < world.queue.ttl(mark) <= 10


@pytest.mark.story("LAM-004")
async def test_without_a_node_the_job_is_refused_and_leaves_nothing_behind(world: World) -> None:
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "no_node")
    only_a_mark_is_left(world)
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_latched_node_is_not_started(world: World) -> None:
    node = world.add_node(**{names.LATCH_TAG: "2026-11"})
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert await world.endpoint.instances.state(node) == "stopped"
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_latch_in_the_queue_refuses_at_once(world: World, node: str) -> None:
    world.queue.set(names.LATCH_KEY, '{"reason":"cap","until":"2026-12-01"}')
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert "2026-12-01" in answer.body["latch"]
    assert list(world.endpoint.calls) == []


@pytest.mark.story("API-003")
async def test_the_sixth_rapid_call_is_refused_and_says_how_long_to_wait(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    heartbeat(world)
    answers = [await world.infer(Origin="http://localhost") for _ in range(6)]
    assert [answer.status for answer in answers] == [202] * 5 + [429]
    assert answers[5].body["error"] == "rate_limited"
    assert answers[5].headers["Retry-After"] == "1"
    assert answers[5].headers["Access-Control-Allow-Origin"] == "http://localhost"
    assert metrics(capsys.readouterr().out) == {names.METRIC_RATE_LIMIT_BREACHES: 1}
    assert (await world.infer(sub="bob")).status == 202
    await asyncio.sleep(1)
    assert (await world.infer()).status == 202


async def test_a_full_backlog_is_a_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFIF_BACKLOG_CAP", "1")
    heartbeat(world)
    assert (await world.infer()).status == 202
    answer = await world.infer()
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (
        503,
        "backlog_full",
        "30",
    )


async def test_an_idempotency_key_repeats_the_first_answer(world: World, node: str) -> None:
    first = await world.infer("Hi", **{"Idempotency-Key": "k"})
    await asyncio.sleep(1)
    again = await world.infer("Hi", **{"idempotency-key": "k"})
    assert again.status == 202
    assert (again.body, again.headers["Location"]) == (first.body, first.headers["Location"])
    assert world.queue.xlen(names.STREAM) == 1
    other = await world.infer("Another", **{"Idempotency-Key": "k"})
    assert (other.status, other.body["field"]) == (400, "Idempotency-Key")
    assert (await world.infer("Hi", sub="bob", **{"Idempotency-Key": "k"})).body[
        "id"
    ] != first.body["id"]


async def test_an_idempotency_key_that_cannot_be_one_is_refused(world: World) -> None:
    for key in ("", " ", "a b", "é", "x" * 129):
        answer = await world.infer(**{"Idempotency-Key": key})
        assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key"), key


@pytest.mark.story("LAM-002")
async def test_a_bad_body_is_a_400_that_names_the_field(world: World) -> None:
    refused: list[tuple[Any, str]] = [
        ({}, "prompt"), ({"prompt": "é" * 3001}, "prompt"), ({"prompt": "x", "idle_minutes": 31}, "idle_minutes"),
        ({"prompt": "x", "n": 1}, "n"), ("{", "body"), ("null", "body"), (None, "body"),
    ]  # fmt: skip
    for body, field in refused:
        answer = await world.send("POST", "/infer", body)
        assert (answer.status, answer.body["field"]) == (400, field)
        documented("Error", answer.body)
    assert world.queue.dbsize() == 0


# --- who is asking


@pytest.mark.story("LAM-002")
async def test_the_router_itself_refuses_who_has_no_good_token(world: World) -> None:
    for token in ("garbage", world.pool.token("ada", exp=1), unsigned({"sub": "ada"}), "Bearer"):
        answer = await world.infer(token=token)
        assert (answer.status, answer.body["error"]) == (401, "unauthorized")
        documented("Error", answer.body)
    assert world.queue.dbsize() == 0
    assert (await world.infer(token=f"Bearer {world.pool.token('ada')}")).status != 401


@pytest.mark.story("API-002")
async def test_the_authorizer_allows_every_method_or_denies_every_one(world: World) -> None:
    allowed = await world.authorize(world.pool.token("ada"))
    assert allowed["context"] == {"sub": "ada", "username": "ada"}
    judged = {
        world.pool.token("ada"): "Allow",
        "garbage": "Deny",
        world.pool.token("ada", exp=1): "Deny",
    }
    for token, effect in judged.items():
        [statement] = (await world.authorize(token))["policyDocument"]["Statement"]
        assert (statement["Effect"], statement["Resource"].split("/", 1)[1]) == (effect, "v1/*/*")


@pytest.mark.story("API-002")
async def test_when_the_keys_cannot_be_had_nobody_is_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_JWKS_URL", "http://127.0.0.1:1/jwks.json")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        await world.authorize(world.pool.token("ada"))
    answer = await world.infer()
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (
        503,
        "authorizer_unavailable",
        "5",
    )


async def test_two_users_see_nothing_of_each_other(world: World) -> None:
    heartbeat(world)
    job = (await world.infer(sub="ada")).body["id"]
    eve = await world.send("DELETE", "/infer/{id}", sub="eve", job=job)
    assert eve.status == 404
    assert world.queue.exists(f"job:{job}")
    ada = await world.send("DELETE", "/infer/{id}", sub="ada", job=job)
    assert (ada.status, ada.body) == (200, {"status": "cancelled", "id": job})
    assert (await world.send("DELETE", "/infer/{id}", sub="eve", job=job)).status == 404


@pytest.mark.story("API-003")
async def test_an_origin_of_this_machine_is_echoed_and_no_other(world: World) -> None:
    heartbeat(world)
    for origin in ("http://localhost", "http://localhost:3000", "http://localhost:65535"):
        for answer in (
            await world.infer(origin=origin),
            await world.infer(origin=origin, token="garbage"),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    for origin in OTHER_ORIGINS:
        answer = await world.infer(sub="bob", Origin=origin)
        assert [name for name in answer.headers if name.startswith("Access-Control")] == [], origin
        assert answer.headers["Vary"] == "Origin"


async def test_an_unknown_route_is_a_404(world: World) -> None:
    assert (await world.send("PUT", "/infer")).status == 404


# --- DELETE, /stop, /status


async def test_cancelling_a_queued_job_answers_it(world: World) -> None:
    heartbeat(world)
    job = (await world.infer()).body["id"]
    answer = await world.send("DELETE", "/infer/{id}", job=job)
    documented("Cancelled", answer.body)
    reply = world.reply(names.reply_key("ada", job))
    assert reply is not None
    assert (reply["status"], reply["reason"], reply["text"]) == ("cancelled", "user", "")
    assert world.queue.exists("replies:owed", f"job:{job}") == 0
    again = await world.send("DELETE", "/infer/{id}", job=job)
    assert (again.status, again.body["status"]) == (200, "cancelled")


async def test_cancelling_a_running_job_tells_its_worker(world: World) -> None:
    heartbeat(world)
    job = (await world.infer()).body["id"]
    [item] = take(world)
    answer = await world.send("DELETE", "/infer/{id}", job=job)
    assert (answer.status, answer.body["status"]) == (202, "cancelling")
    assert queue.run(world.queue, queue.renew("i-1:b1", [(item.entry, job)])) == ["user"]


async def test_cancelling_what_is_not_there_is_a_404(world: World) -> None:
    for job in (str(uuid.uuid4()), str(uuid.uuid1()), "..", "x" * 200):
        assert (await world.send("DELETE", "/infer/{id}", job=job)).status == 404


async def test_stop_cancels_answers_and_stops(world: World, node: str) -> None:
    running = (await world.infer()).body["id"]
    await world.state(node, "running")
    heartbeat(world, node=node)
    [item] = take(world, f"{node}:b1")
    s3 = world.moto.client("s3")
    partial = json.dumps({"id": running, "status": "running", "text": "Once upon", "updated_at": 1})
    s3.put_object(Bucket="replies", Key=item.reply_key, Body=partial)
    queued = (await world.infer()).body["id"]
    answer = await world.send("POST", "/stop", sub="bob")
    assert (answer.status, answer.body) == (202, {"status": "stopping", "jobs": 2, "nodes": 1})
    documented("Stopping", answer.body)
    for job, text in ((running, "Once upon"), (queued, "")):
        reply = world.reply(names.reply_key("ada", job)) or {}
        assert (reply["status"], reply["reason"], reply["text"]) == ("cancelled", "stopped", text)
    assert (world.queue.xlen(names.STREAM), world.queue.exists("replies:owed")) == (0, 0)
    await world.state(node, "stopped")
    assert (await world.send("POST", "/stop")).body == {"status": "stopping", "jobs": 0, "nodes": 0}


async def test_status_shows_everything(world: World, node: str) -> None:
    async def phase() -> Any:
        answer = await world.send("GET", "/status")
        assert answer.status == 200
        documented("Status", answer.body)
        return answer.body["node"]

    assert await phase() == "off"
    await world.infer()
    assert await phase() == "starting"
    for name in ("booting", "loading", "ready"):
        heartbeat(world, name)
        assert await phase() == name
    queue.run(world.queue, queue.stop())
    assert await phase() == "draining"
    world.queue.set("money", json.dumps({"spend_eur": 15.0}))
    body = (await world.send("GET", "/status")).body
    assert (body["spend_eur"], body["cap_eur"], body["gpu_hours_left"], body["latch"]) == (
        15.0,
        20.0,
        10.0,
        None,
    )


# --- the queue fails: every route says so within two seconds


@pytest.mark.story("LAM-003")
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("outage", [hung, refused, read_only, full])
async def test_a_queue_that_fails_is_a_503_within_two_seconds_and_leaves_nothing_behind(
    world: World, outage: Outage, warm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    heartbeat(world)
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
    heartbeat(world)
    assert (await world.infer()).status == 202, "and once it is back, all is well"


@pytest.mark.parametrize("outage", [hung, refused, read_only])
async def test_a_stop_that_the_queue_does_not_hear_is_refused(world: World, outage: Outage) -> None:
    async with outage(world):
        answer = await world.send("POST", "/stop")
    assert (answer.status, answer.body["error"]) == (503, "queue_unavailable")
    assert answer.seconds < 2


async def test_a_queue_without_memory_can_be_emptied(world: World) -> None:
    heartbeat(world)
    await world.infer()
    async with full(world):
        assert (await world.send("POST", "/stop")).body["jobs"] == 1
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_queue_that_restarts_costs_one_answer_at_most(world: World) -> None:
    heartbeat(world)
    await world.infer()
    await world.valkey.stop()
    await world.valkey.start()
    heartbeat(world)
    answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "queued"), (
        "connection and scripts are made again"
    )


async def test_a_queue_behind_a_slow_network_serves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat(world)
    async with slow_link(world.valkey.port, 0.2) as port:
        monkeypatch.setenv("TLFIF_REDIS_PORT", str(port))
        for _ in range(2):
            answer = await world.infer()
            assert (answer.status, answer.body["status"]) == (202, "queued")
            assert answer.seconds < 1


async def test_a_job_whose_caller_gave_up_is_not_accepted_behind_his_back(world: World) -> None:
    heartbeat(world)
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
    assert world.queue.exists(f"job:{answer.body['id']}")
    assert world.queue.exists(names.WAKE_KEY) == 0, "the next caller or the guardian may try"
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
async def test_a_queue_whose_clock_is_ahead_is_named_in_the_log(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = time.time
    monkeypatch.setattr("router.routes.time.time", lambda: real() - 5)
    answer = await world.infer(token=world.pool.token("ada", iat=int(real()) - 60))
    assert (answer.status, answer.body["error"]) == (503, "queue_unavailable")
    assert "clocks differ" in capsys.readouterr().out


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
    assert world.queue.exists(f"job:{second.body['id']}")
    await world.guard()
    await world.state(node, "running")


@pytest.mark.story("LAM-004")
async def test_a_job_taken_back_is_never_accepted_though_redis_answers_no_more(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warm()
    real = queue.run

    def lost(client: "redis.Redis", call: queue.Call[Any]) -> Any:
        answer = real(client, call)
        if call.script == "withdraw":
            raise redis.TimeoutError("Timeout reading from socket")
        return answer

    monkeypatch.setattr(queue, "run", lost)
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
        take(world)
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
    heartbeat(world)
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
    assert set(world.queue.hkeys("replies:owed")) == {cancelled, stopped}


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
    assert (answer.status, answer.body["nodes"]) == (202, 0)
    assert answer.seconds < 2
    assert queue.run(world.queue, queue.rescue("t", 1, 8)).stop
    await world.infer(sub="bob")
    assert not queue.run(world.queue, queue.rescue("t", 1, 8)).stop, "a later job wants a node"
