"""IAM policy documents as plain data: pure functions, so that who may do what is read and tested in
one file.

Values may be Pulumi outputs; `text` turns statements into the document that AWS wants.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.naming import stack_name
from tlfif.money.documents import MONEY
from tlfif.names import (
    AMI_PARAMETER,
    ENV_TAG,
    ENV_VALUE,
    IMAGE_TAG,
    INCOMING,
    LATCH_TAG,
    MODELS,
    REPLIES,
    SECRETS,
    SOFTWARE,
    STACK_TAG,
    image_pipeline,
)

Text = pulumi.Input[str]
Statement = Mapping[str, Any]


def document(*statements: Statement) -> dict[str, Any]:
    """A policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def text(*statements: Statement) -> pulumi.Output[str]:
    """A policy document of these statements, as JSON."""
    return pulumi.Output.json_dumps(document(*statements))


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Text | Sequence[Text],
    condition: Mapping[str, Any] | None = None,
) -> Statement:
    """One Allow statement."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def deny(sid: str, actions: Sequence[str], resources: Text | Sequence[Text]) -> Statement:
    """One Deny statement: it counts before whatever else the role is allowed."""
    return {"Sid": sid, "Effect": "Deny", "Action": list(actions), "Resource": resources}


def trust(service: str, condition: Mapping[str, Any] | None = None) -> Statement:
    """Who may take a role: one AWS service."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {**statement, "Condition": condition} if condition else statement


# --- what every function may do


def write_own_logs(log_group_arn: Text) -> Statement:
    return allow(
        "WriteOwnLogs",
        ["logs:CreateLogStream", "logs:PutLogEvents"],
        pulumi.Output.concat(log_group_arn, ":*"),
    )


def send_traces() -> Statement:
    """`*`: X-Ray's write actions have no resource level."""
    return allow("SendTraces", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")


def attach_to_vpc() -> Statement:
    """`*`: Lambda makes its network interfaces with the function's role before they have a name to
    grant.
    """
    return allow(
        "AttachToVpc",
        [
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
        "*",
    )


# --- the nodes


def describe_nodes() -> Statement:
    """`*`: DescribeInstances has no resource level; it reads, and the caller filters by tag."""
    return allow("DescribeNodes", ["ec2:DescribeInstances"], "*")


def _node_tags(stack: str) -> dict[str, str]:
    return {f"aws:ResourceTag/{ENV_TAG}": ENV_VALUE, f"aws:ResourceTag/{STACK_TAG}": stack}


def start_nodes(region: str, account_id: str, stack: str) -> Statement:
    """Start this stack's nodes, unless the budget's latch is on them."""
    return allow(
        "StartNodes",
        ["ec2:StartInstances"],
        f"arn:aws:ec2:{region}:{account_id}:instance/*",
        {"StringEquals": _node_tags(stack), "Null": {f"aws:ResourceTag/{LATCH_TAG}": "true"}},
    )


def stop_nodes(region: str, account_id: str, stack: str) -> Statement:
    return allow(
        "StopNodes",
        ["ec2:StopInstances"],
        f"arn:aws:ec2:{region}:{account_id}:instance/*",
        {"StringEquals": _node_tags(stack)},
    )


def stop_self(instance_arn: Text, stack: str) -> Statement:
    """A node may stop itself and no other: the call must come from the instance it names."""
    return allow(
        "StopSelf",
        ["ec2:StopInstances"],
        instance_arn,
        {"ArnEquals": {"ec2:SourceInstanceARN": instance_arn}, "StringEquals": _node_tags(stack)},
    )


def latch_nodes(region: str, account_id: str, stack: str, *, lift: bool) -> Statement:
    """Put the budget's latch on this stack's nodes, and take it off where it is to `lift` it: that
    tag, and no other.
    """
    return allow(
        "LatchNodes",
        ["ec2:CreateTags", *(["ec2:DeleteTags"] if lift else [])],
        f"arn:aws:ec2:{region}:{account_id}:instance/*",
        {
            "StringEquals": _node_tags(stack),
            "ForAllValues:StringEquals": {"aws:TagKeys": [LATCH_TAG]},
            # ForAllValues holds where there is no such key, too.
            "Null": {"aws:TagKeys": "false"},
        },
    )


def read_parameter(parameter_arn: Text) -> Statement:
    return allow("ReadParameter", ["ssm:GetParameter"], parameter_arn)


def leave_secrets() -> Statement:
    """For who has AWS's own AmazonSSMManagedInstanceCore, which lets it read every parameter: not
    the pipeline's secrets, of whatever stack and by whatever call.
    """
    return deny(
        "LeaveSecrets",
        [
            "ssm:GetParameter",
            "ssm:GetParameterHistory",
            "ssm:GetParameters",
            "ssm:GetParametersByPath",
        ],
        f"arn:aws:ssm:*:*:parameter{SECRETS}*",
    )


def put_metrics(namespace: str) -> Statement:
    """`*`: PutMetricData has no resource level; the condition holds it to one namespace."""
    return allow(
        "PutMetrics",
        ["cloudwatch:PutMetricData"],
        "*",
        {"StringEquals": {"cloudwatch:namespace": namespace}},
    )


# --- replies


def _all_replies(bucket_arn: Text) -> pulumi.Output[str]:
    return pulumi.Output.concat(bucket_arn, f"/{REPLIES}/*")


def read_replies(bucket_arn: Text) -> Statement:
    return allow("ReadReplies", ["s3:GetObject"], _all_replies(bucket_arn))


def write_replies(bucket_arn: Text) -> Statement:
    return allow("WriteReplies", ["s3:PutObject"], _all_replies(bucket_arn))


def see_missing(bucket_arn: Text) -> Statement:
    """Without ListBucket S3 answers 403 for a key that is not there: a missing reply, or missing
    weights, would look like a fault.

    No s3:prefix condition: a GetObject request carries no such key, so the condition would never
    hold.
    """
    return allow("SeeMissing", ["s3:ListBucket"], bucket_arn)


# --- money


def read_money(bucket_arn: Text) -> Statement:
    """What the guards tell each other."""
    return allow("ReadMoney", ["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{MONEY}/*"))


def write_money(bucket_arn: Text, *keys: str) -> Statement:
    """The documents whose one writer it is."""
    written = [pulumi.Output.concat(bucket_arn, f"/{key}") for key in keys]
    return allow("WriteMoney", ["s3:PutObject"], written)


def ask_for_stop(topic_arn: Text) -> Statement:
    """Have the nodes stopped, by whoever hears of it at this topic."""
    return allow("AskForStop", ["sns:Publish"], topic_arn)


def read_budget(account_id: str, name: Text) -> Statement:
    budget = pulumi.Output.concat(f"arn:aws:budgets::{account_id}:budget/", name)
    return allow("ReadBudget", ["budgets:ViewBudget"], budget)


def explore_costs() -> Statement:
    """`*`: GetCostAndUsage reads the whole account's costs; its filter narrows the answer."""
    return allow("ExploreCosts", ["ce:GetCostAndUsage"], "*")


def read_metrics() -> Statement:
    """`*`: GetMetricStatistics has no resource level."""
    return allow("ReadMetrics", ["cloudwatch:GetMetricStatistics"], "*")


def throttle_stage(stage_arn: Text) -> Statement:
    """See the stage and change its settings; no route, no deployment, no other API."""
    return allow("ThrottleStage", ["apigateway:GET", "apigateway:PATCH"], stage_arn)


# --- weights


def read_models(bucket_arn: Text) -> Statement:
    return allow("ReadModels", ["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{MODELS}/*"))


def bring_models(bucket_arn: Text) -> tuple[Statement, ...]:
    """Upload weights in parts, check what has arrived, and copy it to its name: none of the
    replies, and no way to change or delete weights but by others that have their name.
    """
    incoming, models = (
        pulumi.Output.concat(bucket_arn, f"/{prefix}/*") for prefix in (INCOMING, MODELS)
    )
    return (
        allow(
            "CheckArrived",
            ["s3:GetObject", "s3:DeleteObject", "s3:ListMultipartUploadParts"],
            incoming,
        ),
        allow("WriteModels", ["s3:PutObject", "s3:AbortMultipartUpload"], [incoming, models]),
        allow("FindUploads", ["s3:ListBucketMultipartUploads"], bucket_arn),
        read_models(bucket_arn),
        see_missing(bucket_arn),
    )


# --- the image of the nodes


def read_software(bucket_arn: Text) -> Statement:
    """What of ours an image is baked with."""
    return allow(
        "ReadSoftware", ["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{SOFTWARE}/*")
    )


def bake_images(region: str, account_id: str, stack: str) -> tuple[Statement, ...]:
    """What `make bake` calls: it starts bakes of this stack, publishes what comes of them, and
    removes images whose names begin as the stack's, and snapshots that Image Builder made:
    `make bake` itself asks for the stack's own alone.
    """
    builder = f"arn:aws:imagebuilder:{region}:{account_id}"
    parameters = f"arn:aws:ssm:{region}:{account_id}:parameter"
    folder = AMI_PARAMETER.rpartition("/")[0]
    published = stack_name(AMI_PARAMETER, stack)
    return (
        allow(
            "StartBakes",
            [
                "imagebuilder:GetImagePipeline",
                "imagebuilder:ListImagePipelineImages",
                "imagebuilder:StartImagePipelineExecution",
            ],
            f"{builder}:image-pipeline/{image_pipeline(stack)}",
        ),
        allow(
            "WatchBakes",
            [
                "imagebuilder:DeleteImage",
                "imagebuilder:GetImage",
                "imagebuilder:ListWorkflowExecutions",
            ],
            f"{builder}:image/tl-fif-{stack}-*",
        ),
        allow(
            "TimeBakes",
            ["imagebuilder:ListWorkflowStepExecutions"],
            f"{builder}:workflow-execution/*",
        ),
        allow("PublishImages", ["ssm:GetParameter", "ssm:PutParameter"], parameters + published),
        allow("FindPublished", ["ssm:GetParametersByPath"], parameters + folder),
        _find_images(),
        allow(
            "RemoveImages",
            ["ec2:DeregisterImage"],
            f"arn:aws:ec2:{region}::image/*",
            {"StringEquals": {f"aws:ResourceTag/{IMAGE_TAG}": stack}},
        ),
        allow(
            "RemoveTheirSnapshots",
            ["ec2:DeleteSnapshot"],
            f"arn:aws:ec2:{region}::snapshot/*",
            # Image Builder's own tag: it gives snapshots none of ours.
            {"StringEquals": {"aws:ResourceTag/CreatedBy": "EC2 Image Builder"}},
        ),
    )


def _find_images() -> Statement:
    """`*`: neither action has a resource level; they read, and SSM looks an image up with them."""
    return allow("FindImages", ["ec2:DescribeImages", "ec2:DescribeInstances"], "*")


# --- the instant lane


def call_lane(function_arn: Text) -> Statement:
    return allow("CallLane", ["lambda:InvokeFunction"], function_arn)


# --- the canary


def keep_canary_findings(bucket_arn: Text, prefix: str) -> tuple[Statement, ...]:
    """What Synthetics' own runner does: write findings, and see where the bucket is."""
    return (
        allow("WriteFindings", ["s3:PutObject"], pulumi.Output.concat(bucket_arn, f"/{prefix}/*")),
        allow("LocateBucket", ["s3:GetBucketLocation"], bucket_arn),
        _find_buckets(),
        _write_canary_logs(),
    )


def _find_buckets() -> Statement:
    """`*`: ListAllMyBuckets has no resource level; Synthetics' runner asks for it."""
    return allow("FindBuckets", ["s3:ListAllMyBuckets"], "*")


def _write_canary_logs() -> Statement:
    """The group is made by Synthetics, with a name that begins like this."""
    return allow(
        "WriteCanaryLogs",
        ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
        "arn:aws:logs:*:*:log-group:/aws/lambda/cwsyn-*",
    )
