"""The budget's stop: who is told, who stops, and what they may do (OPS-003)."""

import pytest
from support.program import (
    ALARM,
    FUNCTION,
    PERMISSION,
    SUBSCRIPTION,
    evaluate,
    statements,
    variables,
)

from recording import kinds
from recording.model import Recording

pytestmark = pytest.mark.story("OPS-003")

TAGS = {"aws:ResourceTag/env": "tinyllama", "aws:ResourceTag/stack": "dev"}
LATCHING = {
    "StringEquals": TAGS,
    "ForAllValues:StringEquals": {"aws:TagKeys": ["tlfif-budget-latch"]},
    "Null": {"aws:TagKeys": "false"},
}


def topic(recording: Recording, role: str) -> str:
    return recording.one(kinds.monitoring.TOPIC.token, f"alerts-{role}").outputs["arn"]


def test_what_comes_on_the_stop_topic_calls_the_killer(dev: Recording) -> None:
    killer = dev.one(FUNCTION, "guardrails-killer-function")
    assert killer.inputs["handler"] == "budget_killer.handler.handler"
    heard = dev.one(SUBSCRIPTION, "guardrails-stop").inputs
    assert (heard["protocol"], heard["topic"], heard["endpoint"]) == (
        "lambda",
        topic(dev, "stop"),
        killer.outputs["arn"],
    )
    allowed = dev.one(PERMISSION, "guardrails-killer-from-stop").inputs
    assert (allowed["principal"], allowed["sourceArn"]) == ("sns.amazonaws.com", topic(dev, "stop"))
    once = [
        each.inputs["functionName"]
        for each in dev.of_type(kinds.lambda_.EVENT_INVOKE_CONFIG.token)
        if each.inputs["functionName"] == killer.inputs["name"]
    ]
    assert once == [], "Lambda calls it again when it fails"


def test_the_killer_is_in_the_vpc_and_told_where_to_latch(dev: Recording) -> None:
    killer = dev.one(FUNCTION, "guardrails-killer-function").inputs
    assert killer["vpcConfig"]["ipv6AllowedForDualStack"] is True
    told = variables(dev, "guardrails-killer-function")
    assert told["TLFIF_REPLIES_BUCKET"] == dev.outputs["replies_bucket"]
    assert told["AWS_USE_DUALSTACK_ENDPOINT"] == "true"


def test_the_killer_stops_and_latches_this_stacks_nodes_and_does_nothing_else(
    dev: Recording,
) -> None:
    granted = statements(dev, "guardrails-killer-policy")
    assert granted.keys() == {
        "WriteOwnLogs",
        "AttachToVpc",
        "DescribeNodes",
        "StopNodes",
        "LatchNodes",
        "WriteMoney",
    }
    assert granted["StopNodes"]["Condition"] == {"StringEquals": TAGS}
    assert granted["LatchNodes"]["Action"] == ["ec2:CreateTags"]
    assert granted["LatchNodes"]["Condition"] == LATCHING
    assert granted["WriteMoney"]["Resource"] == [
        f"arn:aws:s3:::{dev.outputs['replies_bucket']}/money/latch.json"
    ]


def test_the_guardian_lifts_the_latch_too_and_nobody_else_tags(dev: Recording) -> None:
    granted = statements(dev, "guardian-policy")["LatchNodes"]
    assert granted["Action"] == ["ec2:CreateTags", "ec2:DeleteTags"]
    assert granted["Condition"] == LATCHING
    tagging = {
        policy.name
        for policy in dev.of_type(kinds.iam.ROLE_POLICY.token)
        if "ec2:CreateTags" in policy.inputs["policy"]
    }
    assert tagging == {"guardian-policy", "guardrails-killer-policy"}


def test_somebody_is_woken_when_the_stop_fails_once(dev: Recording) -> None:
    alarm = dev.one(ALARM, "guardrails-killer-fails").inputs
    assert (alarm["metricName"], alarm["threshold"], alarm["evaluationPeriods"]) == ("Errors", 1, 1)
    assert alarm["treatMissingData"] == "notBreaching"
    assert set(alarm["alarmActions"]) == {topic(dev, "mail"), topic(dev, "pager")}


def test_a_stack_without_nodes_has_the_stop_too() -> None:
    lane_alone = evaluate("dev", config={"tl-fif:gpu": {"wake": "never"}})
    assert lane_alone.one(FUNCTION, "guardrails-killer-function")
    for policy in ("guardian-policy", "guardrails-killer-policy"):
        assert not {"StopNodes", "LatchNodes"} & statements(lane_alone, policy).keys()
