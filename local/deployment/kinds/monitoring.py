"""Logs, alarms, schedules, messages and the budget, made in moto."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID


@makes(kinds.monitoring.TOPIC)
def _topic(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    topic = moto.client("sns").create_topic(
        Name=name, Attributes=api(without(inputs, "name", "tags")), Tags=tags(inputs)
    )
    return {"id": topic["TopicArn"], "arn": topic["TopicArn"]}


@makes(kinds.monitoring.TOPIC_POLICY)
def _topic_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("sns").set_topic_attributes(
        TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"]
    )
    return {"id": inputs["arn"]}


@makes(kinds.monitoring.LOG_GROUP)
def _log_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    logs = moto.client("logs")
    logs.create_log_group(logGroupName=name, tags=inputs.get("tags", {}))
    if inputs.get("retentionInDays"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=inputs["retentionInDays"])
    return {"id": name, "arn": f"arn:aws:logs:{moto.region}:{ACCOUNT_ID}:log-group:{name}"}


@makes(kinds.monitoring.METRIC_ALARM)
def _metric_alarm(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    renamed = {"AlarmName": name, "Tags": tags(inputs), "OKActions": inputs.get("okActions", [])}
    if "dimensions" in inputs:
        dimensions = inputs["dimensions"].items()
        renamed["Dimensions"] = [{"Name": key, "Value": value} for key, value in dimensions]
    kept = without(inputs, "name", "tags", "dimensions", "okActions", "comparisonOperator")
    moto.client("cloudwatch").put_metric_alarm(
        ComparisonOperator=inputs["comparisonOperator"], **api(kept), **renamed
    )
    return {"id": name, "arn": f"arn:aws:cloudwatch:{moto.region}:{ACCOUNT_ID}:alarm:{name}"}


@makes(kinds.monitoring.DASHBOARD)
def _dashboard(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("cloudwatch").put_dashboard(**api(without(inputs, "name")))
    return {"id": inputs["dashboardName"]}


@makes(kinds.monitoring.EVENT_RULE)
def _event_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    rule = moto.client("events").put_rule(
        Name=name, Tags=tags(inputs), **api(without(inputs, "name", "tags"))
    )
    return {"id": name, "arn": rule["RuleArn"]}


@makes(kinds.monitoring.EVENT_TARGET)
def _event_target(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    about = api(without(inputs, "rule", "targetId", "name"))
    target = {"Id": inputs.get("targetId", name), **about}
    moto.client("events").put_targets(Rule=inputs["rule"], Targets=[target])
    return {"id": f"{inputs['rule']}-{target['Id']}"}


@makes(kinds.monitoring.BUDGET)
def _budget(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    filters = {each["name"]: each["values"] for each in inputs.get("costFilters", ())}
    budget = {
        "BudgetName": name,
        "BudgetType": inputs["budgetType"],
        "TimeUnit": inputs["timeUnit"],
        "BudgetLimit": {"Amount": inputs["limitAmount"], "Unit": inputs["limitUnit"]},
        "CostFilters": filters,
    }
    notifications = [_notification(each) for each in inputs.get("notifications", ())]
    moto.client("budgets").create_budget(
        AccountId=ACCOUNT_ID,
        Budget=budget,
        NotificationsWithSubscribers=notifications,
    )
    return {"id": f"{ACCOUNT_ID}:{name}", "arn": f"arn:aws:budgets::{ACCOUNT_ID}:budget/{name}"}


_SUBSCRIBERS = {"subscriberSnsTopicArns": "SNS", "subscriberEmailAddresses": "EMAIL"}


def _notification(inputs: Inputs) -> dict[str, Any]:
    subscribers = [
        {"SubscriptionType": type_, "Address": address}
        for property_, type_ in _SUBSCRIBERS.items()
        for address in inputs.get(property_, ())
    ]
    return {"Notification": api(without(inputs, *_SUBSCRIBERS)), "Subscribers": subscribers}
