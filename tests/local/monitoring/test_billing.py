"""Topics reach functions, and budgets fire when AWS's figure passes them (OPS-003)."""

import asyncio
import json
from typing import Any

import pytest
from support.monitored import (
    KILLER,
    MAIL,
    STOP,
    Calls,
    answering,
    permitted,
    recording,
    request,
    resource,
    subscribed,
    topic,
)  # fmt: skip

from local.aws.errors import AwsError
from local.monitoring.billing import BUDGET, Billing
from local.monitoring.topics import Topics
from recording.model import Resource

BUDGETS = "budgets.amazonaws.com"
NAME = "tl-fif-dev"


def budget(limit_usd: float = 23) -> Resource:
    notifications = [
        {
            "thresholdType": "PERCENTAGE",
            "threshold": percent,
            "notificationType": "ACTUAL",
            "comparisonOperator": "GREATER_THAN",
            "subscriberSnsTopicArns": [arn],
        }
        for percent, arn in ((75, MAIL), (100, STOP))
    ]
    inputs = {"limitAmount": f"{limit_usd:.2f}", "notifications": notifications}
    return resource(BUDGET, NAME, inputs)


def deployed(*more: Resource) -> list[Resource]:
    killer = permitted(STOP, KILLER)
    mail = subscribed(MAIL, "email", "ada@example.com")
    return [*killer, mail, subscribed(STOP, "lambda", KILLER), topic(MAIL, BUDGETS), *more]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def topics(calls: Calls) -> Topics:
    return Topics(calls.post)


@pytest.fixture
def billing(topics: Topics) -> Billing:
    resources = deployed(topic(STOP, BUDGETS), budget())
    topics.adopt(recording(*resources))
    billing = Billing(topics)
    billing.adopt(recording(*resources))
    return billing


@pytest.mark.story("OPS-003")
async def test_the_figure_fires_what_it_passes_once(
    billing: Billing, topics: Topics, calls: Calls
) -> None:
    fired: list[list[str]] = []
    for usd in (17.25, 17.26, 20, 23.01, 24):
        before = len(topics.messages)
        billing.bill(usd)
        fired.append([each.topic_arn for each in list(topics.messages)[before:]])
    assert fired == [[], [MAIL], [], [STOP], []]
    assert topics.messages[0].to == ("ada@example.com",)
    assert "greater than $17.25" in topics.messages[0].text
    await asyncio.sleep(0)
    [(arn, event)] = calls.events
    record = event["Records"][0]
    assert (arn, record["EventSource"], record["Sns"]["TopicArn"]) == (KILLER, "aws:sns", STOP)
    assert "ACTUAL Amount: $23.01" in record["Sns"]["Message"]
    billing.bill(0)
    billing.bill(30)
    assert len(topics.messages) == 4, "the next month's figures fire anew"
    billing.adopt(recording(budget()))
    assert len(topics.messages) == 4, "a deployment is no news"


async def test_who_asks_for_the_budget_sees_the_figure_and_may_change_the_limit(
    billing: Billing, topics: Topics
) -> None:
    billing.bill(0.02)
    moto = answering({"Budget": {"BudgetName": NAME}})
    shown = json.loads((await billing.describe(request("budgets", "Describe"), moto)).body)
    assert shown["Budget"]["BudgetLimit"]["Amount"] == "23.00"
    assert shown["Budget"]["CalculatedSpend"]["ActualSpend"] == {"Amount": "0.02", "Unit": "USD"}

    def update(name: str) -> Any:
        told = {"BudgetName": name, "BudgetLimit": {"Amount": "0.01", "Unit": "USD"}}
        return billing.update(request("budgets", "UpdateBudget", NewBudget=told), moto)

    await update(NAME)
    assert billing.limit(NAME) == 0.01
    assert [each.topic_arn for each in topics.messages] == [MAIL, STOP]
    with pytest.raises(AwsError, match="another"):
        await update("another")
    period = {"Start": "2026-11-01", "End": "2026-11-27"}
    asked = request("ce", "GetCostAndUsage", TimePeriod=period, Metrics=["UnblendedCost"])
    [result] = json.loads((await billing.cost(asked, moto)).body)["ResultsByTime"]
    assert result["Total"]["UnblendedCost"]["Amount"] == "0.02"


async def test_a_topic_hears_and_calls_only_whom_it_may(
    topics: Topics, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    lane = KILLER.replace("killer", "lane")
    others = [topic(STOP, BUDGETS, account="210987654321"), subscribed(STOP, "lambda", lane)]
    topics.adopt(recording(*deployed(), *others))
    assert f"{STOP} may not call {lane}" in caplog.text
    assert not topics.publish_from(BUDGETS, STOP, "s", "t"), "for another account"
    assert not topics.publish_from("cloudwatch.amazonaws.com", MAIL, "s", "t")
    topics.publish(STOP, "s", "by a person")
    await asyncio.sleep(0)
    assert [arn for arn, _ in calls.events] == [KILLER]
    await topics.close()
