"""Where a zone has no machine a wake goes on to another, and asks no more than it must."""

import datetime
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.routes import metrics
from support.world import World

from local.aws.faults import Fault
from tlfif import names, nodes
from tlfif.queue import accepting, guarding, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

EMPTY = "InsufficientInstanceCapacity"


def refusal(code: str, times: int | None = 1) -> Fault:
    return Fault("ec2", "StartInstances", status=500, code=code, times=times)


def fleet(world: World, zones: str) -> list[str]:
    """Stopped nodes in these zones; their ids in the order in which a wake asks for them."""
    ec2 = world.moto.client("ec2")
    made: dict[str, str] = {}
    for zone in zones:
        node = world.add_node(zone=f"us-east-1{zone}")
        made[node] = zone
    described = ec2.describe_instances(InstanceIds=list(made))["Reservations"]
    placed = {
        each["InstanceId"]: each["Placement"]["AvailabilityZone"][-1]
        for reservation in described
        for each in reservation["Instances"]
    }
    assert placed == made
    return sorted(made)


class Zones:
    """EC2 with a node in each zone, of which some have no machine."""

    def __init__(self, states: list[str], zones: str, empty: set[str]) -> None:
        self._nodes = list(zip(states, zones, strict=True))
        self._empty = empty
        self.asked: list[str] = []
        self.started: list[str] = []

    def describe_instances(self, Filters: Any) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        instances = [
            {
                "InstanceId": f"i-{number}",
                "State": {"Name": state},
                "LaunchTime": now,
                "Placement": {"AvailabilityZone": zone},
            }
            for number, (state, zone) in enumerate(self._nodes)
        ]
        return {"Reservations": [{"Instances": instances}]}

    def start_instances(self, InstanceIds: list[str]) -> None:
        [node] = InstanceIds
        self.asked.append(node)
        if self._nodes[int(node.removeprefix("i-"))][1] in self._empty:
            raise ClientError({"Error": {"Code": EMPTY, "Message": ""}}, "StartInstances")
        self.started.append(node)


def asked(world: World) -> list[str]:
    """The nodes that EC2 was asked to start, one a call."""
    starts = [call for call in world.endpoint.calls if call.operation == "StartInstances"]
    for call in starts:
        assert len(call.params["InstanceIds"]) == 1, "of several EC2 starts all or none"
    return [call.params["InstanceIds"][0] for call in starts]


@pytest.mark.parametrize("code", [EMPTY, "Unsupported", "SpotMaxPriceTooLow"])
async def test_another_zone_is_asked_in_the_same_wake_and_first_in_the_next(
    world: World, code: str
) -> None:
    first, second = fleet(world, "ab")
    with world.endpoint.faults.injected(refusal(code)):
        answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert asked(world) == [first, second]
    await world.state(second, "running")
    world.moto.client("ec2").stop_instances(InstanceIds=[second])
    world.queue.delete(names.WAKE, names.STARTS)
    await world.guard()
    assert asked(world) == [first, second, second]


async def test_a_zone_that_has_none_is_asked_once(world: World) -> None:
    fleet(world, "aabc")
    with world.endpoint.faults.injected(refusal(EMPTY, times=None)):
        answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "no_capacity")
    assert len(asked(world)) == 3
    assert scripts.run(world.queue, guarding.reconcile("t", 4, 8)).depth == 0, "taken back"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("VcpuLimitExceeded", 503),
        ("InstanceLimitExceeded", 503),
        ("MaxSpotInstanceCountExceeded", 503),
        ("UnauthorizedOperation", 202),
        ("RequestLimitExceeded", 202),
    ],
)
async def test_what_holds_for_all_is_asked_once(world: World, code: str, status: int) -> None:
    fleet(world, "abc")
    with world.endpoint.faults.injected(refusal(code, times=None)):
        assert (await world.infer()).status == status
    assert len(asked(world)) == 1


async def test_a_node_that_ec2_took_back_is_not_asked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    [taken] = fleet(world, "a")
    await world.infer()
    await world.state(taken, "running")
    await world.endpoint.instances.take_back(taken)
    await world.state(taken, "stopped")
    world.queue.delete(names.WAKE, names.STARTS)
    answer = await world.infer(sub="bob")
    assert (answer.status, answer.body["error"]) == (503, "no_capacity")
    assert "starts it again by itself" in answer.body["message"]
    assert metrics(capsys.readouterr().out)[names.METRIC_EC2_CAPACITY_ERRORS] == 1
    assert asked(world) == [taken]
    # EC2 has capacity again: the node comes by itself, and is not started once more.
    await world.endpoint.instances.give_back(taken)
    world.queue.delete(names.WAKE)
    assert (await world.infer(sub="eve")).status == 202
    await world.state(taken, "running")
    assert asked(world) == [taken]


async def test_as_many_nodes_are_started_as_the_backlog_needs(world: World) -> None:
    """Whatever jobs came, nodes are up or coming, and zones are empty."""
    count, slots = 4, 3
    generator = random.Random(8)
    ids = [f"i-{number}" for number in range(count)]
    for _ in range(60):
        world.queue.flushall()
        jobs, up = generator.randint(0, 16), generator.randint(0, count)
        states = ["running"] * up + ["stopped"] * (count - up)
        for node in ids[:up]:
            world.heartbeat(generator.choice(["ready", "loading"]), node)
        limits = accepting.Limits(500, count, slots, burst=99, sustained=99)
        for number in range(jobs):
            job = accepting.NewJob(
                id=f"00000000-0000-4000-8000-{number:012}", sub="ada", prompt="", idle_minutes=5
            )
            scripts.run(world.queue, accepting.accept(job, limits))
        # Of the wakes that accept gave out nothing came.
        world.queue.delete(names.WAKE)
        empty = set(generator.sample("abcd", generator.randint(0, 4)))
        found = scripts.run(world.queue, guarding.reconcile("t", count, slots))
        ec2 = Zones(states, "abcd", empty)
        woken = nodes.wake(ec2, "dev", found.wake, found.phases) if found.wake else None
        missing = max(0, min(count, -(-jobs // slots)) - up)
        assert found.wake == missing
        free = [zone for zone in "abcd"[up:] if zone not in empty]
        assert len(ec2.started) == min(missing, len(free))
        assert len(ec2.asked) == len(set(ec2.asked)), "nobody twice"
        if woken and missing:
            assert set(woken.started) == set(ec2.started)
            assert (woken.outcome is nodes.Outcome.NO_CAPACITY) == (not woken.started)
