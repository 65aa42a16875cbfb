"""A made resource's life in moto: made, read, changed in place, read again, removed."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from support.deployments import change, deploy, drift, make, read, remove
from support.leftovers import inventory
from support.recordings import different

from components.naming import stack_name
from local.aws.moto import Moto
from local.deployment.kinds import CHANGERS, MAKERS, READERS, REMOVERS
from local.deployment.kinds.spelling import told
from recording import kinds
from recording.model import Resource
from tlfif.names import AMI_PARAMETER

pytestmark = pytest.mark.integration

MADE = {kind.token for kind in kinds.KINDS.values() if kind.made}
Inputs = Mapping[str, Any]

# What the stacks do not declare (yet), of kinds that they could.
OTHERS: dict[str, dict[str, Any]] = {
    kinds.monitoring.DASHBOARD.token: {
        "dashboardName": "d",
        "dashboardBody": json.dumps({"widgets": []}, indent=1),
    },
}


def _policy(key: str) -> Callable[[Inputs], Inputs]:
    """One statement less, or of another name."""

    def change(inputs: Inputs) -> Inputs:
        document = json.loads(inputs[key])
        document["Statement"][0]["Sid"] = "Changed"
        return {key: json.dumps(document)}

    return change


def _always(**inputs: Any) -> Callable[[Inputs], Inputs]:
    return lambda _: inputs


# A change in place of each kind that has one beside its tags.
IN_PLACE: dict[str, Callable[[Inputs], Inputs]] = {
    # A protected one could not be removed later.
    kinds.cognito.USER_POOL.token: lambda inputs: {
        "passwordPolicy": {**inputs["passwordPolicy"], "minimumLength": 16},
        "deletionProtection": "INACTIVE",
    },
    kinds.cognito.USER_POOL_CLIENT.token: _always(accessTokenValidity=2),
    kinds.delivery.PROJECT.token: _always(buildTimeout=33),
    kinds.delivery.PIPELINE.token: _always(executionMode="PARALLEL"),
    kinds.ec2.VPC.token: _always(enableDnsHostnames=False),
    kinds.ec2.SUBNET.token: lambda inputs: {
        "mapPublicIpOnLaunch": not inputs["mapPublicIpOnLaunch"]
    },
    kinds.ec2.INGRESS_RULE.token: _always(fromPort=100, toPort=200),
    kinds.ec2.EGRESS_RULE.token: _always(fromPort=100, toPort=200),
    kinds.ec2.VPC_ENDPOINT.token: lambda inputs: {
        key: inputs[key][:-1] for key in ("routeTableIds", "subnetIds") if key in inputs
    },
    kinds.ec2.INSTANCE.token: lambda inputs: {
        "metadataOptions": {**inputs["metadataOptions"], "httpPutResponseHopLimit": 2},
        "instanceInitiatedShutdownBehavior": "terminate",
        "rootBlockDevice": {**inputs["rootBlockDevice"], "volumeSize": 40},
        "volumeTags": {"Name": "other"},
        "userData": "another",
        "instanceType": "g4dn.2xlarge",
    },
    kinds.iam.ROLE.token: _policy("assumeRolePolicy"),
    kinds.iam.ROLE_POLICY.token: _policy("policy"),
    kinds.lambda_.FUNCTION.token: lambda inputs: {
        "timeout": 9,
        "memorySize": 1024,
        "environment": {"variables": {"TLFIF_STACK": "other"}},
        "loggingConfig": {**inputs["loggingConfig"], "logFormat": "JSON"},
    },
    kinds.lambda_.ALIAS.token: _always(functionVersion="$LATEST"),
    kinds.monitoring.LOG_GROUP.token: _always(retentionInDays=3),
    kinds.monitoring.METRIC_ALARM.token: _always(threshold=12345, alarmActions=[]),
    kinds.monitoring.DASHBOARD.token: _always(dashboardBody='{"widgets": [], "start": "-PT1H"}'),
    kinds.monitoring.EVENT_RULE.token: _always(scheduleExpression="rate(7 minutes)"),
    kinds.monitoring.EVENT_TARGET.token: lambda inputs: {"arn": f"{inputs['arn']}-other"},
    kinds.monitoring.TOPIC_POLICY.token: _policy("policy"),
    kinds.monitoring.BUDGET.token: _always(limitAmount="42.00"),
    kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK.token: _always(blockPublicAcls=False),
    kinds.s3.BUCKET_ENCRYPTION.token: _always(
        rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]
    ),
    kinds.s3.BUCKET_LIFECYCLE.token: lambda inputs: {
        "rules": [{**inputs["rules"][0], "expiration": {"days": 9}}]
    },
    kinds.ssm.PARAMETER.token: _always(insecureValue="w"),
}
# These have nothing of their own that changes in place; ROUTE and the two links between resources
# have a test of their own below.
ONLY_TAGS = {
    kinds.ec2.DEFAULT_SECURITY_GROUP.token,
    kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY.token,
    kinds.ec2.ROUTE_TABLE.token,
    kinds.ec2.SECURITY_GROUP.token,
    kinds.monitoring.TOPIC.token,
    kinds.s3.BUCKET.token,
    # Its key is the hash of its content.
    kinds.s3.BUCKET_OBJECT.token,
}
LINKS = {
    kinds.ec2.INTERNET_GATEWAY.token,
    kinds.ec2.ROUTE.token,
    kinds.ec2.ROUTE_TABLE_ASSOCIATION.token,
    kinds.iam.INSTANCE_PROFILE.token,
}
UNCHANGEABLE = {kinds.iam.ROLE_POLICY_ATTACHMENT.token}
# moto has it without its only statement, which has a condition.
CONDITIONAL = {kinds.s3.BUCKET_POLICY.token}
# What moto does not tell (of a rule's description: unless its other side is a range of addresses),
# and what no AWS API knows, so that no drift of it is seen.
UNTOLD = {
    kinds.ec2.INGRESS_RULE.token: {"description"},
    kinds.ec2.EGRESS_RULE.token: {"description"},
    kinds.lambda_.FUNCTION.token: {"code", "sourceCodeHash", "publish"},
    kinds.monitoring.BUDGET.token: {"tags"},
    kinds.cognito.USER_POOL_CLIENT.token: {"generateSecret"},
    kinds.s3.BUCKET.token: {"forceDestroy"},
    kinds.s3.BUCKET_OBJECT.token: {"source", "content", "contentType"},
}
# They are there as long as what they belong to: moto has none of AWS's own policies, a topic always
# has a policy, and a VPC a group.
BELONGING = {
    kinds.ec2.DEFAULT_SECURITY_GROUP.token,
    kinds.iam.ROLE_POLICY_ATTACHMENT.token,
    kinds.s3.BUCKET_POLICY.token,
    kinds.monitoring.TOPIC_POLICY.token,
}


@pytest.mark.parametrize("register", [MAKERS, CHANGERS, READERS, REMOVERS])
def test_every_made_kind_has_a_whole_life(register: dict[str, object]) -> None:
    assert set(register) == MADE


def test_each_is_changed_in_some_test() -> None:
    groups = (set(IN_PLACE), ONLY_TAGS, LINKS, UNCHANGEABLE, CONDITIONAL)
    assert sum(map(len, groups)) == len(MADE)
    assert set().union(*groups) == MADE


@pytest.mark.story("RED-001", "OPS-003")
@pytest.mark.parametrize("stack", different())
def test_a_stack_lives_and_leaves_nothing_behind(stack: str, moto: Moto) -> None:
    """dev is left out: it declares what prod does, without its users' protection."""
    moto.publish_image(stack_name(AMI_PARAMETER, stack))
    empty = inventory(moto)
    resources = deploy(stack, moto)
    resources += [
        make(moto, kind, inputs.get("name", "other"), inputs) for kind, inputs in OTHERS.items()
    ]

    for each in resources:
        _check_told(moto, each)
    resources = list(_each_kind_changed(moto, resources))

    for each in reversed(resources):
        remove(moto, each)
        assert each.type in BELONGING or read(moto, each) is None, each.urn
    # What is gone is fine, and what belonged to something is gone with it.
    for each in reversed(resources):
        remove(moto, each)
        assert read(moto, each) is None, each.urn
    assert inventory(moto) == empty


def _check_told(moto: Moto, resource: Resource) -> None:
    found = read(moto, resource)
    assert found is not None
    assert drift(moto, resource) == {}, resource.urn
    untold = resource.inputs.keys() - found.keys()
    assert untold <= UNTOLD.get(resource.type, set()), resource.urn


def _each_kind_changed(moto: Moto, resources: list[Resource]) -> Iterator[Resource]:
    """The resources, the first of each kind changed."""
    seen: set[str] = set()
    for each in resources:
        yield each if each.type in seen else _check_changes(moto, each)
        seen.add(each.type)


def _check_changes(moto: Moto, resource: Resource) -> Resource:
    """Changes it and its tags: as deployed before it has drifted by just that, as deployed now not
    at all.
    """
    wanted: dict[str, Any] = {}
    if resource.type in IN_PLACE:
        wanted |= IN_PLACE[resource.type](resource.inputs)
    if resource.inputs.get("tags") and resource.type != kinds.monitoring.BUDGET.token:
        wanted["tags"] = {"env": "other", "owner": "somebody"}
    changed = change(moto, resource, **wanted)
    assert drift(moto, changed) == {}, resource.urn
    if resource.outputs.get("securityGroupRuleId") == changed.outputs.get("securityGroupRuleId"):
        differing = {key: wanted[key] for key in wanted if wanted[key] != resource.inputs.get(key)}
        assert told(differing, drift(moto, resource)) == differing, resource.urn
    return changed
