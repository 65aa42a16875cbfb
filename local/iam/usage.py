"""Permissions proved by running: the AWS calls each role made, held against the policies that the
program gives it.

Only exact actions are accepted of a role's policy: what a wildcard grants cannot be compared with
what was used. AWS's own policies are apart (local/iam/managed.py): nobody here uses their rights.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from local.aws.records import Call
from local.iam.policy import Context, PolicyError, Statement
from recording import kinds
from recording.model import ACCOUNT_ID, Recording

_ROLE = kinds.iam.ROLE.token
_ROLE_POLICY = kinds.iam.ROLE_POLICY.token

# What AWS's own services do with a role, which therefore no call of ours can show: action to who
# does it.
PLATFORM = {
    "logs:CreateLogStream": "Lambda, for each execution environment",
    "logs:PutLogEvents": "Lambda, from what functions print",
    "xray:PutTraceSegments": "Lambda, when a call is traced",
    "xray:PutTelemetryRecords": "Lambda, when a call is traced",
    "ec2:CreateNetworkInterface": "Lambda, to put a function into the VPC",
    "ec2:DeleteNetworkInterface": "Lambda, when the function is gone",
    "ec2:DescribeNetworkInterfaces": "Lambda, while it waits for its interface",
    "ec2:DescribeSubnets": "Lambda, before it makes an interface",
    "ec2:AssignPrivateIpAddresses": "Lambda, to share one interface among functions",
    "ec2:UnassignPrivateIpAddresses": "Lambda, to share one interface among functions",
}


# --- what is asked


@dataclass(frozen=True, kw_only=True)
class AccessRequest:
    """What IAM decides on: one action on one resource, with the condition keys of that moment."""

    action: str
    resource: str
    context: Context

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} {dict(self.context)}"


def requests(call: Call, region: str = "us-east-1") -> list[AccessRequest]:
    """What one API call asks of IAM.

    Raises PolicyError for an action whose resources are not known here.
    """
    if call.action not in _RESOURCES:
        raise PolicyError(
            f"{call.action}: local/iam/usage.py does not know its resources"
            f" (called by {call.role_arn})"
        )
    resources = _RESOURCES[call.action](call, region)
    found = [_request(call, call.action, arn, context) for arn, context in resources]
    # S3 says 404 only to who may list the bucket; to others a missing key is a 403.
    if call.action == "s3:GetObject" and call.status == 404:
        found.append(_request(call, "s3:ListBucket", _bucket(call), {}))
    # A copy reads what it copies.
    if source := call.params.get("CopySource"):
        found.append(_request(call, "s3:GetObject", f"arn:aws:s3:::{_source(source)}", {}))
    return found


def _source(told: Any) -> str:
    """The bucket and key of a copy's source: a text on the wire."""
    return unquote(str(told)).lstrip("/").partition("?")[0]


def _request(call: Call, action: str, resource: str, context: Context) -> AccessRequest:
    """With the condition keys of the caller, all in lower case."""
    caller = {"ec2:SourceInstanceARN": call.instance_arn} if call.instance_arn else {}
    keys = {key.lower(): value for key, value in {**caller, **context}.items()}
    return AccessRequest(action=action, resource=resource, context=keys)


Resources = list[tuple[str, Context]]


def _anything(call: Call, region: str) -> Resources:
    """Actions without a resource level: only `*` grants them."""
    return [("*", {})]


def _metrics(call: Call, region: str) -> Resources:
    return [("*", {"cloudwatch:namespace": call.params["Namespace"]})]


def _instances(call: Call, region: str) -> Resources:
    return [_instance(call, region, each) for each in call.params["InstanceIds"]]


def _instance(call: Call, region: str, instance_id: str) -> tuple[str, Context]:
    tags = call.resource_tags.get(instance_id, {})
    arn = f"arn:aws:ec2:{region}:{ACCOUNT_ID}:instance/{instance_id}"
    return arn, {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def _image(call: Call, region: str) -> Resources:
    """The image. Which snapshots go with it no call says, so of these nothing is asked here."""
    image_id = call.params["ImageId"]
    tags = call.resource_tags.get(image_id, {})
    arn = f"arn:aws:ec2:{region}::image/{image_id}"
    return [(arn, {f"aws:ResourceTag/{key}": value for key, value in tags.items()})]


def _tagged(call: Call, region: str) -> Resources:
    """Instances that are being tagged: the keys in the request count too."""
    keys = tuple(tag["Key"] for tag in call.params["Tags"])
    found = [_instance(call, region, each) for each in call.params["Resources"]]
    return [(arn, {**context, "aws:TagKeys": keys}) for arn, context in found]


def _bucket(call: Call) -> str:
    return f"arn:aws:s3:::{call.params['Bucket']}"


def _listed_bucket(call: Call, region: str) -> Resources:
    return [(_bucket(call), {})]


def _objects(call: Call, region: str) -> Resources:
    return [(f"{_bucket(call)}/{call.params['Key']}", {})]


def _named(parameter: str) -> Callable[[Call, str], Resources]:
    """Actions whose resource's ARN is a parameter."""
    return lambda call, region: [(call.params[parameter], {})]


def _function(call: Call, region: str) -> Resources:
    """Functions are called by name or by ARN; IAM decides on the ARN, and on a version's or an
    alias's, where one is named.
    """
    name = call.params["FunctionName"].rpartition(":function:")[2]
    if qualifier := call.params.get("Qualifier"):
        name = f"{name.partition(':')[0]}:{qualifier}"
    return [(f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}", {})]


def _parameter(call: Call, region: str) -> Resources:
    name = call.params["Name"].removeprefix("/")
    return [(f"arn:aws:ssm:{region}:{ACCOUNT_ID}:parameter/{name}", {})]


def _parameters_below(call: Call, region: str) -> Resources:
    path = call.params["Path"].strip("/")
    return [(f"arn:aws:ssm:{region}:{ACCOUNT_ID}:parameter/{path}", {})]


def _alarms(call: Call, region: str) -> Resources:
    arn = f"arn:aws:cloudwatch:{region}:{ACCOUNT_ID}:alarm:"
    return [(f"{arn}{name}", {}) for name in call.params.get("AlarmNames") or ("*",)]


def _workflow(call: Call, region: str) -> Resources:
    arn = f"arn:aws:imagebuilder:{region}:{ACCOUNT_ID}:workflow-execution"
    return [(f"{arn}/{call.params['workflowExecutionId']}", {})]


def _nobodys(call: Call, region: str) -> Resources:
    """What everybody may ask."""
    return []


def _stage(call: Call, region: str) -> Resources:
    api, stage = call.params["restApiId"], call.params["stageName"]
    return [(f"arn:aws:apigateway:{region}::/restapis/{api}/stages/{stage}", {})]


def _budget(call: Call, region: str) -> Resources:
    return [(f"arn:aws:budgets::{ACCOUNT_ID}:budget/{call.params['BudgetName']}", {})]


# Of a function itself, whatever version or alias they are about.
_OF_FUNCTION = (
    "GetAlias",
    "ListAliases",
    "ListVersionsByFunction",
    "PublishVersion",
    "UpdateAlias",
    "UpdateFunctionCode",
)
_OF_VERSION = ("DeleteFunction", "GetFunctionConfiguration", "InvokeFunction")
_OF_PIPELINE = ("GetImagePipeline", "ListImagePipelineImages", "StartImagePipelineExecution")
_OF_IMAGE = ("DeleteImage", "GetImage", "ListWorkflowExecutions")

_RESOURCES: dict[str, Callable[[Call, str], Resources]] = {
    **{f"lambda:{name}": _function for name in (*_OF_FUNCTION, *_OF_VERSION)},
    **{f"imagebuilder:{name}": _named("imagePipelineArn") for name in _OF_PIPELINE},
    **{f"imagebuilder:{name}": _named("imageBuildVersionArn") for name in _OF_IMAGE},
    "apigateway:GET": _stage,
    "apigateway:PATCH": _stage,
    "budgets:ViewBudget": _budget,
    "ce:GetCostAndUsage": _anything,
    "cloudwatch:DescribeAlarms": _alarms,
    "cloudwatch:GetMetricData": _anything,
    "cloudwatch:GetMetricStatistics": _anything,
    "cloudwatch:PutMetricData": _metrics,
    "ec2:CreateTags": _tagged,
    "ec2:DeleteTags": _tagged,
    "ec2:DeregisterImage": _image,
    "ec2:DescribeImages": _anything,
    "ec2:DescribeInstances": _anything,
    "ec2:DescribeInstanceStatus": _anything,
    "ec2:StartInstances": _instances,
    "ec2:StopInstances": _instances,
    "imagebuilder:ListWorkflowStepExecutions": _workflow,
    "s3:AbortMultipartUpload": _objects,
    "s3:DeleteObject": _objects,
    "s3:GetObject": _objects,
    "s3:ListBucket": _listed_bucket,
    "s3:ListBucketMultipartUploads": _listed_bucket,
    "s3:ListMultipartUploadParts": _objects,
    "s3:PutObject": _objects,
    "sns:Publish": _named("TopicArn"),
    "ssm:GetParameter": _parameter,
    "ssm:GetParametersByPath": _parameters_below,
    "ssm:PutParameter": _parameter,
    "sts:GetCallerIdentity": _nobodys,
    "xray:BatchGetTraces": _anything,
    "xray:GetTraceSummaries": _anything,
}


# --- what is granted


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One statement of one role's policy; `policy` is the resource's name."""

    role_arn: str
    policy: str
    statement: Statement

    def __str__(self) -> str:
        return f"{self.policy}/{self.statement.sid}"

    def allows(self, request: AccessRequest) -> bool:
        """Whether the statement is an Allow that covers the request."""
        return self.statement.effect == "Allow" and self._covers(request)

    def denies(self, request: AccessRequest) -> bool:
        """Whether the statement is a Deny that covers the request: no Allow counts then."""
        return self.statement.effect == "Deny" and self._covers(request)

    def _covers(self, request: AccessRequest) -> bool:
        return self.statement.applies(request.action, request.resource, request.context)


def allowing(request: AccessRequest, given: Iterable[Grant]) -> Grant | None:
    """The first of one role's statements that allows the request, unless one denies it."""
    known = list(given)
    if any(grant.denies(request) for grant in known):
        return None
    return next((grant for grant in known if grant.allows(request)), None)


def grants(recording: Recording) -> list[Grant]:
    """Every statement of every role's own policies.

    Raises PolicyError for what is neither a plain Allow nor a Deny without conditions.
    """
    arns = {role.outputs["name"]: role.outputs["arn"] for role in recording.of_type(_ROLE)}
    return [
        _grant(arns[policy.inputs["role"]], policy.name, statement)
        for policy in recording.of_type(_ROLE_POLICY)
        for statement in json.loads(policy.inputs["policy"])["Statement"]
    ]


def _grant(role_arn: str, policy: str, raw: Mapping[str, Any]) -> Grant:
    place = f"{policy}/{raw.get('Sid')}"
    try:
        statement = Statement.parse(raw)
    except PolicyError as error:
        raise PolicyError(f"{place}: not understood: {error}") from error
    inexact = any("*" in action or "?" in action for action in statement.actions)
    conditional = statement.effect == "Deny" and statement.conditions
    if statement.has_principal or inexact or conditional:
        raise PolicyError(
            f"{place}: only exact actions, and a Deny without conditions, are understood: {raw}"
        )
    return Grant(role_arn=role_arn, policy=policy, statement=statement)


# --- the findings


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is wrong: calls that no policy allows, and granted actions (`policy/statement: action`)
    never used; and those that were.
    """

    refused: list[str]
    unused: list[str]
    used: list[str] = field(default_factory=list)


def judge(given: Iterable[Grant], calls: Iterable[Call]) -> Findings:
    """Holds the roles' calls against what they are granted; calls of others (operator, unsigned) do
    not count.
    """
    known = list(given)
    roles = {grant.role_arn for grant in known}
    used: set[tuple[str, str]] = set()
    refused: set[str] = set()
    for call in calls:
        for request in requests(call) if call.role_arn in roles else ():
            grant = allowing(request, (each for each in known if each.role_arn == call.role_arn))
            if grant is None:
                refused.add(f"{call.role_arn}: {request}")
            else:
                used.add((str(grant), request.action))
    return Findings(
        refused=sorted(refused),
        unused=sorted(_unused(known, used)),
        used=sorted(f"{grant}: {action}" for grant, action in used),
    )


def _unused(given: list[Grant], used: set[tuple[str, str]]) -> Iterable[str]:
    for grant in (each for each in given if each.statement.effect == "Allow"):
        for action in set(grant.statement.actions) - PLATFORM.keys():
            if (str(grant), action) not in used:
                yield f"{grant}: {action}"
