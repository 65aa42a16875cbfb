"""Permissions proved by running: the AWS calls each role made, held against the policies that the
program gives it.

Only what our policies use is understood: Allow, exact actions, `*` in resources, and the operators
below. Anything else is an error, because a rule that is not understood proves nothing.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from local.aws.records import Call
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


class PolicyError(ValueError):
    """A policy or a call that the evaluator does not understand; the message names it."""


# --- what is granted


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One Allow statement of one role."""

    role_arn: str
    policy: str
    sid: str
    actions: frozenset[str]
    resources: tuple[str, ...]
    condition: Mapping[str, Mapping[str, Any]]

    def __str__(self) -> str:
        return f"{self.policy}/{self.sid}"


def grants(recording: Recording) -> list[Grant]:
    """Every statement of every role's own policies.

    Raises PolicyError for what is not a plain Allow.
    """
    arns = {role.outputs["name"]: role.outputs["arn"] for role in recording.of_type(_ROLE)}
    return [
        _grant(arns[policy.inputs["role"]], policy.name, statement)
        for policy in recording.of_type(_ROLE_POLICY)
        for statement in json.loads(policy.inputs["policy"])["Statement"]
    ]


def _grant(role_arn: str, policy: str, statement: Mapping[str, Any]) -> Grant:
    unknown = statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
    actions = _listed(statement["Action"])
    if unknown or statement["Effect"] != "Allow" or any("*" in action for action in actions):
        raise PolicyError(
            f"{policy}/{statement.get('Sid')}: only Allow of exact actions is understood: {statement}"
        )
    condition = statement.get("Condition", {})
    if strange := condition.keys() - _OPERATORS.keys():
        raise PolicyError(
            f"{policy}/{statement.get('Sid')}: condition operators not understood: {sorted(strange)}"
        )
    return Grant(
        role_arn=role_arn,
        policy=policy,
        sid=statement.get("Sid", ""),
        actions=frozenset(actions),
        resources=tuple(_listed(statement["Resource"])),
        condition=condition,
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- what is asked


@dataclass(frozen=True, kw_only=True)
class Request:
    """What IAM decides on: one action on one resource, with the condition keys of that moment."""

    action: str
    resource: str
    context: Mapping[str, str]


def requests(call: Call, region: str = "us-east-1") -> list[Request]:
    """What one API call asks of IAM; PolicyError for an action whose resources are not known here."""
    if call.action not in _RESOURCES:
        raise PolicyError(
            f"{call.action}: local/iam/usage.py does not know its resources (called by {call.role_arn})"
        )
    found = [
        Request(action=call.action, resource=arn, context={**_caller(call), **context})
        for arn, context in _RESOURCES[call.action](call, region)
    ]
    # S3 says 404 only to who may list the bucket; to others a missing key is a 403.
    if call.action == "s3:GetObject" and call.status == 404:
        found += [Request(action="s3:ListBucket", resource=_bucket(call), context=_caller(call))]
    return found


def _caller(call: Call) -> dict[str, str]:
    return {"ec2:SourceInstanceARN": call.instance_arn} if call.instance_arn else {}


Resources = list[tuple[str, dict[str, str]]]


def _anything(call: Call, region: str) -> Resources:
    """Actions without a resource level: only `*` grants them."""
    return [("*", {})]


def _metrics(call: Call, region: str) -> Resources:
    return [("*", {"cloudwatch:namespace": call.params["Namespace"]})]


def _instances(call: Call, region: str) -> Resources:
    return [
        (
            f"arn:aws:ec2:{region}:{ACCOUNT_ID}:instance/{each}",
            {
                f"aws:ResourceTag/{key}": value
                for key, value in call.resource_tags.get(each, {}).items()
            },
        )
        for each in call.params["InstanceIds"]
    ]


def _tagged(call: Call, region: str) -> Resources:
    """Instances that are being tagged: the keys in the request count too."""
    keys = {"aws:TagKeys": ",".join(tag["Key"] for tag in call.params["Tags"])}
    params = {**call.params, "InstanceIds": call.params["Resources"]}
    found = _instances(_with_params(call, params), region)
    return [(arn, {**context, **keys}) for arn, context in found]


def _with_params(call: Call, params: Mapping[str, Any]) -> Call:
    return replace(call, params=params)


def _bucket(call: Call) -> str:
    return f"arn:aws:s3:::{call.params['Bucket']}"


def _objects(call: Call, region: str) -> Resources:
    return [(f"{_bucket(call)}/{call.params['Key']}", {})]


def _named(parameter: str) -> Callable[[Call, str], Resources]:
    """Actions whose resource's ARN is a parameter."""
    return lambda call, region: [(call.params[parameter], {})]


_RESOURCES: dict[str, Callable[[Call, str], Resources]] = {
    "ce:GetCostAndUsage": _anything,
    "cloudwatch:PutMetricData": _metrics,
    "ec2:CreateTags": _tagged,
    "ec2:DescribeInstances": _anything,
    "ec2:DescribeInstanceStatus": _anything,
    "ec2:StartInstances": _instances,
    "ec2:StopInstances": _instances,
    "lambda:InvokeFunction": _named("FunctionName"),
    "s3:DeleteObject": _objects,
    "s3:GetObject": _objects,
    "s3:ListBucket": lambda call, region: [(_bucket(call), {})],
    "s3:PutObject": _objects,
    "sns:Publish": _named("TopicArn"),
}


# --- whether it is granted


def allowing(request: Request, given: Iterable[Grant]) -> Grant | None:
    """The first grant that allows the request."""
    return next((grant for grant in given if _allows(grant, request)), None)


def _allows(grant: Grant, request: Request) -> bool:
    return (
        request.action in grant.actions
        and any(_matches(pattern, request.resource) for pattern in grant.resources)
        and all(
            _OPERATORS[operator](_listed(wanted), request.context.get(key))
            for operator, keys in grant.condition.items()
            for key, wanted in keys.items()
        )
    )


def _matches(pattern: str, value: str) -> bool:
    """`*` stands for any text, as IAM has it in resources."""
    return (
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), value) is not None
    )


def _equals(wanted: list[str], value: str | None) -> bool:
    return value in wanted


def _arn_equals(wanted: list[str], value: str | None) -> bool:
    return value is not None and any(_matches(pattern, value) for pattern in wanted)


def _null(wanted: list[str], value: str | None) -> bool:
    """`Null: {key: "true"}` holds when the key is absent."""
    return wanted == [str(value is None).lower()]


def _all_equal(wanted: list[str], value: str | None) -> bool:
    """Every one of several values; none is fine too, as IAM has it."""
    return set(value.split(",") if value else ()) <= set(wanted)


_OPERATORS: dict[str, Callable[[list[str], str | None], bool]] = {
    "ArnEquals": _arn_equals,
    "ForAllValues:StringEquals": _all_equal,
    "Null": _null,
    "StringEquals": _equals,
}


# --- the verdict


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is wrong: calls that no policy allows, and granted actions (`policy/statement: action`)
    never used.
    """

    refused: list[str]
    unused: list[str]


def judge(given: Iterable[Grant], calls: Iterable[Call]) -> Verdict:
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
                refused.add(
                    f"{call.role_arn}: {request.action} on {request.resource} {dict(request.context)}"
                )
            else:
                used.add((str(grant), request.action))
    return Verdict(refused=sorted(refused), unused=sorted(_unused(known, used)))


def _unused(given: list[Grant], used: set[tuple[str, str]]) -> Iterable[str]:
    for grant in given:
        for action in grant.actions - PLATFORM.keys():
            if (str(grant), action) not in used:
                yield f"{grant}: {action}"
