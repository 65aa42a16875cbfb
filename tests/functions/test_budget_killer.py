"""The budget's stop, on a real queue and the AWS endpoint: whatever else fails, nothing runs on and
nothing starts again (OPS-003).
"""

import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from support.killing import SUBJECT, alarm, kill, latched_until, message
from support.money import NOW, Bucket
from support.routes import metrics
from support.world import BUCKET, World, refused

from budget_killer import killer
from budget_killer.messages import UNSURE_S, Reason, read
from local.aws.faults import Fault
from tlfif import names
from tlfif.money import months
from tlfif.money.documents import Latch
from tlfif.nodes import Node

pytestmark = [pytest.mark.integration, pytest.mark.story("OPS-003")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killer, "RETRY_S", 0.05)
    # On a loaded machine EC2 takes longer to answer than on AWS.
    monkeypatch.setattr("budget_killer.handler.AWS_TIMEOUT_S", 15.0)


async def running(world: World) -> str:
    node = world.add_node()
    world.moto.client("ec2").start_instances(InstanceIds=[node])
    await world.state(node, "running")
    return node


def tag(world: World, node: str) -> str:
    [reservation] = world.moto.client("ec2").describe_instances(InstanceIds=[node])["Reservations"]
    tags = {each["Key"]: each["Value"] for each in reservation["Instances"][0]["Tags"]}
    return tags.get(names.LATCH_TAG, "")


def document(world: World) -> Latch | None:
    return Latch.load(world.moto.client("s3"), BUCKET)


async def test_what_runs_is_stopped_and_everything_is_latched(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    node, other = await running(world), world.add_node()
    foreign = world.add_node(stack="prod")
    world.moto.client("ec2").start_instances(InstanceIds=[foreign])
    await kill(world)
    await world.state(node, "stopped")
    said = capsys.readouterr().out
    assert metrics(said)[names.METRIC_BUDGET_STOPS] == 1
    assert f'"stopped":["{node}"]' in said
    assert SUBJECT in said
    now = time.time()
    assert [tag(world, each) for each in (node, other, foreign)] == [
        months.month(now),
        months.month(now),
        "",
    ]
    latch = json.loads(world.queue.get(names.LATCH) or "")
    assert latch["reason"] == SUBJECT
    until = latched_until(now)
    assert (latch["until"], latch["by"]) == (months.iso(until), "budget_killer")
    assert world.queue.expiretime(names.LATCH) == int(until)
    stored = document(world)
    assert stored is not None
    assert (stored.until, stored.reason) == (until, SUBJECT)
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert await world.endpoint.instances.state(foreign) == "running"


async def test_a_second_message_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await running(world)
    await kill(world)
    first = world.queue.get(names.LATCH)
    capsys.readouterr()
    await kill(world, alarm("ALARM"))
    assert world.queue.get(names.LATCH) == first
    assert metrics(capsys.readouterr().out)[names.METRIC_BUDGET_STOPS] == 0
    assert (world.calls("StopInstances"), world.calls("CreateTags")) == (1, 1)


async def test_a_stack_without_nodes_is_latched(world: World) -> None:
    await kill(world, alarm("ALARM"))
    assert json.loads(world.queue.get(names.LATCH) or "")["reason"] == "spend: 23.4 >= 23.0"
    assert document(world) is not None


async def test_a_node_that_is_starting_is_stopped_as_soon_as_it_runs(world: World) -> None:
    world.endpoint.instances.delays.pending_s = 0.4
    node = world.add_node()
    await world.infer()
    assert await world.endpoint.instances.state(node) == "pending"
    await kill(world)
    await world.state(node, "stopped")
    assert world.calls("StartInstances") == 1


async def test_a_node_that_does_not_come_out_of_pending_fails_the_call_latched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("budget_killer.handler.WORK_S", 0.3)
    world.endpoint.instances.delays.pending_s = 5
    node = world.add_node()
    await world.infer()
    with pytest.raises(killer.NotStoppedError, match=f"{node} is pending"):
        await kill(world)
    assert world.queue.exists(names.LATCH)
    assert tag(world, node), "and the guardian goes on"


async def test_a_start_that_overtook_the_latch_is_stopped_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.add_node()
    latch = killer.Killer._latch

    def overtaken(self: killer.Killer, told: Latch) -> None:
        if not self._latched:
            world.moto.client("ec2").start_instances(InstanceIds=[node])
        latch(self, told)

    monkeypatch.setattr(killer.Killer, "_latch", overtaken)
    await kill(world)
    await world.state(node, "stopped")
    assert world.calls("StopInstances") == 1


@pytest.mark.parametrize("operation", ["DescribeInstances", "StopInstances", "CreateTags"])
async def test_ec2_fails_its_first_calls(world: World, operation: str) -> None:
    node = await running(world)
    fault = Fault(
        service="ec2", operation=operation, status=503, code="RequestLimitExceeded", times=3
    )
    with world.endpoint.faults.injected(fault):
        await kill(world)
    await world.state(node, "stopped")
    assert tag(world, node)


async def test_while_ec2_does_not_answer_at_all_the_call_fails_latched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("budget_killer.handler.WORK_S", 0.3)
    node = await running(world)
    down = Fault(service="ec2", times=None, status=503, code="Down")
    silent = pytest.raises(killer.NotStoppedError, match="EC2 does not say")
    with world.endpoint.faults.injected(down), silent:
        await kill(world)
    assert world.queue.exists(names.LATCH)
    await kill(world)
    await world.state(node, "stopped")


async def test_without_a_queue_nodes_and_bucket_hold_the_latch(world: World) -> None:
    node = await running(world)
    async with refused(world):
        await kill(world)
        await world.state(node, "stopped")
    assert (tag(world, node), document(world) is not None) == (months.month(time.time()), True)


@pytest.mark.parametrize(
    "event",
    [
        message("SNS Topic Verified!", "The topic is now associated with your budget."),
        alarm("OK"),
        alarm("INSUFFICIENT_DATA"),
        message(at="2026-01-31T23:59:59.000Z"),
        {},
    ],
    ids=["verification", "all well", "no data", "last month's", "no message"],
)
async def test_what_is_no_reason_stops_nothing(world: World, event: dict[str, object]) -> None:
    node = await running(world)
    await kill(world, event or {"Records": []})
    assert await world.endpoint.instances.state(node) == "running"
    assert not world.queue.exists(names.LATCH)


async def test_the_tag_alone_is_no_latch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes neither router nor lane, and the guardian knows no reason by it."""
    monkeypatch.setattr("budget_killer.handler.WORK_S", 0.5)
    node = await running(world)
    away = Fault(service="s3", operation="PutObject", times=None, status=503, code="SlowDown")
    async with refused(world):
        with (
            world.endpoint.faults.injected(away),
            pytest.raises(killer.NotStoppedError, match="neither queue nor bucket"),
        ):
            await kill(world)
        assert tag(world, node)
        assert document(world) is None
        monkeypatch.setattr("budget_killer.handler.WORK_S", 10.0)
        away = Fault(service="s3", operation="PutObject", times=3, status=503, code="SlowDown")
        with world.endpoint.faults.injected(away):
            await kill(world)
    assert document(world) is not None


def test_a_node_that_is_told_twice_counts_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a moment after the stop EC2 may say still that it runs."""
    now, stops = time.time(), list[Any]()
    ec2 = SimpleNamespace(stop_instances=lambda InstanceIds: stops.append(InstanceIds))
    node = Node("i-1", "running", latch=months.month(now))
    monkeypatch.setattr(killer.nodes, "look", lambda ec2, stack: [node])
    with fakeredis.FakeRedis(decode_responses=True, version=(7, 2)) as queue:
        give_up_at = time.monotonic() + 0.5
        killing = killer.Killer("dev", "b", ec2, Bucket(), queue, give_up_at)
        assert killing.run("spent", now) == ["i-1"]
    assert stops == [["i-1"], ["i-1"]]
    assert metrics(capsys.readouterr().out)[names.METRIC_BUDGET_STOPS] == 1


# --- what a message says, and of which month

BEGIN, END = months.begin(NOW), months.end(NOW)


def heard(event: dict[str, Any], at: float) -> Reason | None:
    [record] = event["Records"]
    return read({"Sns": {**record["Sns"], "Timestamp": months.iso(at)}}, at)


def crossed(at: str) -> str:
    return f"Threshold Crossed: 1 out of the last 1 datapoints [23.4 ({at})] was greater than 23.0"


def test_a_message_of_unknown_wording_stops() -> None:
    assert heard(message("Your budget", '{"account": "1"}'), NOW) == ("Your budget", END)


def test_on_the_first_budgets_figures_may_be_the_last_months() -> None:
    """The nodes stop; the guardian's own count takes over a day later."""
    for after_s in (0, 3_600, UNSURE_S - 1):
        assert heard(message(), BEGIN + after_s) == (SUBJECT, BEGIN + UNSURE_S)
    assert heard(message(), BEGIN + UNSURE_S) == (SUBJECT, END)


@pytest.mark.parametrize(
    "told",
    [
        {"reason": crossed("{0:%d/%m/%y %H:%M:%S}")},
        {"data": '{{"startDate":"{0:%Y-%m-%dT%H:%M:%S}.000+0000"}}'},
        {"data": '{{"evaluatedDatapoints":[{{"timestamp":"{0:%Y-%m-%dT%H:%M:%S}.000+0000"}}]}}'},
    ],
    ids=["reason", "data", "datapoints"],
)
def test_an_alarm_by_the_last_months_figures_stops_nothing(told: dict[str, str]) -> None:
    def rings(measured_at: float) -> Reason | None:
        at = datetime.fromtimestamp(measured_at, UTC)
        return heard(alarm("ALARM", **{key: text.format(at) for key, text in told.items()}), now)

    now = BEGIN + 600
    assert rings(BEGIN - 1_800) is None
    of_this_month = rings(BEGIN)
    assert of_this_month is not None
    assert of_this_month.until == END


@pytest.mark.parametrize("reason", ["23.4 >= 23.0", crossed("31/31/26 00:00:00")])
def test_an_alarm_that_does_not_say_when_is_as_unsure_as_budgets(reason: str) -> None:
    rung = heard(alarm("ALARM", reason), BEGIN + 600)
    assert rung is not None
    assert rung.until == BEGIN + UNSURE_S
