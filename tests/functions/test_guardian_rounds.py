"""The guardian's look at nodes and money, on a real queue and the AWS endpoint: what may not run is
stopped once, and said once; a stop stays a stop until the month ends or an operator lifts it.
"""

import asyncio
import time
import uuid
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from support.killing import kill, latched_until
from support.money import TARIFF
from support.routes import metrics
from support.world import BUCKET, World, refused

from guardian import handler as guardian
from guardian.money import Money
from local.aws.faults import Fault
from tlfif import names
from tlfif.money import ledgers, months
from tlfif.money.deciding import Decision, Degree
from tlfif.money.documents import Latch
from tlfif.queue import accepting, guarding, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("OPS-003")]

WHY = "€ 19.80 spent of € 20.00"
# With minutes of so many s a node that booted in real time is past its allowance at once, and one
# that is too old within 15 s.
SHORT_MINUTE = "0.01"


class Purse:
    """What the money says, for a test to change."""

    def __init__(self) -> None:
        self.degree: Degree | None = Degree.OPEN

    def keep(self, money: Money, nodes: Any, now: float) -> Decision | None:
        return Decision(self.degree, WHY, 0.0) if self.degree else None


@pytest.fixture
def purse(monkeypatch: pytest.MonkeyPatch) -> Purse:
    purse = Purse()
    monkeypatch.setattr(Money, "keep", lambda money, nodes, now: purse.keep(money, nodes, now))
    return purse


async def running(world: World) -> str:
    node = world.add_node()
    world.moto.client("ec2").start_instances(InstanceIds=[node])
    await world.state(node, "running")
    return node


async def command(world: World, what: str) -> dict[str, Any]:
    context = SimpleNamespace(aws_request_id=str(uuid.uuid4()))
    if not guardian.services.cache_info().currsize:
        await world.guard()
    return await asyncio.to_thread(guardian.handler, {"command": what}, context) or {}


async def status(world: World) -> dict[str, Any]:
    return (await world.send("GET", "/status")).body


def tag(world: World, node: str) -> str:
    [reservation] = world.moto.client("ec2").describe_instances(InstanceIds=[node])["Reservations"]
    tags = {each["Key"]: each["Value"] for each in reservation["Instances"][0]["Tags"]}
    return tags.get(names.LATCH_TAG, "")


# --- the watchdog


async def test_a_node_that_nobody_heard_of_is_stopped_once_and_three_times_are_enough(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLFIF_SECONDS_PER_MINUTE", SHORT_MINUTE)
    world.endpoint.instances.delays.pending_s = world.endpoint.instances.delays.stopping_s = 0.02
    node = world.add_node()
    for _ in range(names.BOOT_FAILURES_BOUND):
        world.queue.delete(names.WAKE, names.STARTS)
        assert (await world.infer()).status == 202
        await world.state(node, "running")
        world.queue.delete(names.STREAM)
        await asyncio.sleep(1.1)  # past its allowance, and the next life begins in another second
        for _ in range(3):
            await world.guard()
        await world.state(node, "stopped")
    said = capsys.readouterr().out
    counts = (said.count('"node stopped"'), said.count('"boot failed"'))
    assert (*counts, world.calls("StopInstances")) == (3, 3, 3)
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "nodes_broken")
    assert "nothing was heard of it" in answer.body["message"]
    assert 3500 < int(answer.headers["Retry-After"]) <= names.BREAKER_OPEN_S
    shown = await status(world)
    assert shown["nodes_broken"]["failed"] == 3
    assert (shown["guard"]["what"], shown["guard"]["node"]) == ("stopped", node)
    assert world.queue.ttl(names.GUARD) > 0
    assert (await command(world, "reset_breaker"))["ok"]
    assert (await world.infer()).status == 202


async def test_a_stop_that_ec2_refuses_is_asked_for_again_and_told_when_it_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLFIF_SECONDS_PER_MINUTE", SHORT_MINUTE)
    node = await running(world)
    await asyncio.sleep(0.2)
    await world.guard()
    down = Fault(service="ec2", operation="StopInstances", status=503, code="Down")
    with world.endpoint.faults.injected(down):
        await world.guard()
    assert '"node stopped"' not in capsys.readouterr().out
    await world.guard()
    await world.state(node, "stopped")
    said = capsys.readouterr().out
    assert (said.count('"node stopped"'), said.count('"boot failed"')) == (1, 0)


async def test_while_ec2_is_away_jobs_are_looked_after_all_the_same(world: World) -> None:
    await running(world)
    with world.endpoint.faults.injected(Fault(service="ec2", times=None, status=503, code="Down")):
        await world.guard()
    assert world.queue.hexists(names.RUNS, names.GUARDIAN)


async def test_a_run_goes_on_with_what_the_one_before_knew_of_the_money(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ledgers.begun(time.time() - 60)
    for document in (TARIFF, replace(begun, node_s=1_800.0)):
        document.save(world.moto.client("s3"), BUCKET)
    await world.guard()
    before = scripts.run(world.queue, accepting.status()).money or {}
    world.queue.delete(names.MONEY)
    away = Fault(service="s3", operation="GetObject", times=None, status=503, code="SlowDown")
    with world.endpoint.faults.injected(away):
        await world.guard()
    assert "no tariff yet" not in capsys.readouterr().out
    after = scripts.run(world.queue, accepting.status()).money or {}
    assert after["spend_eur"] == pytest.approx(before["spend_eur"], abs=0.01)


# --- the latch


async def test_the_end_of_the_money_stops_latches_and_is_lifted_by_command(
    world: World, purse: Purse, capsys: pytest.CaptureFixture[str]
) -> None:
    node, now = await running(world), time.time()
    world.heartbeat(node=node)
    purse.degree = Degree.LATCHED
    await world.guard()
    await world.guard()
    await world.state(node, "stopped")
    said = capsys.readouterr().out
    assert (said.count('"latched"'), said.count('"node stopped"')) == (1, 1)
    assert metrics(said)[names.METRIC_BUDGET_STOPS] == 1
    assert (tag(world, node), world.calls("CreateTags")) == (months.month(now), 1)
    refusal = await world.infer()
    assert (refusal.status, refusal.body["until"]) == (402, months.iso(months.end(now)))
    assert refusal.body["reason"] == WHY
    shown = await status(world)
    assert (shown["latch"]["by"], shown["guard"]["node"]) == ("guardian", node)
    # While the cap is reached it stays; then it goes from all three places.
    answer = await command(world, "unlatch")
    assert not answer["ok"]
    assert "budget.capEur" in answer["message"]
    purse.degree = Degree.OPEN
    world.queue.delete(names.node_key(node), names.NODES)
    assert (await command(world, "unlatch")) == {
        "ok": True,
        "message": f"the latch is lifted ({WHY}); the next job starts a node",
    }
    await world.guard()
    assert (tag(world, node), world.queue.exists(names.LATCH)) == ("", 0)
    assert (await world.infer()).status == 202
    await world.state(node, "running")
    assert (await command(world, "unlatch"))["message"] == "nothing was latched"
    assert not (await command(world, "sudo"))["ok"]


async def test_the_end_of_the_money_latches_also_where_ec2_does_not_answer(
    world: World, purse: Purse
) -> None:
    node = world.add_node()
    world.heartbeat(node=node)
    assert (await world.infer()).status == 202
    world.queue.delete(names.node_key(node), names.NODES)
    purse.degree = Degree.LATCHED
    # By the time it looks at the jobs, EC2 answers again.
    down = Fault(service="ec2", operation="DescribeInstances", status=503, code="Down")
    with world.endpoint.faults.injected(down):
        await world.guard()
    assert world.queue.exists(names.LATCH)
    assert (world.calls("DescribeInstances"), world.calls("StartInstances")) == (0, 0)
    await world.guard()
    assert tag(world, node)


@pytest.mark.parametrize("lost", ["key", "document", "tag", "key and document", "key and tag"])
async def test_what_one_place_lost_it_gets_from_another(
    world: World, purse: Purse, lost: str
) -> None:
    node = world.add_node()
    await kill(world)
    s3 = world.moto.client("s3")
    if "key" in lost:
        world.queue.flushall()
    if "document" in lost:
        s3.delete_object(Bucket=BUCKET, Key=Latch.KEY)
    if "tag" in lost:
        world.moto.client("ec2").delete_tags(Resources=[node], Tags=[{"Key": names.LATCH_TAG}])
    await world.guard()
    assert world.queue.exists(names.LATCH)
    assert tag(world, node)
    stored = Latch.load(s3, BUCKET)
    assert stored is not None
    now = time.time()
    assert stored.until in (latched_until(now), months.end(now))
    assert (await world.infer()).status == 402


async def test_a_latch_that_was_set_without_the_queue_is_set_there_too(
    world: World, purse: Purse
) -> None:
    async with refused(world):
        await kill(world)
    await world.guard()
    assert (await world.infer()).status == 402


async def test_the_next_month_lifts_all_of_it(world: World, purse: Purse) -> None:
    node = world.add_node(**{names.LATCH_TAG: "2026-01"})
    Latch(reason="old", since=1.0, until=2.0, by="guardian").save(world.moto.client("s3"), BUCKET)
    assert (await world.infer()).status == 402, "IAM would refuse the start"
    await world.guard()
    assert tag(world, node) == ""
    assert not world.queue.exists(names.LATCH)
    assert (await world.infer()).status == 202


async def test_a_latched_node_that_runs_again_is_stopped_again(world: World, purse: Purse) -> None:
    """EC2 restarts a spot node that it took back, and whoever may starts one by hand."""
    node = world.add_node()
    await kill(world)
    for stops in (1, 2):
        world.moto.client("ec2").start_instances(InstanceIds=[node])
        await world.state(node, "running")
        await world.guard()
        await world.state(node, "stopped")
        assert world.calls("StopInstances") == stops
        await asyncio.sleep(1.1)


async def test_no_start_comes_before_the_latch_and_a_node_goes_on_until_then(
    world: World, purse: Purse
) -> None:
    world.add_node()
    purse.degree = Degree.NO_STARTS
    await world.guard()
    refusal = await world.infer()
    assert (refusal.status, refusal.body["reason"]) == (402, WHY)
    world.heartbeat()
    assert (await world.infer()).status == 202
    purse.degree = None  # no tariff: what is closed stays so
    await world.guard()
    assert world.queue.exists(names.CLOSED)
    purse.degree = Degree.OPEN
    await world.guard()
    assert not world.queue.exists(names.CLOSED)
    assert world.calls("StartInstances") == 0


async def test_without_the_queue_what_is_latched_is_stopped_all_the_same(world: World) -> None:
    node = world.add_node()
    await kill(world)
    await world.guard()
    world.moto.client("ec2").start_instances(InstanceIds=[node])
    await world.state(node, "running")
    async with refused(world):
        with pytest.raises(redis.ConnectionError):
            await world.guard()
        await world.state(node, "stopped")
        assert "the queue does not answer" in (await command(world, "unlatch"))["message"]


async def test_a_command_waits_for_the_run_that_is_under_way(
    world: World, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.guard()
    monkeypatch.setattr(guardian, "COMMAND_WAITS_S", 0.0)
    assert scripts.run(world.queue, guarding.begin_run(names.GUARDIAN, "other"))
    assert "at work" in (await command(world, "unlatch"))["message"]
    monkeypatch.setattr(guardian, "COMMAND_WAITS_S", 5.0)
    monkeypatch.setattr(guardian, "COMMAND_RETRY_S", 0.05)
    ending = asyncio.get_running_loop().call_later(
        0.1, lambda: scripts.run(world.queue, guarding.end_run(names.GUARDIAN, "other", done=True))
    )
    assert (await command(world, "unlatch"))["ok"]
    ending.cancel()


# --- all the nodes that a backlog needs


@pytest.mark.story("LAM-004")
async def test_a_backlog_for_two_nodes_starts_the_second_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_GPU_COUNT", "2")
    monkeypatch.setenv("TLFIF_GPU_SLOTS", "2")
    nodes = [world.add_node() for _ in range(2)]
    for number in range(3):
        assert (await world.infer(sub=f"user-{number}")).status == 202
    for node in nodes:
        await world.state(node, "running")
    assert world.calls("StartInstances") == 2
