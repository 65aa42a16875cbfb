"""EC2 takes a spot node back at two minutes' notice, here seconds: its jobs end once, elsewhere."""

import asyncio
import json
from typing import Any

import pytest
from support.scripted_model import WORD
from support.watchers import Bench, Machine, until

from local.aws.faults import Fault
from local.aws.moto import Moto
from tlfif import names
from tlfif.queue import accepting, scripts
from watcher import instance, spot
from watcher.spot import Notice, Notices

pytestmark = pytest.mark.story("EC2-003")

# A minute of the node's clock, in seconds: the notice comes two of them ahead.
MINUTE_S = 4.0
LONG, SHORT = "tokens=40 every=0.01 hold_after=9", "tokens=5 every=0.05"


def test_a_notice_says_what_and_when() -> None:
    told = spot.parse('{"action": "stop", "time": "2026-11-26T08:22:00Z"}')
    assert told == Notice("stop", 1795681320.0)
    assert str(told) == "stop at 08:22:00 UTC"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"action": "stop", "time": "soon"}'])
def test_what_is_no_notice_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        spot.parse(text)


@pytest.mark.parametrize(
    ("at", "grace_s"),
    [
        (1_120, 75),  # in time: what is left is for handing back
        (1_090, 60),
        (1_031, 1),
        (1_030, 0),
        (900, 0),  # heard too late
        (9_000, 75),  # a clock that is wrong
    ],
)
def test_jobs_go_on_until_there_is_just_time_to_hand_them_back(at: float, grace_s: float) -> None:
    notices = Notices("", 60, lambda: 1_000)
    assert notices.grace_s() == 0
    notices.notice = Notice("stop", at)
    assert notices.grace_s() == grace_s


@pytest.fixture
def spot_node(bench: Bench, moto: Moto, node_machine: Machine) -> dict[str, Any]:
    """What makes a watcher a running spot instance's."""
    ec2 = moto.client("ec2")
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "persistent"}}
    made = ec2.run_instances(
        ImageId=moto.publish_image(names.AMI_PARAMETER),
        MinCount=1,
        MaxCount=1,
        UserData=json.dumps({"TLFIF_STACK": "dev"}),
        InstanceMarketOptions=market,
    )
    instance_id = made["Instances"][0]["InstanceId"]
    return {
        "instance_id": instance_id,
        "notices_at": bench.endpoint.imds_url(instance_id),
        "seconds_per_minute": MINUTE_S,
        "lease_idle_s": 60,
    }


def status(bench: Bench) -> accepting.Status:
    return scripts.run(bench.redis, accepting.status())


@pytest.mark.integration
async def test_a_node_knows_that_it_is_spot(bench: Bench, spot_node: dict[str, Any]) -> None:
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": spot_node["notices_at"]}
    this = await asyncio.to_thread(instance.ask, environ)
    assert (this.id, this.notices_at) == (spot_node["instance_id"], spot_node["notices_at"])


@pytest.mark.integration
async def test_what_a_node_cannot_finish_in_time_is_answered_by_another(
    bench: Bench, spot_node: dict[str, Any], node_machine: Machine
) -> None:
    async with bench.watcher(**spot_node):
        long, short = bench.submit(LONG), bench.submit(SHORT)
        await until(lambda: bench.reply(long) and bench.reply(short))
        bench.endpoint.spot.interrupt(spot_node["instance_id"], 2 * MINUTE_S)
        await until(lambda: bench.nodes() == {spot_node["instance_id"]: "draining"})
        told = status(bench).failure or {}
        assert told["code"] == "SpotInterruption"
        assert spot_node["instance_id"] in told["message"]
        later = bench.submit(SHORT)
        # It has the time for this one.
        await until(lambda: (bench.reply(short) or {}).get("status") == "done")
        await until(lambda: bench.model.aborted == 1)
        # Handed back, and none is new.
        await until(lambda: [entry["times_delivered"] for entry in bench.pending()] == [0])
        # By itself, and before EC2 does: so that it can be started again.
        await until(lambda: node_machine.stops)
        assert bench.endpoint.spot.notice(spot_node["instance_id"])
        bench.model.released.set()
        async with bench.watcher(instance_id="i-0b", lease_idle_s=60):
            replies = [await bench.final(job) for job in (long, later)]
    assert [(each["status"], each["attempt"]) for each in replies] == [("done", 1)] * 2
    assert replies[0]["text"] == 40 * WORD
    assert {each["worker"].partition(":")[0] for each in replies} == {"i-0b"}


@pytest.mark.integration
@pytest.mark.parametrize("when", ["loading", "idle"])
async def test_a_node_without_jobs_goes_at_once(
    bench: Bench, spot_node: dict[str, Any], node_machine: Machine, when: str
) -> None:
    bench.model.mode = "away" if when == "loading" else bench.model.mode
    # A minute so long that whoever waits for jobs to end is not mistaken for one with much to do.
    async with bench.watcher(**{**spot_node, "seconds_per_minute": 10.0}):
        phase = "loading" if when == "loading" else "ready"
        await until(lambda: bench.nodes() == {spot_node["instance_id"]: phase})
        bench.endpoint.spot.interrupt(spot_node["instance_id"], 60, stops=False)
        await until(lambda: node_machine.stops, 10)
        job = bench.submit(SHORT)
        bench.endpoint.spot.withdraw(spot_node["instance_id"])
        await asyncio.sleep(0.5)
        assert not bench.reply(job), "whoever is leaving takes nothing, though the notice is gone"


@pytest.mark.integration
async def test_metadata_that_does_not_answer_is_no_notice(
    bench: Bench, spot_node: dict[str, Any], node_machine: Machine
) -> None:
    path = "latest/meta-data/spot/instance-action"
    silent = Fault("imds", path, status=500, code="Internal", times=None)
    with bench.endpoint.faults.injected(silent):
        async with bench.watcher(**spot_node):
            reply = await bench.final(bench.submit(SHORT))
            assert reply["status"] == "done"
            assert bench.nodes() == {spot_node["instance_id"]: "ready"}
    assert not node_machine.stops
