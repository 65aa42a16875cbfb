"""What stops a session that nobody stops, each guard when those before it are dead; and the API
closes before requests have cost too much.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from os import kill

import httpx
import pytest
from support.calls import eventually
from support.killing import latched_until
from support.system import calls, until_state
from support.users import WAIT_S, User

from gui.client import ApiError
from local.cloud import LocalCloud
from local.commands import budget_drill
from local.commands.demo import Timeline
from local.node.node import LocalNode
from tlfif import names
from tlfif.money import months, spending
from tlfif.money.documents import Ledger, Tariff

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

# That a request costs, where a flood is to cost something in a moment; and what is left for them.
REQUEST_USD, LEFT_USD = 0.1, 10.0
FLOOD = 50


@asynccontextmanager
async def frozen(node: LocalNode) -> AsyncIterator[None]:
    """A watcher that hangs: it says nothing, and stops nothing."""
    pid = node.pids["watcher"]
    kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pid, signal.SIGCONT)


async def dead(*_: object, **__: object) -> None:
    """A function that fails."""
    raise RuntimeError("dead")


@pytest.mark.story("OPS-003")
async def test_a_session_whose_watcher_hangs_is_stopped_by_the_guardian_which_says_why(
    cloud: LocalCloud, up: LocalNode, ada: User
) -> None:
    since = time.time()
    async with frozen(up):
        await until_state(cloud, "stopping")
        stops = calls(cloud, "StopInstances", since)
        assert {call.role_arn for call in stops} == {role(cloud, "guardian")}
    await until_state(cloud, "stopped")
    guard = (await ada.status())["guard"]
    assert (guard["what"], guard["node"]) == ("stopped", up.instance_id)
    assert "silent" in guard["why"]


@pytest.mark.story("OPS-003")
async def test_with_watcher_and_guardian_dead_the_budget_stops_it_as_the_drill_shows(
    cloud: LocalCloud,
    off: LocalNode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spend, since = budget_drill.spend, time.time()

    async def spend_alone(cloud: LocalCloud, usd: float, show: Timeline) -> None:
        async with frozen(off):
            with monkeypatch.context() as patch:
                patch.setattr(cloud.host("guardian"), "invoke", dead)
                await spend(cloud, usd, show)
                await until_state(cloud, "stopping")

    monkeypatch.setattr(budget_drill, "spend", spend_alone)
    await budget_drill.run(cloud, Timeline(time.monotonic()))
    stops = [call.role_arn for call in calls(cloud, "StopInstances", since)]
    assert stops[0] == role(cloud, "budget_killer")
    shown = capsys.readouterr().out
    lifts = months.iso(latched_until(time.time()))
    for step in ("BudgetStops 1, stopped ['i-", "402 budget_exhausted", f"until {lifts}"):
        assert step in shown
    assert "may start it" in shown
    assert shown.index("latch is lifted") < shown.rindex("202 {'status': 'starting'")
    await until_state(cloud, "stopped")


@pytest.mark.story("OPS-002", "OPS-003")
async def test_a_figure_at_the_cap_rings_the_alarm_that_stops_before_aws_has_billed(
    cloud: LocalCloud, off: LocalNode
) -> None:
    said, killer = len(cloud.logs), cloud.function("budget_killer").name
    cloud.platform.metrics.put("TLFIF/Cost", "CurrentSpendEUR", {"Stack": "dev"}, 20.0)
    await until_latched(cloud)

    async def acted() -> bool:
        return bool(stops())

    def stops() -> list[list[str]]:
        return [
            json.loads(line)["stopped"]
            for source, line in list(cloud.logs)[said:]
            if source == killer and "BudgetStops" in line
        ]

    await eventually(acted)
    assert stops() == [[]], "there was no node to stop"
    rung = [each.topic_arn for each in cloud.platform.topics.messages if "spend" in each.subject]
    assert any("-stop-" in topic for topic in rung)
    await budget_drill.unlatch(cloud, Timeline(0))


@pytest.mark.story("OPS-001")
async def test_cloudwatch_is_told_by_the_platform_and_by_functions_lines(
    cloud: LocalCloud, ada: User
) -> None:
    metrics, begin = cloud.platform.metrics, time.time()
    await ada.status()
    router = {"FunctionName": cloud.function("router").name}
    group = {"LogGroupName": f"/aws/lambda/{router['FunctionName']}"}
    counted = {
        "requests": ("Sum", "AWS/ApiGateway", "Count", api(cloud)),
        "latency": ("p95", "AWS/ApiGateway", "Latency", api(cloud)),
        "calls": ("Sum", "AWS/Lambda", "Invocations", router),
        "errors": ("SampleCount", "AWS/Lambda", "Errors", router),
        "run time": ("Maximum", "AWS/Lambda", "Duration", router),
        "logged": ("Sum", "AWS/Logs", "IncomingBytes", group),
        "queue": ("SampleCount", "TLFIF/Queue", "QueueDepth", {"Stack": "dev"}),
    }

    async def all_there() -> bool:
        found = {what: metrics.statistic(*asked, begin, 9e9) for what, asked in counted.items()}
        return all(value is not None and value > 0 for value in found.values())

    await eventually(all_there)
    await metrics.flush()
    cloudwatch = cloud.moto.client("cloudwatch")
    listed = await asyncio.to_thread(cloudwatch.list_metrics, Namespace="TLFIF/Queue")
    assert "QueueDepth" in {each["MetricName"] for each in listed["Metrics"]}


@pytest.mark.story("OPS-003")
async def test_a_flood_of_gets_closes_the_stage_to_a_trickle_before_it_has_cost_too_much(
    cloud: LocalCloud, off: LocalNode, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it once published it never takes back within the month.
    monkeypatch.setattr(cloud.host("cost_publisher"), "invoke", dead)
    s3, bucket = cloud.moto.client("s3"), cloud.output("replies_bucket")
    tariff = Tariff.load(s3, bucket)
    assert tariff is not None
    async with httpx.AsyncClient(
        base_url=cloud.api_url, headers={"Authorization": ada.token}
    ) as http:
        since = time.time()
        try:
            await dear(cloud, tariff)
            answers: list[int] = []

            async def closed() -> bool:
                answers.append((await http.get("/status")).status_code)
                return bool(calls(cloud, "UpdateStage", since))

            await eventually(closed, WAIT_S)
            assert answers.count(200) > FLOOD, "a flood, and not its first requests"
            patched = calls(cloud, "UpdateStage", since)
            assert {call.role_arn for call in patched} == {role(cloud, "meter")}
            rates = [
                float(each["value"])
                for each in patched[0].params["patchOperations"]
                if each["path"].endswith("rateLimit")
            ]
            assert max(rates) <= 1
            # Who is not signed in has no limit but the stage's.
            refused: list[int] = []

            async def trickling() -> bool:
                refused.append(
                    (await http.get("/status", headers={"Authorization": ""})).status_code
                )
                return refused.count(429) > 15 and 401 in refused

            await eventually(trickling, WAIT_S)
            await until_latched(cloud)
            with pytest.raises(ApiError, match="402 budget_exhausted"):
                await ada.infer()
        finally:
            # Whatever failed: the tests after this one have the same stage.
            tariff.save(s3, bucket)
            await reopen(cloud, since)


async def reopen(cloud: LocalCloud, since: float) -> None:
    """A stage that was closed for want of money is open again, and nodes may be started."""
    s3, bucket, opened = cloud.moto.client("s3"), cloud.output("replies_bucket"), time.time()

    async def patched() -> bool:
        # Another tariff takes nothing back: what was spent by the dear one is forgotten here.
        with cloud.valkey.operator() as redis:
            redis.delete(names.MONEY)
        s3.delete_object(Bucket=bucket, Key=Ledger.KEY)
        return bool(calls(cloud, "UpdateStage", opened)) or not calls(cloud, "UpdateStage", since)

    await eventually(patched, WAIT_S)
    await budget_drill.unlatch(cloud, Timeline(opened))


async def until_latched(cloud: LocalCloud) -> None:
    with cloud.valkey.operator() as redis:

        async def latched() -> bool:
            return bool(redis.exists(names.LATCH))

        await eventually(latched, WAIT_S)


async def dear(cloud: LocalCloud, tariff: Tariff) -> None:
    """Lets a request cost so much that a flood of them spends what is left within a minute."""
    s3, bucket = cloud.moto.client("s3"), cloud.output("replies_bucket")
    counted = cloud.platform.metrics.statistic("Sum", "AWS/ApiGateway", "Count", api(cloud), 0, 9e9)
    price = {**tariff.prices["REST request"], "usd": REQUEST_USD}
    # However many the tests before have sent: it counts them as if each were dearer than its price.
    before = REQUEST_USD * (1 + spending.DEARER) * (counted or 0)
    replace(
        tariff,
        cap_usd=tariff.fixed_usd + tariff.assumed_usd + before + LEFT_USD,
        prices={**tariff.prices, "REST request": price},
        worst_usd_per_hour={},
    ).save(s3, bucket)
    # It reads it every 15 minutes, and whenever it is new.
    await cloud.host("meter").recycle()


def api(cloud: LocalCloud) -> dict[str, str]:
    return {"ApiName": "tl-fif-dev", "Stage": "v1"}


def role(cloud: LocalCloud, source: str) -> str:
    """The role of the function in that folder."""
    kind = "aws:lambda/function:Function"
    [found] = [
        each
        for each in cloud.recording.of_type(kind)
        if each.outputs["arn"] == cloud.function(source).arn
    ]
    return found.inputs["role"]
