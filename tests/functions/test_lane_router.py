"""The router of a stack with an instant lane: whom it calls, wakes and refuses (LAM-004)."""

import asyncio
import json
from typing import Any

import pytest
import redis
from support.jobs import LONG
from support.lane_queue import EC2, FUNCTION, LaneWorld, with_lane
from support.routes import documented, only_a_mark_is_left
from support.world import World, session

from local.aws.faults import Fault
from tlfif import aws, names
from tlfif.calling import Caller
from tlfif.environment import Fleet
from tlfif.queue import accepting, lane, scripts, working

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

NO_MACHINE = "InsufficientInstanceCapacity"


@pytest.fixture(params=["always"])
def stack(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    return with_lane(world, monkeypatch, request.param)


def policy(*wakes: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stack", wakes, indirect=True)


# --- whom it calls


async def test_the_lane_is_called_first_and_the_node_is_started_as_well(
    world: World, stack: LaneWorld, node: str
) -> None:
    answer = await world.infer()
    job = answer.body["id"]
    documented("Accepted", answer.body)
    assert (answer.status, answer.body["status"], answer.body["eta"]) == (202, "starting", 90)
    assert answer.body["estimate"] == names.LANE_FIRST_MS / 1000
    assert stack.calls == [{"token": job}]
    asked = [call.operation for call in world.endpoint.calls]
    assert asked == ["Invoke", "DescribeInstances", "StartInstances"]


async def test_of_many_at_once_one_calls_and_one_starts(
    world: World, stack: LaneWorld, node: str
) -> None:
    answers = await asyncio.gather(*(world.infer(sub=f"user-{number}") for number in range(8)))
    assert {answer.status for answer in answers} == {202}
    assert (len(stack.calls), world.calls("StartInstances")) == (1, 1)


async def test_a_node_that_is_ready_is_all_that_is_needed(world: World, stack: LaneWorld) -> None:
    world.heartbeat()
    assert (await world.infer()).body["status"] == "queued"
    assert list(world.endpoint.calls) == []


@policy("backlog")
async def test_by_backlog_a_node_is_woken_for_more_than_the_lane_can_do(
    world: World, stack: LaneWorld, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_GPU_WAKE_AFTER_SECONDS", "20")
    for number in range(2):
        assert (await world.infer(sub=f"user-{number}")).body["status"] == "starting"
    assert stack.ec2_calls() == []
    stack.comes()
    assert (await world.infer()).body["status"] == "queued", "the lane will answer it"
    assert world.calls("StartInstances") == 1
    assert len(stack.calls) == 1


@policy("backlog", "always")
async def test_a_long_prompt_is_left_to_the_node_that_is_woken_for_it(
    world: World, stack: LaneWorld, node: str
) -> None:
    answer = await world.infer(LONG)
    assert (answer.body["status"], answer.body["estimate"]) == ("starting", 90.0)
    assert (stack.calls, world.calls("StartInstances")) == ([], 1)
    stack.comes()
    assert stack.takes() == []


# --- when there is no node


@pytest.mark.parametrize("why", ["none exists", "no capacity", "quota 0", "silent", "stopping"])
@pytest.mark.parametrize("prompt", ["Hello", LONG], ids=["short", "long"])
async def test_what_the_lane_will_answer_is_not_refused_for_want_of_a_node(
    world: World, stack: LaneWorld, monkeypatch: pytest.MonkeyPatch, prompt: str, why: str
) -> None:
    monkeypatch.setenv("TLFIF_EC2_TIMEOUT_S", "0.5")
    fault = Fault("ec2", "StartInstances", status=500, code="Unused", times=0)
    match why:
        case "no capacity":
            fault = Fault("ec2", "StartInstances", status=500, code=NO_MACHINE)
        case "quota 0":
            fault = Fault("ec2", "StartInstances", status=400, code="VcpuLimitExceeded")
        case "silent":
            fault = Fault("ec2", hang=True)
        case "stopping":
            world.endpoint.instances.delays.stopping_s = 5
    if why != "none exists":
        node = world.add_node()
    if why == "stopping":
        await world.endpoint.instances.start([node])
        await world.state(node, "running")
        await world.endpoint.instances.stop([node])
    with world.endpoint.faults.injected(fault):
        answer = await world.infer(prompt)
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert len(stack.calls) == 1
    assert stack.comes() == "entered"
    assert [each.id for each in stack.takes()] == [answer.body["id"]]


async def test_of_two_long_prompts_whose_node_cannot_be_had_neither_is_left(
    world: World, stack: LaneWorld
) -> None:
    """The lane came for another job, and went while EC2 was being asked."""
    first, second = await asyncio.gather(world.infer(LONG), world.infer(LONG, sub="bob"))
    assert (first.status, second.status) == (202, 202)
    assert len(stack.calls) == 1
    stack.comes()
    taken = {each.id for each in stack.takes()}
    assert taken == {first.body["id"], second.body["id"]}


@pytest.mark.parametrize("prompt", ["Hello", LONG], ids=["short", "long"])
async def test_without_a_node_and_with_a_broken_lane_the_job_is_refused_as_ever(
    world: World, stack: LaneWorld, prompt: str
) -> None:
    stack.fails()
    answer = await world.infer(prompt)
    assert (answer.status, answer.body["error"]) == (503, "no_node")
    assert stack.calls == []
    world.queue.delete(names.LANE_FAILURE, names.LANE_USE)
    only_a_mark_is_left(world)


# --- when Lambda refuses

REFUSALS = {
    "throttled": Fault("lambda", status=429, code="TooManyRequestsException"),
    "forbidden": Fault("lambda", status=403, code="AccessDeniedException"),
    "gone": Fault("lambda", status=404, code="ResourceNotFoundException"),
    "silent": Fault("lambda", hang=True),
    "reset": Fault("lambda", reset=True),
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_call_that_lambda_refuses_fails_nobody_and_is_said(
    world: World, stack: LaneWorld, node: str, how: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TLFIF_EC2_TIMEOUT_S", "0.8")
    fault = Fault(**{**vars(REFUSALS[how]), "times": None})
    with world.endpoint.faults.injected(fault):
        answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert world.queue.exists(names.LANE_WAKE) == 0
    failure = (await stack.status())["failure"]
    assert "Lambda did not take the call" in failure["message"]
    [line] = [each for each in capsys.readouterr().out.splitlines() if "lane not called" in each]
    assert json.loads(line)["why"] == failure["code"] == (fault.code or failure["code"])
    stack.minutes_pass()
    await world.guard()
    assert len(stack.calls) == 1


async def test_with_neither_lambda_nor_a_node_it_is_refused(world: World, stack: LaneWorld) -> None:
    world.endpoint.on_invoke = None
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "no_node")


async def test_a_queue_that_fails_while_a_call_is_given_back_fails_nobody(
    world: World, stack: LaneWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    class Down:
        def evalsha(self, *args: object) -> None:
            raise redis.ConnectionError("refused")

    world.endpoint.on_invoke = None
    down: Any = Down()
    caller = Caller(down, Fleet.read(), 2.0)
    await asyncio.to_thread(caller.call, "t")
    caller.functions.close()
    assert "lane's call not given back" in capsys.readouterr().out


def test_the_call_takes_the_dual_stack_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions' subnets have no way out by IPv4."""
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", session())
    client = aws.client("lambda", connect_s=1, read_s=1)
    assert client.meta.endpoint_url == "https://lambda.us-east-1.api.aws"
    client.close()


# --- gpu:wake = never


@policy("never")
async def test_a_stack_without_nodes_asks_ec2_nothing(world: World, stack: LaneWorld) -> None:
    answer = await world.infer(LONG)
    assert (answer.status, answer.body["status"]) == (202, "starting")
    stack.comes()
    assert (await world.infer()).body["status"] == "queued"
    [first, second] = stack.takes()
    assert (await world.send("DELETE", "/infer/{id}", job=second.id)).status == 202
    stopped = await world.send("POST", "/stop")
    assert (stopped.status, stopped.body) == (202, {"status": "stopping", "jobs": 2, "nodes": 0})
    renewed = working.renew(lane.consumer_name("lane-1"), [(first.entry, first.id)])
    assert scripts.run(world.queue, renewed) == ["stopped"]
    await world.guard()
    documented("Status", (await world.send("GET", "/status")).body)
    assert stack.ec2_calls() == []
    assert len(stack.calls) == 1


@policy("never")
async def test_a_stack_without_nodes_whose_lane_is_broken_says_so_at_once(
    world: World, stack: LaneWorld
) -> None:
    stack.fails("no weights; run make model STACK=dev")
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "lane_unavailable")
    assert "run make model STACK=dev" in answer.body["message"]
    assert 0 < int(answer.headers["Retry-After"]) <= names.LANE_FAILURE_TTL_S
    assert world.queue.xlen(names.STREAM) == 0
    assert [call.operation for call in world.endpoint.calls if call.operation in EC2] == []


# --- as ever, with the lane


async def test_an_idempotency_key_calls_and_starts_once(
    world: World, stack: LaneWorld, node: str
) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = await world.infer(**key), await world.infer(**key)
    assert first.body == again.body
    assert (len(stack.calls), world.calls("StartInstances")) == (1, 1)


async def test_a_latch_calls_and_starts_nobody(world: World, stack: LaneWorld, node: str) -> None:
    world.queue.set(names.LATCH, '{"reason":"cap"}')
    assert (await world.infer()).status == 402
    assert list(world.endpoint.calls) == []


async def test_a_latch_that_only_the_nodes_know_of_holds_for_the_lane(
    world: World, stack: LaneWorld
) -> None:
    world.add_node(**{names.LATCH_TAG: "2026-11"})
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert world.queue.xlen(names.STREAM) == 0
    assert (await world.infer(LONG, sub="bob")).status == 402


async def test_what_is_cancelled_before_the_lane_comes_is_answered_at_once(
    world: World, stack: LaneWorld, node: str
) -> None:
    job = (await world.infer()).body["id"]
    answer = await world.send("DELETE", "/infer/{id}", job=job)
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    stack.comes()
    assert stack.takes() == []
    assert scripts.run(world.queue, lane.leave("lane-1", 1.0)) == "left"


async def test_after_a_stop_the_next_job_calls_again(
    world: World, stack: LaneWorld, node: str
) -> None:
    await world.infer()
    await world.send("POST", "/stop")
    assert (await world.infer()).status == 202
    assert len(stack.calls) == 2


# --- GET /status


async def test_status_shows_the_lane_and_what_it_cost(
    world: World, stack: LaneWorld, node: str
) -> None:
    off = {"phase": "off", "in_flight": 0, "estimate": 10.0, "seconds": 0.0, "eur": 0.0}
    assert await stack.status() == off
    await world.infer()
    stack.comes(phase="loading")
    assert (await stack.status())["phase"] == "loading"
    scripts.run(world.queue, lane.beat("lane-1", "working", 2, 3600.04))
    scripts.run(world.queue, lane.answered(1_234, 2_000))
    assert await stack.status() == {
        "phase": "working", "in_flight": 2, "estimate": 1.2, "seconds": 3600.0, "eur": 0.180002,
    }  # fmt: skip
    stack.fails("no weights")
    answer = (await world.send("GET", "/status")).body
    documented("Status", answer)
    assert answer["lane"]["failure"]["message"] == "no weights"
    assert answer["lane"]["phase"] == "off"


async def test_a_stack_without_a_lane_shows_none(world: World, node: str) -> None:
    await world.infer()
    answer = (await world.send("GET", "/status")).body
    assert "lane" not in answer
    assert isinstance(scripts.run(world.queue, accepting.status()).lane, dict)
    assert FUNCTION not in json.dumps(answer)
