"""What a change in place does to what runs, what others did to a resource, and what AWS refuses."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.deployments import change, drift, make, read, remove
from support.recordings import evaluate

from local.aws.moto import Moto
from recording import kinds
from recording.model import Resource

pytestmark = pytest.mark.integration

TAGS = {"env": "tinyllama", "stack": "dev"}


def vpc(moto: Moto) -> Resource:
    return make(moto, kinds.ec2.VPC.token, "vpc", {"cidrBlock": "10.20.0.0/22", "tags": TAGS})


def subnet(moto: Moto, network: Resource, cidr: str = "10.20.0.0/24") -> Resource:
    inputs = {"vpcId": network.id, "cidrBlock": cidr, "availabilityZone": "us-east-1a"}
    return make(moto, kinds.ec2.SUBNET.token, "subnet", inputs)


def table(moto: Moto, network: Resource) -> Resource:
    return make(moto, kinds.ec2.ROUTE_TABLE.token, "table", {"vpcId": network.id})


def group(moto: Moto, network: Resource, name: str) -> Resource:
    inputs = {"vpcId": network.id, "description": name}
    return make(moto, kinds.ec2.SECURITY_GROUP.token, name, inputs)


def role(moto: Moto, name: str = "role") -> Resource:
    return make(moto, kinds.iam.ROLE.token, name, {"assumeRolePolicy": '{"Version": "2012-10-17"}'})


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response.get("Error", {}).get("Code", "")


# --- a machine


@pytest.fixture
def node(moto: Moto) -> Resource:
    """A stopped node."""
    network = vpc(moto)
    profile = make(moto, kinds.iam.INSTANCE_PROFILE.token, "profile", {"role": role(moto).id})
    inputs = {
        "ami": moto.publish_image("/ami"),
        "instanceType": "g4dn.xlarge",
        "iamInstanceProfile": profile.id,
        "subnetId": subnet(moto, network).id,
        "vpcSecurityGroupIds": [group(moto, network, "node").id],
        "rootBlockDevice": {"volumeType": "gp3", "encrypted": True, "volumeSize": 30},
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
        "userData": '{"TLFIF_STACK": "dev"}',
        "tags": TAGS,
        "volumeTags": TAGS,
    }
    return make(moto, kinds.ec2.INSTANCE.token, "node", inputs)


def state(moto: Moto, node: Resource) -> str:
    (found,) = moto.client("ec2").describe_instances(InstanceIds=[node.id])["Reservations"]
    return found["Instances"][0]["State"]["Name"]


@pytest.mark.story("EC2-004")
def test_changed_user_data_starts_a_stopped_node(moto: Moto, node: Resource) -> None:
    assert state(moto, node) == "stopped"
    changed = change(moto, node, userData='{"TLFIF_STACK": "prod"}')
    assert state(moto, node) == "running", "as the real provider does"
    assert drift(moto, changed) == {}


@pytest.mark.story("EC2-004")
def test_another_instance_type_starts_a_stopped_node(moto: Moto, node: Resource) -> None:
    changed = change(moto, node, instanceType="g4dn.2xlarge")
    assert state(moto, node) == "running"
    assert drift(moto, changed) == {}


@pytest.mark.story("EC2-004")
def test_no_other_change_starts_a_stopped_node(moto: Moto, node: Resource) -> None:
    other = make(moto, kinds.iam.INSTANCE_PROFILE.token, "other", {"role": role(moto, "o").id})
    network = vpc(moto)
    changed = change(
        moto,
        node,
        tags={"env": "other"},
        volumeTags={"env": "other"},
        vpcSecurityGroupIds=[group(moto, network, "another").id],
        metadataOptions={"httpTokens": "required", "httpPutResponseHopLimit": 2},
        instanceInitiatedShutdownBehavior="stop",
        rootBlockDevice={"volumeType": "gp3", "encrypted": True, "volumeSize": 50},
        iamInstanceProfile=other.id,
    )
    assert drift(moto, changed) == {}
    assert state(moto, node) == "stopped"


@pytest.mark.story("OPS-003")
def test_a_tag_that_somebody_else_set_is_seen_and_stays_until_it_is_taken_away(
    moto: Moto, node: Resource
) -> None:
    latch = {"tl-fif:latched": "1"}
    moto.client("ec2").create_tags(
        Resources=[node.id], Tags=[{"Key": "tl-fif:latched", "Value": "1"}]
    )
    assert drift(moto, node) == {"tags": TAGS | latch}
    # As deployed it is not there, and stays; as refreshed it is, and goes.
    other = {**TAGS, "env": "other"}
    assert drift(moto, change(moto, node, tags=other)) == {"tags": other | latch}
    refreshed = change(moto, node, tags=other | latch)
    assert drift(moto, refreshed) == {}
    assert drift(moto, change(moto, refreshed, tags=other)) == {}


def test_a_terminated_node_is_gone(moto: Moto, node: Resource) -> None:
    moto.client("ec2").terminate_instances(InstanceIds=[node.id])
    assert read(moto, node) is None


def test_what_cannot_be_changed_in_place_is_named(moto: Moto, node: Resource) -> None:
    with pytest.raises(
        NotImplementedError, match=r"Instance i-\w+: .* cannot change ami, subnetId"
    ):
        change(moto, node, ami="ami-2", subnetId="subnet-2", tags={})


# --- links between resources


def test_a_route_leads_elsewhere(moto: Moto) -> None:
    network, other = vpc(moto), vpc(moto)
    gateways = [
        make(moto, kinds.ec2.INTERNET_GATEWAY.token, "gateway", {"vpcId": each.id})
        for each in (network, other)
    ]
    way_out = make(
        moto, kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY.token, "egress", {"vpcId": network.id}
    )
    inputs = {"routeTableId": table(moto, network).id, "destinationCidrBlock": "0.0.0.0/0"}
    route = make(moto, kinds.ec2.ROUTE.token, "route", {**inputs, "gatewayId": gateways[0].id})
    ipv6 = {"routeTableId": inputs["routeTableId"], "destinationIpv6CidrBlock": "::/0"}
    second = make(
        moto, kinds.ec2.ROUTE.token, "second", {**ipv6, "egressOnlyGatewayId": way_out.id}
    )

    changed = change(moto, route, gatewayId=gateways[1].id)
    assert drift(moto, changed) == drift(moto, second) == {}
    assert drift(moto, route) == {"gatewayId": gateways[1].id}
    remove(moto, changed)
    assert read(moto, changed) is None
    assert drift(moto, second) == {}


def test_a_gateway_a_subnet_and_a_profile_get_another_partner(moto: Moto) -> None:
    networks = [vpc(moto), vpc(moto)]
    gateway = make(moto, kinds.ec2.INTERNET_GATEWAY.token, "gw", {"vpcId": networks[0].id})
    tables = [table(moto, networks[0]), table(moto, networks[0])]
    link = make(
        moto,
        kinds.ec2.ROUTE_TABLE_ASSOCIATION.token,
        "link",
        {"subnetId": subnet(moto, networks[0]).id, "routeTableId": tables[0].id},
    )
    profile = make(moto, kinds.iam.INSTANCE_PROFILE.token, "profile", {"role": role(moto).id})

    for resource, other in (
        (gateway, {"vpcId": networks[1].id}),
        (link, {"routeTableId": tables[1].id}),
        (profile, {"role": role(moto, "other").id}),
    ):
        changed = change(moto, resource, **other)
        assert drift(moto, changed) == {}
        assert drift(moto, resource) == other
        remove(moto, changed)
        assert read(moto, changed) is None


def test_a_rule_follows_a_group_that_was_replaced(moto: Moto) -> None:
    network = vpc(moto)
    queue, clients, others = (group(moto, network, each) for each in ("queue", "a", "b"))
    inputs = {
        "securityGroupId": queue.id,
        "referencedSecurityGroupId": clients.id,
        "ipProtocol": "tcp",
        "fromPort": 6379,
        "toPort": 6379,
        "tags": TAGS,
    }
    rule = make(moto, kinds.ec2.INGRESS_RULE.token, "rule", inputs)
    changed = change(moto, rule, referencedSecurityGroupId=others.id)
    assert drift(moto, changed) == {}
    own = [{"Name": "group-id", "Values": [queue.id]}]
    rules = moto.client("ec2").describe_security_group_rules(Filters=own)["SecurityGroupRules"]
    assert [each["ReferencedGroupInfo"]["GroupId"] for each in rules] == [others.id]


def test_a_rule_that_somebody_writes_into_the_vpcs_own_group_is_seen_and_taken_away(
    moto: Moto,
) -> None:
    network = vpc(moto)
    inputs = {"vpcId": network.id, "ingress": [], "egress": [], "tags": TAGS}
    own = make(moto, kinds.ec2.DEFAULT_SECURITY_GROUP.token, "own", inputs)
    ec2 = moto.client("ec2")

    def rules() -> int:
        mine = [{"Name": "group-id", "Values": [own.id]}]
        return len(ec2.describe_security_group_rules(Filters=mine)["SecurityGroupRules"])

    assert (rules(), drift(moto, own)) == (0, {})
    ec2.authorize_security_group_egress(
        GroupId=own.id, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    assert drift(moto, own).keys() == {"egress"}
    assert drift(moto, change(moto, own, ingress=[], egress=[])) == {}
    assert rules() == 0


def test_a_changed_pool_still_knows_its_users_by_their_mail(moto: Moto) -> None:
    inputs: dict[str, Any] = {
        "usernameAttributes": ["email"],
        "passwordPolicy": {"minimumLength": 12},
        "tags": TAGS,
    }
    pool = make(moto, kinds.cognito.USER_POOL.token, "pool", inputs)
    changed = change(moto, pool, passwordPolicy={"minimumLength": 16}, tags={"env": "other"})
    assert drift(moto, changed) == {}
    found = moto.client("cognito-idp").describe_user_pool(UserPoolId=pool.id)["UserPool"]
    assert found["UsernameAttributes"] == ["email"]


# --- what AWS refuses


def test_what_is_needed_is_not_removed(moto: Moto) -> None:
    network = vpc(moto)
    part, routes = subnet(moto, network), table(moto, network)
    link = {"subnetId": part.id, "routeTableId": routes.id}
    make(moto, kinds.ec2.ROUTE_TABLE_ASSOCIATION.token, "link", link)
    for needed in (network, routes):
        with pytest.raises(ClientError) as refused:
            remove(moto, needed)
        assert code(refused) == "DependencyViolation"


def test_a_role_with_policies_and_a_rule_with_targets_stay(moto: Moto) -> None:
    owner = role(moto)
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    make(moto, kinds.iam.ROLE_POLICY.token, "policy", {"role": owner.id, "policy": document})
    with pytest.raises(ClientError) as refused:
        remove(moto, owner)
    assert code(refused) == "DeleteConflict"

    rule = make(
        moto, kinds.monitoring.EVENT_RULE.token, "rule", {"scheduleExpression": "rate(1 day)"}
    )
    target = {"rule": rule.id, "arn": "arn:aws:lambda:us-east-1:123456789012:function:f"}
    make(moto, kinds.monitoring.EVENT_TARGET.token, "target", target)
    with pytest.raises(ClientError) as refused:
        remove(moto, rule)
    assert code(refused) == "ValidationException"


@pytest.mark.story("EC2-003")
def test_a_bucket_with_replies_stays_unless_its_destruction_is_forced(moto: Moto) -> None:
    s3 = moto.client("s3")
    bucket = make(moto, kinds.s3.BUCKET.token, "replies", {"forceDestroy": False})
    versions = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket.id, VersioningConfiguration=versions)
    s3.put_object(Bucket=bucket.id, Key="a", Body=b"1")
    s3.put_object(Bucket=bucket.id, Key="a", Body=b"2")
    s3.delete_object(Bucket=bucket.id, Key="a")
    with pytest.raises(ClientError) as refused:
        remove(moto, bucket)
    assert code(refused) == "BucketNotEmpty"
    remove(moto, change(moto, bucket, forceDestroy=True))
    assert read(moto, bucket) is None


@pytest.mark.story("EC2-003", "OPS-003")
def test_a_bucket_that_emptied_itself_of_everything_keeps_its_weights_from_now_on(
    moto: Moto,
) -> None:
    """The rules of a stack that was deployed before it had weights are changed in place."""
    bucket = make(moto, kinds.s3.BUCKET.token, "replies", {})
    everything = {
        "id": "expire",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "expiration": {"days": 7},
        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 1},
    }
    kind = kinds.s3.BUCKET_LIFECYCLE.token
    before = {"bucket": bucket.id, "rules": [everything]}
    now = {**evaluate("dev").one(kind).inputs, "bucket": bucket.id}
    assert kinds.s3.BUCKET_LIFECYCLE.replacing(before, now) == set()
    changed = change(moto, make(moto, kind, "expiry", before), **now)
    assert drift(moto, changed) == {}
    told = moto.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket.id)["Rules"]
    assert {each["Filter"]["Prefix"]: each.get("Expiration", {}).get("Days") for each in told} == {
        "replies/": 7,
        "canary/": 7,
        "incoming/": 1,
        "": None,
    }


def test_a_protected_pool_stays_until_it_is_no_longer(moto: Moto) -> None:
    inputs: dict[str, Any] = {"passwordPolicy": {}, "deletionProtection": "ACTIVE"}
    pool = make(moto, kinds.cognito.USER_POOL.token, "pool", inputs)
    with pytest.raises(ClientError) as refused:
        remove(moto, pool)
    assert code(refused) == "InvalidParameterException"
    remove(moto, change(moto, pool, deletionProtection="INACTIVE"))
    assert read(moto, pool) is None


# --- what others did


def test_what_is_taken_away_is_seen(moto: Moto) -> None:
    name = "/group"
    logs = make(moto, kinds.monitoring.LOG_GROUP.token, name, {"retentionInDays": 30, "tags": TAGS})
    moto.client("logs").delete_retention_policy(logGroupName=name)
    assert drift(moto, logs) == {"retentionInDays": 0}

    bucket = make(moto, kinds.s3.BUCKET.token, "bucket", {"tags": TAGS})
    moto.client("s3").delete_bucket_tagging(Bucket=bucket.id)
    assert drift(moto, bucket) == {"tags": {}}


def test_a_statement_that_moto_can_have_is_seen_to_change(moto: Moto) -> None:
    make(moto, kinds.s3.BUCKET.token, "bucket", {})
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": "arn:aws:s3:::bucket/*",
    }
    tls = {**statement, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    document = {"Version": "2012-10-17", "Statement": [statement, tls]}
    inputs = {"bucket": "bucket", "policy": json.dumps(document)}
    policy = make(moto, kinds.s3.BUCKET_POLICY.token, "policy", inputs)
    assert drift(moto, policy) == {}
    moto.client("s3").delete_bucket_policy(Bucket="bucket")
    assert read(moto, policy) is None
