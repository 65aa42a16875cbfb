"""`make budget-drill`: AWS Budgets at a threshold of €0.01 stops a running node, and it stays
stopped until the latch is lifted (OPS-003), shown as it happens.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any

import boto3

from gui.client import ApiError, Client
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.commands.demo import Timeline, follow, post, watch_nodes
from local.commands.shared import SECONDS_PER_MINUTE, CommandError
from local.iam.usage import AccessRequest, grants
from local.users import login
from recording import kinds
from recording.model import ACCOUNT_ID
from tlfif import names

BUDGET = kinds.monitoring.BUDGET.token
PROMPT = "Say hello."
THRESHOLD_EUR = 0.01
STOP_TIMEOUT_S = 60.0
PENDING_S = 1.0


class DrillError(CommandError):
    """The drill did not end as it should; the message says where."""


async def drill(arguments: argparse.Namespace, began: float) -> int:
    """Runs the drill in a local cloud of its own; 0 when every step came out as it should.

    `began` is when the command was given, in s of the monotonic clock.
    """
    show = Timeline(began)
    options = Options(
        stack=arguments.stack,
        seconds_per_minute=SECONDS_PER_MINUTE,
        delays=Delays(pending_s=PENDING_S),
    )
    async with LocalCloud(options, lambda text: show.say("cloud", text)) as cloud:
        watch_nodes(cloud, show)
        await run(cloud, show)
    show.say("end", "everything is stopped again")
    return 0


async def run(cloud: LocalCloud, show: Timeline) -> None:
    """The drill's steps; afterwards the cloud is as it was. Raises DrillError, ClientError."""
    token = await asyncio.to_thread(login, cloud, "drill@example.com")
    [budget] = cloud.recording.of_type(BUDGET)
    name, limit_usd = budget.outputs["name"], float(budget.inputs["limitAmount"])
    actual_usd = cloud.platform.billing.actual_usd
    # Greedy and short: what it says is of no interest.
    with Client(cloud.api_url, token) as client:
        await follow(client, await post(client, PROMPT, show), show)
        await set_limit(cloud, name, THRESHOLD_EUR * rate(cloud, limit_usd), show)
        try:
            await spend(cloud, 2 * THRESHOLD_EUR * rate(cloud, limit_usd), show)
            await until_stopped(cloud, show)
            await require_refusal(client, show)
            await asyncio.to_thread(require_no_start, cloud, show)
        finally:
            cloud.platform.billing.bill(actual_usd)
            await set_limit(cloud, name, limit_usd, show)
        await unlatch(cloud, show)
        await post(client, PROMPT, show)
        await asyncio.to_thread(client.stop)


def rate(cloud: LocalCloud, limit_usd: float) -> float:
    """USD for a euro, of the cap in both."""
    return limit_usd / float(cloud.function("router").environment["TLFIF_CAP_EUR"])


async def set_limit(cloud: LocalCloud, name: str, usd: float, show: Timeline) -> None:
    """Changes the budget as an operator does: `aws budgets update-budget`."""
    await asyncio.to_thread(_update_budget, cloud, name, usd)
    show.say("budget", f"{name}: its limit is ${usd:.4f} now")


def _update_budget(cloud: LocalCloud, name: str, usd: float) -> None:
    key, secret = cloud.endpoint.operator
    budgets = boto3.client(
        "budgets",
        region_name=cloud.moto.region,
        endpoint_url=cloud.endpoint.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    new = {
        "BudgetName": name,
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": f"{usd:.4f}", "Unit": "USD"},
    }
    budgets.update_budget(AccountId=ACCOUNT_ID, NewBudget=new)


async def spend(cloud: LocalCloud, usd: float, show: Timeline) -> None:
    """AWS bills; shows whom Budgets tells, and what the killer says that it did."""
    already, topics = len(cloud.logs), cloud.platform.topics
    told = len(topics.messages)
    cloud.platform.billing.bill(usd)
    show.say("AWS", f"bills ${usd:.4f}")
    for message in list(topics.messages)[told:]:
        show.say("Budgets", f"to {message.topic_arn.rpartition(':')[2]}: {message.subject}")
    killer = cloud.function("budget_killer").name

    async def acted() -> bool:
        return any(source == killer for source, _ in list(cloud.logs)[already:])

    await cloud.until(acted, STOP_TIMEOUT_S, "the killer said what it stopped")
    for source, line in list(cloud.logs)[already:]:
        if source == killer and names.METRIC_BUDGET_STOPS in line:
            said = json.loads(line)
            count = f"{names.METRIC_BUDGET_STOPS} {said[names.METRIC_BUDGET_STOPS]}"
            show.say("killer", f"{count}, stopped {said['stopped']}, latched {said['latched']}")


async def until_stopped(cloud: LocalCloud, show: Timeline) -> None:
    """Waits until no node runs."""

    async def stopped() -> bool:
        states = [await cloud.endpoint.instances.state(each) for each in cloud.nodes]
        return set(states) == {"stopped"}

    await cloud.until(stopped, STOP_TIMEOUT_S, "all nodes are stopped")


async def require_refusal(client: Client, show: Timeline) -> None:
    """Raises DrillError unless a new job is refused, and /status says until when."""
    try:
        await asyncio.to_thread(client.infer, PROMPT)
    except ApiError as error:
        if error.status != 402:
            raise
        show.say("refused", str(error))
    else:
        raise DrillError("a job was accepted though the budget is spent")
    latch: dict[str, Any] | None = (await asyncio.to_thread(client.status))["latch"]
    if not latch:
        raise DrillError("GET /status shows no latch")
    show.say("latch", f"until {latch['until']}, by {latch['by']}: {latch['reason']}")


def require_no_start(cloud: LocalCloud, show: Timeline) -> None:
    """Raises DrillError unless every node has the tag with which IAM refuses its start."""
    found = cloud.moto.client("ec2").describe_instances(InstanceIds=list(cloud.nodes))
    for each in (node for held in found["Reservations"] for node in held["Instances"]):
        name = each["InstanceId"]
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
        without = {key: value for key, value in tags.items() if key != names.LATCH_TAG}
        who, usually = starters(cloud, name, tags), starters(cloud, name, without)
        if who or not usually:
            raise DrillError(f"{name}, tagged {tags}, is started by {who}, untagged by {usually}")
        tag = f"{names.LATCH_TAG}={tags[names.LATCH_TAG]}"
        show.say("IAM", f"{name} is tagged {tag}: none of {len(usually)} roles may start it")


def starters(cloud: LocalCloud, instance_id: str, tags: Mapping[str, str]) -> list[str]:
    """The roles whose policies let them start an instance that has these tags."""
    arn = f"arn:aws:ec2:{cloud.moto.region}:{ACCOUNT_ID}:instance/{instance_id}"
    context = {f"aws:resourcetag/{key.lower()}": value for key, value in tags.items()}
    asked = AccessRequest(action="ec2:StartInstances", resource=arn, context=context)
    given = grants(cloud.recording)
    return sorted({grant.role_arn for grant in given if grant.allows(asked)})


async def unlatch(cloud: LocalCloud, show: Timeline) -> None:
    """Lifts the latch as `make unlatch` does. Raises DrillError where the guardian refuses."""
    result = await cloud.host("guardian").invoke(b'{"command":"unlatch"}')
    answer = json.loads(result.payload)
    if result.error or not (answer or {}).get("ok"):
        raise DrillError(f"the latch was not lifted: {answer}")
    show.say("unlatched", answer.get("message", ""))
