"""The evaluator: what our policies say is understood exactly, and nothing else is taken for
granted.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from support.program import PIPED
from support.recordings import evaluate

from local.aws.records import Call
from local.iam.policy import PolicyError, Statement
from local.iam.usage import PLATFORM, Grant, grants, judge, requests
from recording import kinds
from recording.model import Recording
from tlfif.names import IMAGE_TAG

NODE = "i-0123456789abcdef0"
NODE_ARN = f"arn:aws:ec2:us-east-1:123456789012:instance/{NODE}"
TAGS = {"env": "tinyllama", "stack": "dev"}


@pytest.fixture(scope="module")
def dev() -> Recording:
    return evaluate("dev")


def role(recording: Recording, name: str) -> str:
    return recording.one(kinds.iam.ROLE.token, name).outputs["arn"]


def called(
    action: str, role_arn: str | None, *, tags: dict[str, str] | None = None, **changes: Any
) -> Call:
    service, _, operation = action.partition(":")
    call = Call(
        time=0,
        duration_ms=1,
        role_arn=role_arn,
        instance_arn=None,
        service=service,
        operation=operation,
        action=action,
        params={"InstanceIds": [NODE]},
        resource_tags={NODE: TAGS if tags is None else tags},
        status=200,
    )
    return replace(call, **changes)


def refused(recording: Recording, *calls: Call) -> list[str]:
    return judge(grants(recording), calls).refused


@pytest.mark.story("CI-003")
def test_a_bake_may_remove_this_stacks_images_and_no_other() -> None:
    piped = evaluate("dev", config=PIPED)
    bake = role(piped, "delivery-bake-role")
    image = "ami-0123456789abcdef0"
    for stack, count in (("dev", 0), ("prod", 1)):
        asked = called(
            "ec2:DeregisterImage",
            bake,
            params={"ImageId": image, "DeleteAssociatedSnapshots": True},
            resource_tags={image: {IMAGE_TAG: stack}},
        )
        assert len(refused(piped, asked)) == count


# --- who may start and stop which node


@pytest.mark.story("LAM-004", "OPS-003")
def test_the_router_may_start_this_stacks_node_and_no_other(dev: Recording) -> None:
    router = role(dev, "router-role")
    assert refused(dev, called("ec2:StartInstances", router)) == []
    for tags in (
        {},
        {**TAGS, "stack": "prod"},
        {**TAGS, "env": "other"},
        {**TAGS, "tlfif-budget-latch": "2026-11"},
    ):
        assert len(refused(dev, called("ec2:StartInstances", router, tags=tags))) == 1, tags


@pytest.mark.parametrize("who", ["router-role", "guardrails-killer-role", "guardian-role"])
def test_a_latched_node_may_still_be_stopped(who: str, dev: Recording) -> None:
    latched, caller = {**TAGS, "tlfif-budget-latch": "2026-11"}, role(dev, who)
    assert refused(dev, called("ec2:StopInstances", caller, tags=latched)) == []
    for foreign in ({**latched, "stack": "prod"}, {**latched, "env": "other"}):
        assert len(refused(dev, called("ec2:StopInstances", caller, tags=foreign))) == 1


@pytest.mark.story("EC2-004")
def test_a_node_may_stop_itself_from_itself_only(dev: Recording) -> None:
    node = dev.one(kinds.ec2.INSTANCE.token)
    arn, params = node.outputs["arn"], {"InstanceIds": [node.id]}
    stop = called(
        "ec2:StopInstances",
        role(dev, "gpu-node-role"),
        params=params,
        resource_tags={node.id: TAGS},
    )
    assert refused(dev, replace(stop, instance_arn=arn)) == []
    assert len(refused(dev, replace(stop, instance_arn=NODE_ARN))) == 1
    assert len(refused(dev, stop)) == 1
    other = replace(
        stop, params={"InstanceIds": [NODE]}, resource_tags={NODE: TAGS}, instance_arn=arn
    )
    assert f"ec2:StopInstances on {NODE_ARN}" in refused(dev, other)[0]


def test_every_instance_of_a_call_is_judged(dev: Recording) -> None:
    two = {
        "params": {"InstanceIds": [NODE, "i-other"]},
        "resource_tags": {NODE: TAGS, "i-other": {}},
    }
    assert [
        text.split()[3]
        for text in refused(dev, called("ec2:StartInstances", role(dev, "router-role"), **two))
    ] == ["arn:aws:ec2:us-east-1:123456789012:instance/i-other"]


# --- replies and metrics


@pytest.mark.parametrize(
    "who", ["router-role", "gpu-node-role", "cpu-worker-role", "guardian-role"]
)
def test_replies_are_reached_below_their_prefix_only(who: str, dev: Recording) -> None:
    caller, bucket = role(dev, who), dev.outputs["replies_bucket"]
    for key, count in (("replies/ada/1.json", 0), ("other/1.json", 1), ("models/weights", 1)):
        params = {"Bucket": bucket, "Key": key}
        assert len(refused(dev, called("s3:PutObject", caller, params=params))) == count, key
        assert len(refused(dev, called("s3:DeleteObject", caller, params=params))) == 1, key
    for key, count in (("replies/ada/1.json", 0), ("other/1.json", 1)):
        for name in (bucket, "foreign"):
            params = {"Bucket": name, "Key": key}
            expected = count if name == bucket else 1
            asked = called("s3:GetObject", caller, params=params)
            assert len(refused(dev, asked)) == expected, (name, key)


def test_a_missing_reply_needs_the_right_to_see_that_it_is_missing(dev: Recording) -> None:
    params = {"Bucket": "b", "Key": "replies/x"}
    found = requests(called("s3:GetObject", "r", params=params, status=404))
    assert [(each.action, each.resource) for each in found] == [
        ("s3:GetObject", "arn:aws:s3:::b/replies/x"),
        ("s3:ListBucket", "arn:aws:s3:::b"),
    ]


def test_metrics_go_to_the_namespace_in_the_condition(dev: Recording) -> None:
    node = role(dev, "gpu-node-role")
    assert (
        refused(dev, called("cloudwatch:PutMetricData", node, params={"Namespace": "TLFIF/GPU"}))
        == []
    )
    assert (
        len(
            refused(
                dev, called("cloudwatch:PutMetricData", node, params={"Namespace": "TLFIF/Cost"})
            )
        )
        == 1
    )


def test_the_authorizer_may_nothing(dev: Recording) -> None:
    assert (
        len(refused(dev, called("ec2:DescribeInstances", role(dev, "gateway-authorizer-role"))))
        == 1
    )


def test_the_operators_and_unsigned_calls_do_not_count(dev: Recording) -> None:
    assert (
        refused(
            dev,
            called("iam:DeleteRole", None),
            called("iam:DeleteRole", "arn:aws:iam::1:role/mine"),
        )
        == []
    )


# --- what is granted and not used


def test_a_granted_action_that_nothing_used_is_named(dev: Recording) -> None:
    unused = judge(grants(dev), [called("ec2:StartInstances", role(dev, "router-role"))]).unused
    assert "router-policy/StopNodes: ec2:StopInstances" in unused
    assert "gpu-node-policy/PutMetrics: cloudwatch:PutMetricData" in unused
    assert "router-policy/StartNodes: ec2:StartInstances" not in unused
    assert not [text for text in unused if text.rpartition(": ")[2] in PLATFORM]


def test_the_list_of_what_the_platform_does_is_not_stale(dev: Recording) -> None:
    granted = {action for grant in grants(dev) for action in grant.statement.actions}
    assert PLATFORM.keys() <= granted


# --- what is not understood is an error


def policy(**changes: Any) -> Recording:
    """A stack with one role, whose only statement is changed."""
    whole = evaluate("dev")
    statement = {
        "Sid": "S",
        "Effect": "Allow",
        "Action": ["ec2:StopInstances"],
        "Resource": "*",
        **changes,
    }
    kept = [r for r in whole.resources if r.name in ("router-role", "router-policy") and r.custom]
    document = json.dumps({"Statement": [statement]})
    resources = [replace(r, inputs={**r.inputs, "policy": document}) for r in kept]
    return replace(whole, resources=resources)


@pytest.mark.parametrize(
    "changes",
    [
        {"Effect": "Deny", "Condition": {"StringEquals": {"aws:ResourceTag/env": "1"}}},
        {"Action": "ec2:*"},
        {"NotResource": "x"},
        {"Principal": "*"},
        {"Condition": {"NumericEquals": {"aws:ResourceTag/env": "1"}}},
    ],
    ids=str,
)
def test_a_policy_that_is_not_understood_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=r"router-policy/S: .* understood"):
        grants(policy(**changes))


def test_what_is_denied_is_refused_whatever_is_allowed_and_is_no_right(dev: Recording) -> None:
    """Nodes may read parameters, but none of the pipeline's secrets."""
    node, name = role(dev, "gpu-node-role"), "/tl-fif-secrets/smoke_user"
    asked = called("ssm:GetParameter", node, params={"Name": name})
    everything = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}
    given = Grant(role_arn=node, policy="all", statement=Statement.parse(everything))
    found = judge([*grants(dev), given], [asked])
    assert len(found.refused) == 1
    assert "parameter/tl-fif-secrets/smoke_user" in found.refused[0]
    allowed = judge([*grants(dev), given], [replace(asked, params={"Name": "/other"})])
    assert allowed.refused == []
    assert not [text for text in allowed.unused if "LeaveSecrets" in text]


def test_an_action_whose_resources_are_unknown_is_an_error(dev: Recording) -> None:
    with pytest.raises(PolicyError, match=r"dynamodb:GetItem: .* does not know its resources"):
        refused(dev, called("dynamodb:GetItem", role(dev, "router-role")))


# --- deployments


@pytest.mark.story("CI-004")
@pytest.mark.parametrize(
    ("action", "params", "arn"),
    [
        ("lambda:UpdateAlias", {"FunctionName": "f", "Name": "prod"}, "lambda:{}:function:f"),
        (
            "lambda:DeleteFunction",
            {"FunctionName": "arn:aws:lambda:us-east-1:1:function:f", "Qualifier": "7"},
            "lambda:{}:function:f:7",
        ),
        ("cloudwatch:DescribeAlarms", {"AlarmNames": ["a"]}, "cloudwatch:{}:alarm:a"),
        ("ssm:GetParametersByPath", {"Path": "/tl-fif"}, "ssm:{}:parameter/tl-fif"),
        (
            "imagebuilder:ListWorkflowStepExecutions",
            {"workflowExecutionId": "wf-1"},
            "imagebuilder:{}:workflow-execution/wf-1",
        ),
    ],
)
def test_what_a_deployment_asks_for_is_judged_by_its_resource(
    action: str, params: dict[str, Any], arn: str
) -> None:
    [asked] = requests(called(action, None, params=params))
    expected = f"arn:aws:{arn.format('us-east-1:123456789012')}"
    assert (asked.action, asked.resource) == (action, expected)


@pytest.mark.story("CI-004")
def test_who_one_is_everybody_may_ask() -> None:
    assert requests(called("sts:GetCallerIdentity", None, params={})) == []
