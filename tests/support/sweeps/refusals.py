"""What AWS refuses for its length, characters, range or enumeration.

The limits are those of the API's models, as botocore has them, and what only the reference says.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from support.sweeps.rule import sweep, takes

from components.billed import BUCKET, CANARY, CERTIFICATE, FUNCTION, INSTANCE, LOG_GROUP
from recording import kinds
from recording.kinds import kind_of
from recording.model import Recording, Resource

# The request that makes a resource of each type; those not here have nothing but references.
REQUESTS: dict[str, tuple[str, str]] = {
    BUCKET: ("s3", "CreateBucket"),
    CANARY: ("synthetics", "CreateCanary"),
    CERTIFICATE: ("acm", "RequestCertificate"),
    FUNCTION: ("lambda", "CreateFunction"),
    INSTANCE: ("ec2", "RunInstances"),
    LOG_GROUP: ("logs", "CreateLogGroup"),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": (
        "lambda",
        "PutFunctionEventInvokeConfig",
    ),
    kinds.apigateway.DEPLOYMENT.token: ("apigateway", "CreateDeployment"),
    kinds.apigateway.REST_API.token: ("apigateway", "CreateRestApi"),
    kinds.apigateway.STAGE.token: ("apigateway", "CreateStage"),
    kinds.cognito.USER_POOL.token: ("cognito-idp", "CreateUserPool"),
    kinds.cognito.USER_POOL_CLIENT.token: ("cognito-idp", "CreateUserPoolClient"),
    kinds.delivery.PIPELINE.token: ("codepipeline", "CreatePipeline"),
    kinds.delivery.PROJECT.token: ("codebuild", "CreateProject"),
    kinds.ec2.EGRESS_RULE.token: ("ec2", "AuthorizeSecurityGroupEgress"),
    kinds.ec2.INGRESS_RULE.token: ("ec2", "AuthorizeSecurityGroupIngress"),
    kinds.ec2.SECURITY_GROUP.token: ("ec2", "CreateSecurityGroup"),
    kinds.ec2.VPC_ENDPOINT.token: ("ec2", "CreateVpcEndpoint"),
    kinds.elasticache.PARAMETER_GROUP.token: ("elasticache", "CreateCacheParameterGroup"),
    kinds.elasticache.REPLICATION_GROUP.token: ("elasticache", "CreateReplicationGroup"),
    kinds.elasticache.SUBNET_GROUP.token: ("elasticache", "CreateCacheSubnetGroup"),
    kinds.iam.INSTANCE_PROFILE.token: ("iam", "CreateInstanceProfile"),
    kinds.iam.ROLE.token: ("iam", "CreateRole"),
    kinds.iam.ROLE_POLICY.token: ("iam", "PutRolePolicy"),
    kinds.iam.ROLE_POLICY_ATTACHMENT.token: ("iam", "AttachRolePolicy"),
    kinds.imagebuilder.COMPONENT.token: ("imagebuilder", "CreateComponent"),
    kinds.imagebuilder.DISTRIBUTION.token: ("imagebuilder", "CreateDistributionConfiguration"),
    kinds.imagebuilder.INFRASTRUCTURE.token: ("imagebuilder", "CreateInfrastructureConfiguration"),
    kinds.imagebuilder.PIPELINE.token: ("imagebuilder", "CreateImagePipeline"),
    kinds.imagebuilder.RECIPE.token: ("imagebuilder", "CreateImageRecipe"),
    kinds.lambda_.ALIAS.token: ("lambda", "CreateAlias"),
    kinds.lambda_.PERMISSION.token: ("lambda", "AddPermission"),
    kinds.lb.LISTENER.token: ("elbv2", "CreateListener"),
    kinds.lb.LOAD_BALANCER.token: ("elbv2", "CreateLoadBalancer"),
    kinds.lb.TARGET_GROUP.token: ("elbv2", "CreateTargetGroup"),
    kinds.monitoring.BUDGET.token: ("budgets", "CreateBudget"),
    kinds.monitoring.EVENT_RULE.token: ("events", "PutRule"),
    kinds.monitoring.EVENT_TARGET.token: ("events", "PutTargets"),
    kinds.monitoring.METRIC_ALARM.token: ("cloudwatch", "PutMetricAlarm"),
    kinds.monitoring.QUERY_DEFINITION.token: ("logs", "PutQueryDefinition"),
    kinds.monitoring.TOPIC.token: ("sns", "CreateTopic"),
    kinds.monitoring.TOPIC_SUBSCRIPTION.token: ("sns", "Subscribe"),
    kinds.s3.BUCKET_ENCRYPTION.token: ("s3", "PutBucketEncryption"),
    kinds.s3.BUCKET_LIFECYCLE.token: ("s3", "PutBucketLifecycleConfiguration"),
    kinds.ssm.PARAMETER.token: ("ssm", "PutParameter"),
}
# Properties whose name in the API is more than case, plural and a prefix.
RENAMED = {
    "assumeRolePolicy": "AssumeRolePolicyDocument",
    "failureRetentionPeriod": "FailureRetentionPeriodInDays",
    "policy": "PolicyDocument",
    "role": "RoleName",
    "successRetentionPeriod": "SuccessRetentionPeriodInDays",
}
_DESCRIPTION = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}"
_EC2_DESCRIPTION = "EC2's reference, AuthorizeSecurityGroupIngress"
_EVENTS = "EventBridge's user guide, schedule expressions"
_LOGS = "CloudWatch Logs' reference, PutRetentionPolicy"
_SYNTHETICS = "Synthetics' reference, CanaryScheduleInput"
# Types, a property and what the whole of it matches, where only AWS's reference says so.
REFERENCE: list[tuple[str, str, str, str]] = [
    (kinds.ec2.SECURITY_GROUP.token, "description", _DESCRIPTION, _EC2_DESCRIPTION),
    (kinds.ec2.EGRESS_RULE.token, "description", _DESCRIPTION, _EC2_DESCRIPTION),
    (kinds.ec2.INGRESS_RULE.token, "description", _DESCRIPTION, _EC2_DESCRIPTION),
    (
        CANARY,
        "schedule.expression",
        r"rate\((1 minute|([2-9]|[1-5]\d|60) minutes|1 hour)\)|cron\((\S+ ){5}\S+\)",
        _SYNTHETICS,
    ),
    (
        kinds.monitoring.EVENT_RULE.token,
        "scheduleExpression",
        r"rate\((1 (minute|hour|day)|(?!0|1 )\d+ (minutes|hours|days))\)|cron\(.+\)",
        _EVENTS,
    ),
    (
        LOG_GROUP,
        "retentionInDays",
        "1|3|5|7|14|30|60|90|120|150|180|365|400|545|731|1096|1827|2192|2557|2922|3288|3653",
        _LOGS,
    ),
]
# Of every service's: the most common rule, which the strictest of them has.
_TAG = re.compile(r"[\w\s.:/=+\-@]*")
_TAG_KEY_LIMIT, _TAG_VALUE_LIMIT, _TAGS = 128, 256, 50
# What Java's expressions have and Python's have not.
_CLASSES = {
    "(?i)": "",
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{M}": r"\w",
    r"\p{S}": r"$+<=>^`|~",
    r"\p{P}": r"!-/:-@\[-`{-~",
}


@sweep
def names_are_such_as_aws_takes(recording: Recording) -> list[str]:
    """The name that a resource has, whether given or made by Pulumi (see Kind.name_limit)."""
    found: list[str] = []
    for resource in (r for r in recording.resources if r.custom):
        kind = kind_of(resource.type)
        if not kind.name_limit:
            if takes(resource.type, kind.name_property):
                found.append(f"{resource.name}: recording/kinds/ has no name_limit of {kind.token}")
            continue
        name = str(resource.inputs.get(kind.name_property) or resource.outputs["name"])
        if len(name) > kind.name_limit:
            found.append(f"{resource.name}: {name!r} is longer than {kind.name_limit}")
        if kind.name_pattern and not re.fullmatch(kind.name_pattern, name, re.ASCII):
            found.append(f"{resource.name}: {name!r} is not {kind.name_pattern}")
    return found


@sweep
def tags_are_such_as_aws_takes(recording: Recording) -> list[str]:
    found: list[str] = []
    for resource in recording.resources:
        for tags in (resource.inputs.get("tags") or {}, resource.inputs.get("volumeTags") or {}):
            sound = len(tags) <= _TAGS and all(
                _TAG.fullmatch(f"{key}{value}")
                and 0 < len(key) <= _TAG_KEY_LIMIT
                and len(value) <= _TAG_VALUE_LIMIT
                and not key.lower().startswith("aws:")
                for key, value in tags.items()
            )
            found += [] if sound else [f"{resource.name}: tags {tags}"]
    return found


@sweep
def values_are_such_as_the_reference_says(recording: Recording) -> list[str]:
    found: list[str] = []
    for kind, path, pattern, source in REFERENCE:
        for resource in recording.of_type(kind):
            value: Any = resource.inputs
            for part in path.split("."):
                value = value.get(part, {})
            if kind == kinds.monitoring.EVENT_RULE.token and "eventPattern" in resource.inputs:
                continue
            if not re.fullmatch(pattern, str(value)):
                found.append(f"{resource.name}: {path} {value!r}; {source}")
    return found


@sweep
def values_are_such_as_the_api_models_say(recording: Recording) -> list[str]:
    return [
        f"{resource.name}: {path} {str(value)[:80]!r} {fault}"
        for resource in recording.resources
        for path, value, shape in modelled(resource)
        for fault in _faults(value, shape)
    ]


def modelled(resource: Resource) -> Iterator[tuple[str, Any, Any]]:
    """Each input that the request has a member for: its path, its value and the member's shape."""
    if resource.type in REQUESTS:
        shape = _request(*REQUESTS[resource.type])
        inputs = {key: value for key, value in resource.inputs.items() if "tags" not in key.lower()}
        yield from _members(inputs, shape, "")


@cache
def _request(service: str, operation: str) -> Any:
    model = botocore.session.get_session().get_service_model(service)
    return model.operation_model(operation).input_shape


def _members(value: Any, shape: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if shape is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _members(item, _member(shape, key), f"{path}.{key}".lstrip("."))
    elif shape.type_name == "list":
        yield path, value if isinstance(value, list) else [value], shape
        for item in value if isinstance(value, list) else [value]:
            yield from _members(item, shape.member, path)
    elif shape.type_name not in ("structure", "map"):
        yield path, value, shape


def _member(shape: Any, name: str, depth: int = 3) -> Any:
    """The member of that name, wherever in the request it is: the API nests more than Pulumi."""
    if shape.type_name == "list":
        return _member(shape.member, name, depth)
    if shape.type_name == "map":
        return shape.value
    if shape.type_name != "structure":
        return None
    for wanted in (_plain(name), _plain(RENAMED.get(name, name))):
        for fits in (str.__eq__, str.endswith):
            for member, inner in shape.members.items():
                if fits(_plain(member), wanted):
                    return inner
    groups = (inner for inner in shape.members.values() if inner.type_name != "map" and depth)
    nested = (_member(inner, name, depth - 1) for inner in groups)
    return next((found for found in nested if found is not None), None)


def _plain(name: str) -> str:
    return name.lower().removesuffix("s")


def _faults(value: Any, shape: Any) -> Iterator[str]:
    limits, kind = shape.metadata, shape.type_name
    if kind == "string":
        text = str(value)
        if limits.get("enum") and text not in limits["enum"]:
            yield f"is none of {', '.join(limits['enum'][:12])}"
        if "pattern" in limits and not _pattern(limits["pattern"]).fullmatch(text):
            yield f"is not {limits['pattern']}"
    size = value if kind in ("integer", "long", "double", "float") else _length(value)
    if not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"is not within {limits.get('min')} to {limits.get('max')}"


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else len(str(value))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    for java, python in _CLASSES.items():
        text = text.replace(java, python)
    return re.compile(text.removeprefix("^").removesuffix("$"), re.ASCII)
