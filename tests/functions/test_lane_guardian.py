"""The guardian of a stack with an instant lane: who is called or started for jobs that nobody has,
and what is said when nobody can be (LAM-004).
"""

import time
from typing import Any

import pytest
from support.jobs import LONG, accept, laned, new_job
from support.lane_queue import LaneWorld, with_lane
from support.world import GUARDIAN_ROLE, World

from guardian import guardian
from local.aws.faults import Fault
from tlfif import names
from tlfif.queue import lane, scripts, working

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

NO_MACHINE = Fault(
    "ec2", "StartInstances", status=500, code="InsufficientInstanceCapacity", times=None
)


@pytest.fixture(params=["always"])
def stack(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.setattr(guardian, "RETRY_S", 0.1)
    return with_lane(world, monkeypatch, request.param)


def policy(*wakes: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stack", wakes, indirect=True)


def accepted(stack: LaneWorld, prompt: str = "Hello") -> str:
    """A job whose router died before it called anybody; its id."""
    queue, job = stack.world.queue, new_job(prompt=prompt)
    accept(queue, job, laned(stack.wakes))
    queue.delete(names.WAKE, names.LANE_WAKE, names.LANE_CALLS)
    return job.id


@pytest.mark.parametrize("prompt", ["Hello", LONG], ids=["short", "long"])
@policy("always", "backlog", "never")
async def test_a_job_that_nobody_has_gets_a_lane_or_a_node(
    world: World, stack: LaneWorld, node: str, prompt: str
) -> None:
    wakes = stack.wakes
    accepted(stack, prompt)
    await world.guard()
    assert len(stack.calls) == (wakes == "never" or prompt != LONG)
    starts = wakes == "always" or (wakes == "backlog" and prompt == LONG)
    assert world.calls("StartInstances") == starts
    if wakes == "never":
        assert stack.ec2_calls() == []
    if stack.calls:
        [call] = [each for each in world.endpoint.calls if each.operation == "Invoke"][-1:]
        assert (call.role_arn, stack.comes()) == (GUARDIAN_ROLE, "entered")
        assert len(stack.takes()) == 1
    await world.guard()
    assert len(stack.calls) <= 1


async def test_a_long_prompt_goes_to_the_lane_in_the_minute_in_which_ec2_has_no_node(
    world: World, stack: LaneWorld, node: str
) -> None:
    accepted(stack, LONG)
    with world.endpoint.faults.injected(NO_MACHINE):
        await world.guard()
    assert len(stack.calls) == 1
    stack.comes()
    assert len(stack.takes()) == 1


async def test_a_node_that_falls_back_leaves_its_long_prompts_to_the_lane(
    world: World, stack: LaneWorld, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "START_SETTLES_S", 0)
    code = "Server.InsufficientInstanceCapacity"
    with world.endpoint.faults.injected(Fault("ec2", "StartInstances", falls_back=code)):
        await world.infer(LONG)
        assert stack.calls == []
        await world.state(node, "stopped")
        await world.guard()
    assert len(stack.calls) == 1


async def test_it_calls_once_a_run_while_it_waits_for_a_node_that_stops(
    world: World, stack: LaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardian.handler.WORK_S", 3.0)
    world.endpoint.instances.delays.stopping_s = 60
    node = world.add_node()
    await world.endpoint.instances.start([node])
    await world.state(node, "running")
    await world.endpoint.instances.stop([node])
    accepted(stack)
    await world.guard()
    assert len(stack.calls) == 1
    assert len(stack.ec2_calls()) > 4, "it goes on asking for the node"


async def test_a_lambda_that_refuses_is_asked_again_in_each_minute(
    world: World, stack: LaneWorld, node: str
) -> None:
    accepted(stack)
    for _ in range(5):
        refusing = Fault("lambda", status=429, code="TooManyRequestsException", times=None)
        with world.endpoint.faults.injected(refusing):
            await world.guard()
        assert (await stack.status())["failure"]["code"] == "TooManyRequestsException"
        stack.minutes_pass()
    await world.guard()
    assert len(stack.calls) == 1


@policy("backlog")
async def test_what_never_comes_is_broken_and_the_node_does_it(
    world: World, stack: LaneWorld, node: str
) -> None:
    accepted(stack)
    for _ in range(5):
        await world.guard()
        world.queue.delete(names.LANE_WAKE)
    assert len(stack.calls) == names.LANE_CALLS_BOUND
    assert world.calls("StartInstances") == 1
    assert (await stack.status())["failure"]["code"] == "LaneSilent"


@policy("never")
async def test_whose_job_expires_for_lack_of_the_lane_is_told_why(
    world: World, stack: LaneWorld
) -> None:
    job = accepted(stack)
    stack.fails("no weights; run make model STACK=dev")
    world.queue.delete(names.job_key(job))
    [(_, fields)] = world.queue.xrange(names.STREAM)
    world.queue.delete(names.STREAM)
    world.queue.xadd(names.STREAM, fields, f"{int(time.time() * 1000) - 400_000}-1")
    await world.guard()
    reply = world.reply(names.reply_key("ada", job)) or {}
    assert (reply["status"], reply["reason"]) == (
        "expired",
        "no worker took it in time: no weights; run make model STACK=dev",
    )


async def test_nobody_is_called_for_what_the_lane_has_or_under_a_latch(
    world: World, stack: LaneWorld, node: str
) -> None:
    job = accepted(stack)
    stack.comes()
    [claimed] = stack.takes()
    await world.guard()
    assert stack.calls == []
    scripts.run(world.queue, working.finish(claimed.entry, job))
    scripts.run(world.queue, lane.leave("lane-1", 1.0))
    await world.guard()
    assert stack.calls == []
    accepted(stack)
    world.queue.set(names.LATCH, "{}")
    await world.guard()
    assert stack.calls == []


@policy("never")
async def test_a_stop_of_a_stack_without_nodes_asks_ec2_nothing_in_any_minute(
    world: World, stack: LaneWorld
) -> None:
    accepted(stack)
    assert (await world.send("POST", "/stop")).body["jobs"] == 1
    for _ in range(2):
        await world.guard()
    assert (stack.calls, stack.ec2_calls()) == ([], [])
