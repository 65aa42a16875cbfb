"""Messages to people and the budget that sends some, made in moto."""

import json
from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, overwrites, reads, remakes, removes, retag
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID

# --- topics


@makes(kinds.monitoring.TOPIC)
def _topic(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    topic = moto.client("sns").create_topic(
        Name=name, Attributes=api(without(inputs, "name", "tags")), Tags=tags(inputs)
    )
    return {"id": topic["TopicArn"], "name": name, "arn": topic["TopicArn"]}


@changes(kinds.monitoring.TOPIC, "tags", "displayName")
def _change_topic(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    sns = moto.client("sns")
    sns.set_topic_attributes(
        TopicArn=id_, AttributeName="DisplayName", AttributeValue=new.get("displayName", "")
    )
    retag(
        old,
        new,
        tag=lambda set_: sns.tag_resource(ResourceArn=id_, Tags=tags({"tags": set_})),
        untag=lambda gone: sns.untag_resource(ResourceArn=id_, TagKeys=gone),
    )
    return {}


@reads(kinds.monitoring.TOPIC)
def _read_topic(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    sns = moto.client("sns")
    attributes = sns.get_topic_attributes(TopicArn=id_)["Attributes"]
    tagged = sns.list_tags_for_resource(ResourceArn=id_)
    # Its policy is a resource of its own.
    return {
        "name": id_.rpartition(":")[2],
        **properties(without(attributes, "Policy")),
        "tags": tag_map(tagged["Tags"]),
    }


@removes(kinds.monitoring.TOPIC)
def _remove_topic(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("sns").delete_topic(TopicArn=id_)


@makes(kinds.monitoring.TOPIC_POLICY)
def _topic_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("sns").set_topic_attributes(
        TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"]
    )
    return {"id": inputs["arn"]}


overwrites(kinds.monitoring.TOPIC_POLICY)


@reads(kinds.monitoring.TOPIC_POLICY)
def _read_topic_policy(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    attributes = moto.client("sns").get_topic_attributes(TopicArn=id_)["Attributes"]
    return {"arn": id_, "policy": attributes["Policy"]}


_OWNERS_ACTIONS = (
    "GetTopicAttributes",
    "SetTopicAttributes",
    "AddPermission",
    "RemovePermission",
    "DeleteTopic",
    "Subscribe",
    "ListSubscriptionsByTopic",
    "Publish",
)


@removes(kinds.monitoring.TOPIC_POLICY)
def _remove_topic_policy(moto: Moto, id_: str, outputs: Outputs) -> None:
    """A topic has always a policy: the provider puts back AWS's default, for the owner alone."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{each}" for each in _OWNERS_ACTIONS],
        "Resource": id_,
        "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT_ID}},
    }
    policy = {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
    moto.client("sns").set_topic_attributes(
        TopicArn=id_, AttributeName="Policy", AttributeValue=json.dumps(policy)
    )


# --- the budget: moto changes none and keeps no tags of it


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
    arn = f"arn:aws:budgets::{ACCOUNT_ID}:budget/{name}"
    return {"id": f"{ACCOUNT_ID}:{name}", "name": name, "arn": arn}


_SUBSCRIBERS = {"subscriberSnsTopicArns": "SNS", "subscriberEmailAddresses": "EMAIL"}


def _notification(inputs: Inputs) -> dict[str, Any]:
    subscribers = [
        {"SubscriptionType": type_, "Address": address}
        for property_, type_ in _SUBSCRIBERS.items()
        for address in inputs.get(property_, ())
    ]
    return {"Notification": api(without(inputs, *_SUBSCRIBERS)), "Subscribers": subscribers}


remakes(kinds.monitoring.BUDGET)


def _named(id_: str) -> dict[str, str]:
    return {"AccountId": ACCOUNT_ID, "BudgetName": id_.partition(":")[2]}


@reads(kinds.monitoring.BUDGET)
def _read_budget(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    budgets = moto.client("budgets")
    budget = budgets.describe_budget(**_named(id_))["Budget"]
    found = budgets.describe_notifications_for_budget(**_named(id_))["Notifications"]
    return {
        "name": budget["BudgetName"],
        "budgetType": budget["BudgetType"],
        "timeUnit": budget["TimeUnit"],
        "limitAmount": budget["BudgetLimit"]["Amount"],
        "limitUnit": budget["BudgetLimit"]["Unit"],
        "notifications": _with_subscribers(properties(found), outputs.get("notifications", ())),
    }


def _with_subscribers(found: list[Outputs], declared: Any) -> list[Outputs]:
    """moto does not tell who is subscribed to a notification: as declared."""
    if len(found) != len(declared):
        return found
    return [{**before, **now} for before, now in zip(declared, found, strict=True)]


@removes(kinds.monitoring.BUDGET)
def _remove_budget(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("budgets").delete_budget(**_named(id_))
