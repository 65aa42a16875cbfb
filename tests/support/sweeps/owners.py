"""No attribute with two owners: each would undo what the other did, and no plan shows it."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from support.sweeps.rule import sweep

from components.billed import BUCKET, FUNCTION, INSTANCE, LOG_GROUP
from recording import kinds
from recording.model import Recording, Resource

REST_API = kinds.apigateway.REST_API.token
# A type's own properties for what a type of its own can set as well (the provider's reference says
# of each: not both).
INLINE: dict[str, dict[str, str]] = {
    REST_API: {"policy": "aws:apigateway/restApiPolicy:RestApiPolicy"},
    BUCKET: {
        "policy": kinds.s3.BUCKET_POLICY.token,
        "lifecycleRules": kinds.s3.BUCKET_LIFECYCLE.token,
        "serverSideEncryptionConfiguration": kinds.s3.BUCKET_ENCRYPTION.token,
    },
    INSTANCE: {"rootBlockDevice.tags": "its volumeTags", "associatePublicIpAddress": "its subnet"},
    kinds.apigateway.DEPLOYMENT.token: {"stageName": kinds.apigateway.STAGE.token},
    kinds.ec2.ROUTE_TABLE.token: {"routes": kinds.ec2.ROUTE.token},
    kinds.ec2.SECURITY_GROUP.token: {
        "ingress": kinds.ec2.INGRESS_RULE.token,
        "egress": kinds.ec2.EGRESS_RULE.token,
    },
    kinds.iam.ROLE.token: {
        "inlinePolicies": kinds.iam.ROLE_POLICY.token,
        "managedPolicyArns": kinds.iam.ROLE_POLICY_ATTACHMENT.token,
    },
    kinds.monitoring.TOPIC.token: {"policy": kinds.monitoring.TOPIC_POLICY.token},
}
# What is no part of an API, but of an account or of a stage.
BESIDE_APIS = (
    "Account",
    "ApiKey",
    "Deployment",
    "MethodSettings",
    "RestApi",
    "Stage",
    "UsagePlan",
    "UsagePlanKey",
)
# What each thing has one of: the properties that name it.
ONE_EACH: dict[str, tuple[str, ...]] = {
    FUNCTION: ("name",),
    LOG_GROUP: ("name",),
    kinds.apigateway.ACCOUNT.token: (),
    kinds.apigateway.METHOD_SETTINGS.token: ("restApi", "stageName", "methodPath"),
    kinds.apigateway.STAGE.token: ("restApi", "stageName"),
    kinds.ec2.EGRESS_RULE.token: (
        "securityGroupId",
        "fromPort",
        "cidrIpv4",
        "cidrIpv6",
        "prefixListId",
        "referencedSecurityGroupId",
    ),
    kinds.ec2.INGRESS_RULE.token: (
        "securityGroupId",
        "fromPort",
        "cidrIpv4",
        "cidrIpv6",
        "prefixListId",
        "referencedSecurityGroupId",
    ),
    kinds.ec2.ROUTE.token: ("routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock"),
    kinds.ec2.ROUTE_TABLE_ASSOCIATION.token: ("subnetId",),
    kinds.iam.ROLE_POLICY_ATTACHMENT.token: ("role", "policyArn"),
    kinds.lambda_.ALIAS.token: ("functionName", "name"),
    kinds.monitoring.TOPIC_POLICY.token: ("arn",),
    kinds.s3.BUCKET_ENCRYPTION.token: ("bucket",),
    kinds.s3.BUCKET_LIFECYCLE.token: ("bucket",),
    kinds.s3.BUCKET_POLICY.token: ("bucket",),
    kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK.token: ("bucket",),
}


@sweep
def no_attribute_has_two_owners(recording: Recording) -> list[str]:
    found = [
        f"{r.name}: {path} is of {INLINE[r.type][path]}"
        for r in recording.resources
        for path in INLINE.get(r.type, {})
        if _at(r.inputs, path) is not None
    ]
    for kind, named_by in ONE_EACH.items():
        things = Counter(
            tuple(str(r.inputs.get(name)) for name in named_by) for r in recording.of_type(kind)
        )
        found += [f"{n} of {kind} for {thing}" for thing, n in things.items() if n > 1]
    return found


def _at(inputs: Any, path: str) -> Any:
    head, _, rest = path.partition(".")
    value = (inputs or {}).get(head)
    return _at(value, rest) if rest else value


@sweep
def a_rest_apis_body_says_all_of_it(recording: Recording) -> list[str]:
    """What importing the body would wipe or rename: name, resource policy, endpoints and parts."""
    beside = [
        f"{r.name}: {r.type} beside an OpenAPI body"
        for r in recording.resources
        if r.type.startswith("aws:apigateway/") and r.type.rpartition(":")[2] not in BESIDE_APIS
    ]
    return beside + [
        f"{api.name}: {fault}" for api in recording.of_type(REST_API) for fault in _unsaid(api)
    ]


def _unsaid(api: Resource) -> Iterator[str]:
    body = json.loads(api.inputs["body"])
    if body["info"]["title"] != api.inputs["name"]:
        yield "the body has another name"
    if not body.get("x-amazon-apigateway-policy", {}).get("Statement"):
        yield "no policy in the body"
    configured = api.inputs["endpointConfiguration"].get("vpcEndpointIds", [])
    servers = [
        each.get("x-amazon-apigateway-endpoint-configuration", {})
        for each in body.get("servers", [{}])
    ]
    if [each.get("vpcEndpointIds", []) for each in servers] != [configured]:
        yield "the body has other endpoints"
