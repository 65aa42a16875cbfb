"""The instant lane in the whole system: its function from its bundle, weights from the bucket."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.ledger import LEDGER
from support.system import calls, forgotten, history, one_final_reply, state, until_state
from support.users import LONG, WAIT_S, User

from gui.client import Job
from local.aws.ec2 import Delays
from local.aws.faults import Fault
from local.cloud import LocalCloud, Options
from local.node.node import LocalNode
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

NO_CAPACITY = "InsufficientInstanceCapacity"
# Instances stay pending here for as long as the lane takes, which on a busy machine is longer than
# the scaled minutes after which the guardian takes a boot for failed.
GPU = {"slots": 4, "maxLifetimeHours": 24, "spot": True, "bootAllowanceMinutes": 60}


class Gate:
    """Instances that start stay pending while it is shut."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def on_state(self, instance_id: str, state: str) -> None:
        if state == "pending":
            await self.open.wait()


GATES: dict[LocalCloud, Gate] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cloud() -> AsyncIterator[LocalCloud]:
    """The whole system with the lane and a spot node; a minute lasts a second, but a lease as long
    as it does: the lane's worker takes its time.
    """
    options = Options(
        lane=True,
        config={"tl-fif:gpu": GPU},
        seconds_per_minute=1.0,
        delays=Delays(pending_s=0.2, stopping_s=0.2),
    )
    async with LocalCloud(options) as cloud:
        cloud.moto.client("s3").put_bucket_versioning(
            Bucket=cloud.output("replies_bucket"), VersioningConfiguration={"Status": "Enabled"}
        )
        gate = GATES[cloud] = Gate()
        cloud.endpoint.on_instance_state(gate.on_state)
        LEDGER.watch(cloud)
        yield cloud


@pytest_asyncio.fixture(loop_scope="session")
async def gate(cloud: LocalCloud) -> AsyncIterator[Gate]:
    yield GATES[cloud]
    GATES[cloud].open.set()


async def until_node(user: User, phase: str) -> None:
    await user.until_status(lambda status: status["node"] == phase)


async def until_lane(user: User, phase: str) -> None:
    await user.until_status(lambda status: status["lane"]["phase"] == phase)


def engines(cloud: LocalCloud, jobs: list[Job]) -> list[str]:
    """Whose each answer is, after making sure that each has one."""
    finals = [one_final_reply(cloud, job) for job in jobs]
    assert [final["status"] for final in finals] == ["done"] * len(jobs)
    return [final["engine"] for final in finals]


@pytest.mark.story("LAM-004", "EC2-003")
async def test_the_lane_answers_while_the_node_boots_and_the_node_takes_over(
    cloud: LocalCloud, off: LocalNode, ada: User, gate: Gate
) -> None:
    gate.open.clear()
    before = (await ada.status())["lane"]
    starting = await ada.infer()
    told = {"status": "starting", "eta": names.BOOT_ETA_S, "estimate": before["estimate"]}
    assert starting.answer.items() >= told.items(), "the stories' answer, and the lane's estimate"
    reply = await ada.final(starting)
    assert (reply["status"], reply["engine"]) == ("done", names.LANE_ENGINE)
    assert reply["text"]
    assert 0 < reply["eur"] < 0.01
    assert (await state(cloud), off.pids) == ("pending", {}), "the node is not there yet"
    gate.open.set()
    await until_node(ada, "ready")
    queued = await ada.infer()
    assert (queued.state, (await ada.final(queued))["status"]) == ("queued", "done")
    first, second = engines(cloud, [starting, queued])
    assert (first, second == first) == (names.LANE_ENGINE, False)
    await forgotten(cloud, starting, queued)
    await until_lane(ada, "off")
    after = (await ada.status())["lane"]
    assert after["seconds"] > before["seconds"]
    assert after["eur"] > before["eur"]
    assert "failure" not in after


@pytest.mark.story("EC2-003")
async def test_a_node_that_becomes_ready_in_the_middle_gets_the_rest_and_nothing_comes_twice(
    cloud: LocalCloud, off: LocalNode, ada: User, bob: User, gate: Gate
) -> None:
    gate.open.clear()
    users = (ada, bob) * 4
    jobs = [await user.infer(LONG, max_tokens=48) for user in users]

    async def begun() -> bool:
        return any([await user.reply(job) for user, job in zip(users, jobs, strict=True)])

    await cloud.until(begun, WAIT_S, "the lane has begun with one")
    gate.open.set()
    for user, job in zip(users, jobs, strict=True):
        await user.final(job)
    who = engines(cloud, jobs)
    assert who.count(names.LANE_ENGINE) >= 1
    assert who.count(names.LANE_ENGINE) < len(jobs), "the node has had some"
    for job in jobs:
        assert len({body["engine"] for body in history(cloud, job)}) == 1, "begun by one alone"
    await forgotten(cloud, *jobs)


@pytest.mark.story("LAM-004")
async def test_without_gpu_capacity_the_lane_answers_all_of_it_in_one_container(
    cloud: LocalCloud, off: LocalNode, ada: User
) -> None:
    refusal = Fault("ec2", "StartInstances", status=500, code=NO_CAPACITY, times=None)
    with cloud.endpoint.faults.injected(refusal):
        await cloud.host("cpu_worker").recycle()
        cloud.logs.clear()
        first = await ada.infer()
        assert (await ada.final(first))["engine"] == names.LANE_ENGINE
        await until_lane(ada, "off")
        # Frozen meanwhile, for longer than a heartbeat is kept or a connection is left alone.
        await asyncio.sleep(3)
        second = await ada.infer()
        assert (await ada.final(second))["engine"] == names.LANE_ENGINE
        # What it cannot have is a node, and what it can do all alone it does: nothing was refused.
        assert engines(cloud, [first, second]) == [names.LANE_ENGINE] * 2
        await until_lane(ada, "off")
    lines = [line for source, line in cloud.logs if source.endswith("cpu-worker")]
    assert sum('"weights_read"' in line for line in lines) == 1
    assert sum('"lane_called"' in line for line in lines) >= 2
    assert off.pids == {}
    await forgotten(cloud, first, second)


@pytest.mark.story("EC2-003", "LAM-004")
async def test_what_a_spot_node_does_not_finish_is_answered_once_by_whoever_comes_next(
    cloud: LocalCloud, up: LocalNode, ada: User
) -> None:
    for _ in range(5):
        # The lane of the test before may still be there.
        await until_lane(ada, "off")
        job = await ada.infer(LONG, max_tokens=128)
        await ada.begun(job)
        [begun, *_] = history(cloud, job)
        if begun["engine"] != names.LANE_ENGINE:
            break
        await ada.final(job)
    assert begun["engine"] != names.LANE_ENGINE
    cloud.endpoint.spot.interrupt(up.instance_id, 2)
    status = await ada.until_status(lambda status: "start_failure" in status)
    assert status["start_failure"]["code"] == "SpotInterruption"
    await ada.final(job)
    reply = one_final_reply(cloud, job)
    assert (reply["status"], reply["attempt"]) == ("done", 1), "handed back, which is no delivery"
    assert reply["worker"] != begun["worker"]
    await forgotten(cloud, job)


@pytest.mark.story("EC2-004")
async def test_stop_cancels_what_the_lane_works_on_and_it_goes(
    cloud: LocalCloud, off: LocalNode, ada: User, gate: Gate
) -> None:
    gate.open.clear()
    job = await ada.infer(LONG, max_tokens=names.MAX_TOKENS)
    await ada.begun(job)
    began = time.time()
    stopped = asyncio.create_task(ada.ask(ada.client.stop))
    gate.open.set()
    assert (await stopped)["status"] == "stopping"
    assert (await ada.final(job))["status"] == "cancelled"
    await until_lane(ada, "off")
    await until_state(cloud, "stopped")
    assert one_final_reply(cloud, job)["reason"] == "stopped"
    assert calls(cloud, "StartInstances", began) == []
    await forgotten(cloud, job)


@pytest.mark.story("LAM-004")
async def test_a_lane_that_lambda_refuses_to_call_is_the_guardians(
    cloud: LocalCloud, off: LocalNode, ada: User, gate: Gate
) -> None:
    gate.open.clear()
    refused = Fault("lambda", "Invoke", status=429, code="TooManyRequestsException", times=1)
    with cloud.endpoint.faults.injected(refused):
        job = await ada.infer()
        assert (await ada.final(job))["engine"] == names.LANE_ENGINE
    assert refused.times == 0
    await forgotten(cloud, job)
