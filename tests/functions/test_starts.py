"""Starts that EC2 promises and does not keep: counted, said, and tried again elsewhere."""

import uuid
from typing import Any

import pytest
from support.routes import documented, metrics
from support.world import World

from guardian import guardian
from local.aws.faults import Fault
from tlfif import names
from tlfif.queue import accepting, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]

NO_MACHINE = "Server.InsufficientInstanceCapacity"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is looked at as soon as the test likes."""
    monkeypatch.setattr(names, "START_SETTLES_S", 0)
    monkeypatch.setattr(guardian, "RETRY_S", 0.05)


def falling_back(code: str, times: int | None = 1) -> Fault:
    return Fault("ec2", "StartInstances", falls_back=code, times=times)


async def status(world: World) -> dict[str, Any]:
    answer = await world.send("GET", "/status")
    documented("Status", answer.body)
    return answer.body


@pytest.mark.parametrize(
    ("code", "says"), [(NO_MACHINE, "no GPU now"), ("Client.InternalError", "KMS key")]
)
async def test_a_node_that_falls_back_is_counted_said_and_started_again_a_minute_later(
    world: World, node: str, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    with world.endpoint.faults.injected(falling_back(code)):
        assert (await world.infer()).body["status"] == "starting"
    await world.state(node, "stopped")
    assert (await status(world))["node"] == "starting"
    await world.guard()
    assert metrics(capsys.readouterr().out)[names.METRIC_EC2_CAPACITY_ERRORS] == 1
    now = await status(world)
    assert (now["node"], now["start_failure"]["code"]) == ("off", code)
    assert says in now["start_failure"]["message"]
    assert world.calls("StartInstances") == 1, "not the same one again at once"
    await world.guard()
    await world.state(node, "running")
    assert world.calls("StartInstances") == 2
    world.heartbeat(node=node)
    assert "start_failure" not in await status(world)
    await world.guard()
    assert names.METRIC_EC2_CAPACITY_ERRORS not in metrics(capsys.readouterr().out)


async def test_another_node_is_started_in_its_place_at_once(world: World) -> None:
    first, second = sorted(world.add_node() for _ in range(2))
    with world.endpoint.faults.injected(falling_back(NO_MACHINE)):
        await world.infer()
    await world.state(first, "stopped")
    await world.guard()
    await world.state(second, "running")
    assert await world.endpoint.instances.state(first) == "stopped"
    world.queue.delete(names.WAKE)
    assert (await world.infer(sub="bob")).status == 202
    assert world.calls("StartInstances") == 2, "the second is on its way"


async def test_whose_job_expires_for_lack_of_a_node_is_told_why(world: World, node: str) -> None:
    with world.endpoint.faults.injected(falling_back(NO_MACHINE, times=None)):
        job = (await world.infer()).body["id"]
        await world.state(node, "stopped")
        await world.guard()
    world.queue.delete(names.job_key(job))
    [(entry, fields)] = world.queue.xrange(names.STREAM)
    world.queue.xdel(names.STREAM, entry)
    world.queue.delete(names.STREAM)
    world.queue.xadd(names.STREAM, fields, "1000-1")
    await world.guard()
    reply = world.reply(names.reply_key("ada", job)) or {}
    assert reply["status"] == "expired"
    assert reply["reason"].endswith(f"EC2 has no GPU now ({NO_MACHINE}).")


async def test_a_node_that_somebody_stopped_has_not_failed(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.infer()
    await world.state(node, "running")
    world.moto.client("ec2").stop_instances(InstanceIds=[node])
    await world.guard()
    assert names.METRIC_EC2_CAPACITY_ERRORS not in metrics(capsys.readouterr().out)
    assert "start_failure" not in await status(world)
    await world.guard()
    await world.state(node, "running")


async def test_while_ec2_does_not_say_a_start_has_not_failed(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with world.endpoint.faults.injected(falling_back(NO_MACHINE)):
        await world.infer()
    await world.state(node, "stopped")
    silent = Fault("ec2", "DescribeInstances", status=503, code="Unavailable", times=None)
    with world.endpoint.faults.injected(silent):
        await world.guard()
    assert world.queue.exists(names.WAKE, names.STARTS) == 2
    assert names.METRIC_EC2_CAPACITY_ERRORS not in metrics(capsys.readouterr().out)
    await world.guard()
    assert world.queue.exists(names.WAKE, names.STARTS) == 0


async def test_a_start_is_not_judged_before_ec2_knows(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "START_SETTLES_S", 10)
    with world.endpoint.faults.injected(falling_back(NO_MACHINE)):
        await world.infer()
    await world.state(node, "stopped")
    await world.guard()
    assert world.queue.exists(names.WAKE, names.STARTS) == 2


async def test_an_account_without_gpus_is_told_which_quota_to_raise(
    world: World, node: str
) -> None:
    fault = Fault("ec2", "StartInstances", status=400, code="VcpuLimitExceeded", times=None)
    with world.endpoint.faults.injected(fault):
        answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "no_capacity")
    assert "L-DB2E81BA" in answer.body["message"]
    assert "Service Quotas" in answer.body["message"]
    assert (await status(world))["start_failure"]["code"] == "VcpuLimitExceeded"


async def test_the_right_to_wake_of_another_is_not_given_back(world: World) -> None:
    world.queue.set(names.WAKE, "other")
    scripts.run(world.queue, accepting.woken(str(uuid.uuid4())))
    assert world.queue.get(names.WAKE) == "other"
