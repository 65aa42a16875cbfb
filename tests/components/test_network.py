"""The network and the queue in it: who reaches whom, and by which way."""

import ipaddress

import pytest
from support.program import evaluate

from components import network
from recording import kinds
from recording.model import Recording


@pytest.mark.story("RED-002")
def test_the_queue_is_reached_from_functions_and_nodes_only(recording: Recording) -> None:
    groups = {r.name: r.id for r in recording.of_type(kinds.ec2.SECURITY_GROUP.token)}
    rules = recording.of_type(kinds.ec2.INGRESS_RULE.token)
    allowed = {
        (
            r.inputs["securityGroupId"],
            r.inputs["referencedSecurityGroupId"],
            r.inputs["fromPort"],
            r.inputs["toPort"],
        )
        for r in rules
    }
    queue = groups["network-queue-group"]
    assert allowed == {
        (queue, groups["network-lambda-group"], 6379, 6379),
        (queue, groups["network-node-group"], 6379, 6379),
    }
    assert not [r for r in rules if "cidrIpv4" in r.inputs or "cidrIpv6" in r.inputs]


@pytest.mark.story("RED-002")
def test_the_queue_is_encrypted_at_rest_and_keeps_accepted_jobs(recording: Recording) -> None:
    group = recording.one(kinds.elasticache.REPLICATION_GROUP.token).inputs
    assert (group["atRestEncryptionEnabled"], group["transitEncryptionEnabled"]) == (True, False)
    assert (group["clusterMode"], group["numCacheClusters"], group["automaticFailoverEnabled"]) == (
        "disabled",
        1,
        False,
    )
    assert (group["engine"], group["nodeType"], group["port"]) == (
        "valkey",
        "cache.t4g.micro",
        6379,
    )
    parameters = recording.one(kinds.elasticache.PARAMETER_GROUP.token).inputs
    assert parameters["parameters"] == [{"name": "maxmemory-policy", "value": "noeviction"}]
    subnet = recording.one(kinds.ec2.SUBNET.token, "network-queue-subnet")
    assert subnet.inputs["cidrBlock"] == "10.20.1.0/24"
    assert recording.one(kinds.elasticache.SUBNET_GROUP.token).inputs["subnetIds"] == [subnet.id]


def test_replicas_add_failover() -> None:
    recording = evaluate("dev", config={"tl-fif:queue": {"engine": "redis", "replicas": 1}})
    group = recording.one(kinds.elasticache.REPLICATION_GROUP.token).inputs
    assert (group["engine"], group["numCacheClusters"], group["automaticFailoverEnabled"]) == (
        "redis",
        2,
        True,
    )


def test_subnets_have_each_their_own_ipv6_block_in_the_vpc(recording: Recording) -> None:
    vpc = ipaddress.IPv6Network(recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"])
    blocks = [
        ipaddress.IPv6Network(r.inputs["ipv6CidrBlock"])
        for r in recording.of_type(kinds.ec2.SUBNET.token)
    ]
    assert len(set(blocks)) == 5
    assert all(block.prefixlen == 64 and block.subnet_of(vpc) for block in blocks)
    assert network.ipv6_subnet("2600:1f18:1:aa00::/56", 255) == "2600:1f18:1:aaff::/64"


def test_only_nodes_get_a_public_address_and_nothing_pays_for_nat(recording: Recording) -> None:
    public = [
        r.name
        for r in recording.of_type(kinds.ec2.SUBNET.token)
        if r.inputs.get("mapPublicIpOnLaunch")
    ]
    assert sorted(public) == [
        "network-node-1-subnet",
        "network-node-2-subnet",
        "network-node-subnet",
    ]
    assert [r for r in recording.resources if "Nat" in r.type] == []
    assert [
        r.inputs["vpcEndpointType"] for r in recording.of_type(kinds.ec2.VPC_ENDPOINT.token)
    ] == ["Gateway"]


def test_every_rule_is_the_networks_own() -> None:
    recording = evaluate("literal")
    rules = [r for r in recording.resources if "SecurityGroup" in r.type]
    assert {r.parent.rpartition("::")[2] for r in rules} == {"network"}
    assert len(rules) == 24, "six groups and their rules, and the VPC's own group"


def test_who_is_put_into_no_group_reaches_nobody_and_is_reached_by_nobody() -> None:
    """Such a one is in the VPC's own group, which has no rule, and in which nothing of ours is."""
    recording = evaluate("dev")
    (group,) = recording.of_type(kinds.ec2.DEFAULT_SECURITY_GROUP.token)
    assert (group.inputs["ingress"], group.inputs["egress"]) == ([], [])
    assert [each.urn for each in recording.resources if group.urn in each.dependencies] == []
