"""What the pages tell an operator to do, done: each command is copied from the page and run by the
real CLIs against a local cloud, from an empty account to an answered prompt, and back to nothing.
"""

import json
from typing import Any

import pytest
from support import pages
from support.account import Account
from support.engine import needs_engine
from support.leftovers import inventory
from support.pages import Block
from support.terminal import Terminal, terminal

from components import billed
from local.aws.moto import Moto
from local.cloud import LocalCloud, Options
from recording import kinds
from recording.model import ACCOUNT_ID
from tools.aws_cli import NoCliError, prepare
from tools.pages.bills_when import STATE_DAYS, WHEN

FIRST, PROCEDURES = "first-deployment.md", "procedures.md"
# What the person pastes where a command asks for it.
TYPED = {
    "slackWebhookUrl": "https://hooks.slack.invalid/services/new",
    "pagerDutyUrl": "https://events.pagerduty.invalid/integration/new/enqueue",
}
LEFT_LOG = "/aws/lambda/cwsyn-tl-fif-dev-0a1b2c3d"
# Where moto has what bills, of the types that it makes: service, operation, list.
IN_MOTO = {
    billed.ALARM: ("cloudwatch", "describe_alarms", "MetricAlarms"),
    billed.BALANCER: ("elbv2", "describe_load_balancers", "LoadBalancers"),
    billed.BUCKET: ("s3", "list_buckets", "Buckets"),
    billed.BUILD: ("codebuild", "list_projects", "projects"),
    billed.CERTIFICATE: ("acm", "list_certificates", "CertificateSummaryList"),
    billed.DASHBOARD: ("cloudwatch", "list_dashboards", "DashboardEntries"),
    billed.FUNCTION: ("lambda", "list_functions", "Functions"),
    billed.ENDPOINT: ("ec2", "describe_vpc_endpoints", "VpcEndpoints"),
    billed.INSTANCE: ("ec2", "describe_volumes", "Volumes"),
    billed.LOG_GROUP: ("logs", "describe_log_groups", "logGroups"),
    billed.PIPELINE: ("codepipeline", "list_pipelines", "pipelines"),
    billed.SUBSCRIPTION: ("sns", "list_subscriptions", "Subscriptions"),
    billed.USER_POOL: ("cognito-idp", "list_user_pools", "UserPools"),
}

pytestmark = [
    pytest.mark.engine,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    needs_engine,
]


@pytest.mark.story("CI-001", "CI-004")
async def test_an_operator_gets_from_an_empty_account_to_an_answer_and_back() -> None:
    try:
        prepare()
    except NoCliError as error:
        pytest.skip(str(error))
    async with LocalCloud(Options(empty=True, lane=True, workers=1)) as cloud:
        before = inventory(cloud.moto)
        account = Account(cloud)
        async with terminal(cloud, "dev", cloud.machine_config) as here:
            await _deploys(here)
            await _has_a_pipeline(here, account)
            await _has_a_node(here, account)
            await _operates(here)
            await _tears_down(here)
        assert inventory(cloud.moto) - before == set()
    every = [*pages.commands(FIRST), *pages.commands(PROCEDURES)]
    assert [each.where for each in every if each.runs and each.where not in here.said] == []


async def _run(here: Terminal, page: str, heading: str) -> list[str]:
    return [await _do(here, each) for each in pages.section(page, heading) if each.runs]


async def _do(here: Terminal, block: Block) -> str:
    typed = [text for key, text in TYPED.items() if key in block.text]
    return await here.run(block, *typed)


# --- the first deployment


async def _deploys(here: Terminal) -> None:
    cloud = here.cloud
    for heading in ("1. What you need", "2. Where the state is kept"):
        await _run(here, FIRST, heading)
    assert _state_is_kept_for(cloud.moto) == STATE_DAYS
    *_, asked = await _run(here, FIRST, "3. What it is told")
    assert '"Status": "PENDING"' in asked
    *_, said = await _run(here, FIRST, "4. The first `pulumi up`")
    assert "The instant lane answers already" in said
    assert "make bake STACK=dev" in said, "what next_step tells is what the page does"

    await _run(here, FIRST, "5. A user, and the first prompt")
    assert _engines(cloud) == ["llama.cpp-lambda"]


async def _has_a_pipeline(here: Terminal, account: Account) -> None:
    version = await _served(here)
    first, *others = [each for each in pages.section(FIRST, "7. The pipeline") if each.runs]
    assert (await _do(here, first)).strip() == "PENDING"
    account.shake_hands()
    handshake, *others = others
    assert (await _do(here, handshake)).strip() == "AVAILABLE"
    for each in others:
        await _do(here, each)
    assert await here.answer("pulumi stack output pipeline_name")
    assert await _served(here) == version, "a pipeline that comes later keeps what serves"


async def _has_a_node(here: Terminal, account: Account) -> None:
    """A new account's quota comes last; before, a node would have been refused."""
    quota, *others = [
        each for each in pages.section(FIRST, "6. The first bake, and a node") if each.runs
    ]
    assert (await _do(here, quota)).strip() == "0.0"
    account.grant()
    assert (await _do(here, quota)).strip() == "4.0"
    baked, *_ = [await _do(here, each) for each in others]
    assert "Nothing: the stack is complete." in baked
    assert _engines(here.cloud)[-1] == "llama.cpp", "the node has answered"


async def _served(here: Terminal) -> str:
    """The version that the alias names."""
    return await here.answer(
        'aws lambda get-alias --function-name "$(pulumi stack output router_arn)" --name prod '
        "--query FunctionVersion --output text"
    )


def _state_is_kept_for(moto: Moto) -> int:
    """Days after which an old version of Pulumi's state goes."""
    s3 = moto.client("s3")
    (name,) = [each["Name"] for each in s3.list_buckets()["Buckets"] if _is_no_stacks(each)]
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    return rule["NoncurrentVersionExpiration"]["NoncurrentDays"]


def _engines(cloud: LocalCloud) -> list[str]:
    """Which engine has answered each prompt, the last one last."""
    s3, bucket = cloud.moto.client("s3"), cloud.output("replies_bucket")
    found = s3.list_objects_v2(Bucket=bucket, Prefix="replies/").get("Contents", ())
    kept = sorted(found, key=lambda each: each["LastModified"])
    bodies = [json.load(s3.get_object(Bucket=bucket, Key=each["Key"])["Body"]) for each in kept]
    return [each["engine"] for each in bodies]


# --- what is done now and then


async def _operates(here: Terminal) -> None:
    # A new shell: this page needs nothing that the first one has exported.
    here.session.unlink()
    opening, *_ = pages.commands(PROCEDURES)
    await _do(here, opening)
    for heading in ("The Slack webhook", "The PagerDuty URL", "The smoke test's password"):
        await _run(here, PROCEDURES, heading)
    assert (
        await here.answer("pulumi config get --path tl-fif:delivery.slackWebhookUrl")
        == (TYPED["slackWebhookUrl"])
    )
    for heading in ("A user's password", "The passphrase", "Raise the cap", "Roll back"):
        await _run(here, PROCEDURES, heading)
    await _run(here, PROCEDURES, "Restart a stuck pipeline")


# --- and back


async def _tears_down(here: Terminal) -> None:
    cloud = here.cloud
    bakes, destroys, commanded, logs, tagged, account = pages.section(PROCEDURES, "Tear down")
    nodes = set(cloud.nodes)
    assert (await _do(here, bakes)).strip() == "", "no bake runs"
    await _do(here, destroys)
    await here.catch_up()
    images = cloud.moto.client("ec2").describe_images(Owners=["self"])["Images"]
    assert len(images) == 1, "the bake's image is no stack's"
    await _do(here, commanded)
    # As Synthetics leaves it.
    cloud.moto.client("logs").create_log_group(logGroupName=LEFT_LOG)
    assert (await _do(here, logs)).split() == [LEFT_LOG, "0"]
    await here.answer(f"aws logs delete-log-group --log-group-name {LEFT_LOG}")
    still = (await _do(here, tagged)).split()
    assert {arn.rpartition("/")[2] for arn in still} <= nodes, "an ended instance is named for long"
    assert _bills(cloud.moto) == {}
    assert (await here.recording()).resources == []
    await _do(here, account)


def _bills(moto: Moto) -> dict[str, list[Any]]:
    """What billed.py says bills, by its type, as far as moto has any; images and snapshots too."""
    made = {kind for kind in WHEN if kinds.KINDS[kind].made}
    assert made <= IN_MOTO.keys(), "what is billed is looked for"
    found = {kind: _listed(moto, *where) for kind, where in IN_MOTO.items()}
    ec2 = moto.client("ec2")
    found["image"] = ec2.describe_images(Owners=["self"])["Images"]
    found["snapshot"] = ec2.describe_snapshots(OwnerIds=[ACCOUNT_ID])["Snapshots"]
    return {kind: items for kind, items in found.items() if items}


def _listed(moto: Moto, service: str, operation: str, named: str) -> list[Any]:
    needed = {"MaxResults": 60} if operation == "list_user_pools" else {}
    found = getattr(moto.client(service), operation)(**needed)[named]
    return [each for each in found if not (isinstance(each, dict) and _is_no_stacks(each))]


def _is_no_stacks(each: dict[str, Any]) -> bool:
    """Whether it is gone, and still named; or has the state."""
    return each.get("State") == "deleted" or each.get("Name", "").startswith("tl-fif-state-")
