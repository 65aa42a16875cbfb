"""The functions: what they are, what they are told, and what they and the nodes may do."""

import json

import pytest
from support.program import FUNCTION, INSTANCE, LOG_GROUP, POLICY, statements, variables

from components import iam
from recording.model import Recording
from tlfif import names


@pytest.mark.story("LAM-001")
def test_the_router_is_what_the_story_asks_for(recording: Recording) -> None:
    router = recording.one(FUNCTION, "router-function").inputs
    assert (router["runtime"], router["memorySize"], router["architectures"]) == (
        "python3.12",
        512,
        ["arm64"],
    )
    assert router["handler"] == "router.handler.handler"
    assert router["tracingConfig"] == {"mode": "Active"}
    assert router["vpcConfig"]["ipv6AllowedForDualStack"] is True


def test_the_functions_get_the_environment_they_read(dev: Recording) -> None:
    router = variables(dev, "router-function")
    assert router == {
        "TLFIF_STACK": "dev",
        "TLFIF_REDIS_HOST": dev.outputs["redis_endpoint"],
        "TLFIF_REDIS_PORT": "6379",
        "TLFIF_USER_POOL_ID": dev.outputs["user_pool_id"],
        "TLFIF_CLIENT_ID": dev.outputs["user_pool_client_id"],
        "TLFIF_REPLIES_BUCKET": dev.outputs["replies_bucket"],
        "TLFIF_BACKLOG_CAP": str(names.BACKLOG_PER_NODE),
        "TLFIF_GPU_COUNT": "1",
        "TLFIF_GPU_SLOTS": "8",
        "TLFIF_IDLE_MINUTES": "5",
        "TLFIF_CAP_EUR": "20",
        "TLFIF_GPU_WAKE": "always",
        "TLFIF_GPU_WAKE_AFTER_SECONDS": "60",
        "TLFIF_LANE_FUNCTION": "tl-fif-dev-cpu-worker",
        "TLFIF_LANE_PROMPT_BYTES": "1500",
        "TLFIF_LANE_EUR_PER_HOUR": "0.1533",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
    }
    assert variables(dev, "gateway-authorizer-function") == {
        "TLFIF_STACK": "dev",
        "TLFIF_USER_POOL_ID": dev.outputs["user_pool_id"],
        "TLFIF_CLIENT_ID": dev.outputs["user_pool_client_id"],
    }


def test_each_function_logs_to_its_own_group_with_retention(recording: Recording) -> None:
    for function in recording.of_type(FUNCTION):
        group = next(
            g
            for g in recording.of_type(LOG_GROUP)
            if g.id == function.inputs["loggingConfig"]["logGroup"]
        )
        assert group.id == f"/aws/lambda/{function.inputs['name']}"
        assert group.inputs["retentionInDays"] > 0


def test_the_router_may_start_and_stop_this_stacks_nodes_and_no_other(recording: Recording) -> None:
    granted = statements(recording, "router-policy")
    tags = {"aws:ResourceTag/env": "tinyllama", "aws:ResourceTag/stack": recording.stack}
    nodes = "arn:aws:ec2:us-east-1:123456789012:instance/*"
    assert granted["StartNodes"]["Condition"] == {
        "StringEquals": tags,
        "Null": {"aws:ResourceTag/tlfif-budget-latch": "true"},
    }
    assert granted["StopNodes"]["Condition"] == {"StringEquals": tags}
    assert granted["StartNodes"]["Resource"] == granted["StopNodes"]["Resource"] == nodes


def test_a_node_may_stop_only_itself(recording: Recording) -> None:
    instance = recording.one(INSTANCE)
    stop = statements(recording, "gpu-node-0-stop-self")["StopSelf"]
    assert stop["Resource"] == instance.outputs["arn"]
    assert stop["Condition"]["ArnEquals"] == {"ec2:SourceInstanceARN": instance.outputs["arn"]}
    work = statements(recording, "gpu-node-policy")
    assert work["PutMetrics"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": names.NAMESPACE_GPU}
    }
    assert work["LeaveSecrets"]["Effect"] == "Deny"
    assert set(work) == {
        "LeaveSecrets",
        "ReadParameter",
        "ReadReplies",
        "WriteReplies",
        "SeeMissing",
        "PutMetrics",
    }


def test_no_policy_has_a_wildcard_action_and_a_wildcard_resource_only_where_aws_knows_no_other(
    recording: Recording,
) -> None:
    unavoidable = {
        "SendTraces",
        "AttachToVpc",
        "DescribeNodes",
        "ExploreCosts",
        "PutMetrics",
        "ReadMetrics",
        "FindBuckets",
    }
    for policy in recording.of_type(POLICY):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            assert not [action for action in statement["Action"] if "*" in action], policy.name
            assert statement["Resource"] != "*" or statement["Sid"] in unavoidable, (
                policy.name,
                statement["Sid"],
            )


def test_api_gateway_reads_replies_and_nothing_else(recording: Recording) -> None:
    bucket = f"arn:aws:s3:::{recording.outputs['replies_bucket']}"
    granted = statements(recording, "gateway-replies-policy")
    assert {(s["Action"][0], s["Resource"]) for s in granted.values()} == {
        ("s3:GetObject", f"{bucket}/replies/*"),
        ("s3:ListBucket", bucket),
    }


def test_statements_leave_out_an_empty_condition() -> None:
    assert "Condition" not in iam.allow("Read", ["s3:GetObject"], "x")
    assert "Condition" not in iam.trust("ec2.amazonaws.com")
