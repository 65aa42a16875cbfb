"""Who reaches whom: security groups, instances and balancers."""

import ipaddress

from support.sweeps.rule import sweep

from components.billed import BALANCER, INSTANCE
from components.network import HTTPS
from recording import kinds
from recording.model import Recording, Resource
from tlfif import names

INGRESS = kinds.ec2.INGRESS_RULE.token
EGRESS = kinds.ec2.EGRESS_RULE.token
KEY_PAIR = "aws:ec2/keyPair:KeyPair"
SECURITY_GROUP = kinds.ec2.SECURITY_GROUP.token


@sweep
def security_group_rules_are_single_ports_and_justified(recording: Recording) -> list[str]:
    """Rules are resources of their own, each with a reason and one of the ports that we know."""
    found = [
        f"{g.name}: rules inside the group" for g in recording.of_type(SECURITY_GROUP) if _inline(g)
    ]
    for rule in recording.of_type(INGRESS) + recording.of_type(EGRESS):
        ports = {rule.inputs.get("fromPort"), rule.inputs.get("toPort")}
        if rule.inputs["ipProtocol"] != "tcp" or ports not in (
            {HTTPS},
            {names.REDIS_PORT},
        ):
            found.append(f"{rule.name}: {rule.inputs['ipProtocol']} {ports}")
        if not rule.inputs.get("description"):
            found.append(f"{rule.name}: no description")
    return found


def _inline(group: Resource) -> bool:
    return bool(group.inputs.get("ingress") or group.inputs.get("egress"))


@sweep
def nothing_is_reached_from_everywhere(recording: Recording) -> list[str]:
    """Whoever may come in is a security group or a private network; only HTTPS may go out to
    everywhere.
    """
    blocks = ("cidrIpv4", "cidrIpv6")
    coming = [
        (r.name, r.inputs[b]) for r in recording.of_type(INGRESS) for b in blocks if b in r.inputs
    ]
    found = [
        f"{name}: from {block}"
        for name, block in coming
        if not ipaddress.ip_network(block).is_private
    ]
    going = [
        r
        for r in recording.of_type(EGRESS)
        if {"0.0.0.0/0", "::/0"} & {r.inputs.get(b) for b in blocks}
    ]
    return found + [f"{r.name}: to everywhere" for r in going if r.inputs["fromPort"] != HTTPS]


@sweep
def instances_answer_metadata_v2_only(recording: Recording) -> list[str]:
    wanted = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    options = [(i.name, i.inputs.get("metadataOptions", {})) for i in recording.of_type(INSTANCE)]
    return [name for name, given in options if not wanted.items() <= given.items()]


@sweep
def nodes_are_reached_by_the_balancer_alone(recording: Recording) -> list[str]:
    """Nobody else may connect to a node, by no port but TLS's, and no key would let anybody in."""
    balancers = {group for b in recording.of_type(BALANCER) for group in b.inputs["securityGroups"]}
    nodes = recording.of_type(INSTANCE)
    groups = {group for node in nodes for group in node.inputs["vpcSecurityGroupIds"]}
    found = [f"{node.name}: a key pair" for node in nodes if node.inputs.get("keyName")]
    found += [f"{r.name}: a key pair" for r in recording.resources if r.type == KEY_PAIR]
    return found + [
        f"{rule.name}: leads to a node"
        for rule in recording.of_type(INGRESS)
        if rule.inputs["securityGroupId"] in groups
        and (
            rule.inputs.get("referencedSecurityGroupId") not in balancers
            or rule.inputs["fromPort"] != HTTPS
        )
    ]


@sweep
def load_balancers_are_internal_and_speak_tls(recording: Recording) -> list[str]:
    balancers = [b.name for b in recording.of_type(BALANCER) if not b.inputs.get("internal")]
    listeners = recording.of_type(kinds.lb.LISTENER.token)
    return balancers + [
        listener.name for listener in listeners if listener.inputs["protocol"] != "TLS"
    ]
