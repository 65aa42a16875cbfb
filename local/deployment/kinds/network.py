"""The network, made in moto: what security groups let through is in security_groups.py."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes, retag
from local.deployment.kinds.spelling import (
    Inputs,
    Outputs,
    api,
    properties,
    tag_map,
    tags,
    without,
)
from recording import kinds
from recording.model import ACCOUNT_ID

# --- what all of EC2's kinds share: tags and ARNs


def ec2_tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    """The tags of what is being made."""
    return [{"ResourceType": kind, "Tags": tags(inputs)}] if inputs.get("tags") else []


def ec2_arn(moto: Moto, kind: str, id_: str) -> str:
    """The ARN of a resource of this account."""
    return f"arn:aws:ec2:{moto.region}:{ACCOUNT_ID}:{kind}/{id_}"


def ec2_retag(moto: Moto, id_: str, old: Inputs, new: Inputs, key: str = "tags") -> None:
    """Changes the tags of what there is."""
    ec2 = moto.client("ec2")
    retag(
        old,
        new,
        key=key,
        tag=lambda set_: ec2.create_tags(Resources=[id_], Tags=tags({"tags": set_})),
        untag=lambda gone: ec2.delete_tags(Resources=[id_], Tags=[{"Key": each} for each in gone]),
    )


# --- the VPC

_DNS = ("enableDnsSupport", "enableDnsHostnames")


def _set_dns(moto: Moto, id_: str, inputs: Inputs) -> None:
    for attribute in _DNS:
        if attribute in inputs:
            change = api({attribute: {"value": inputs[attribute]}})
            moto.client("ec2").modify_vpc_attribute(VpcId=id_, **change)


def _ipv6_blocks(found: Inputs) -> list[str]:
    """The IPv6 blocks of a VPC or subnet that are associated (still)."""
    associations = found.get("Ipv6CidrBlockAssociationSet", ())
    return [
        each["Ipv6CidrBlock"]
        for each in associations
        if each.get("Ipv6CidrBlockState", {}).get("State") != "disassociated"
    ]


@makes(kinds.ec2.VPC)
def _vpc(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    vpc = moto.client("ec2").create_vpc(
        CidrBlock=inputs["cidrBlock"],
        AmazonProvidedIpv6CidrBlock=inputs.get("assignGeneratedIpv6CidrBlock", False),
        TagSpecifications=ec2_tags("vpc", inputs),
    )["Vpc"]
    _set_dns(moto, vpc["VpcId"], inputs)
    return {
        "id": vpc["VpcId"],
        "arn": ec2_arn(moto, "vpc", vpc["VpcId"]),
        "ipv6CidrBlock": next(iter(_ipv6_blocks(vpc)), ""),
    }


@changes(kinds.ec2.VPC, "tags", *_DNS)
def _change_vpc(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    _set_dns(moto, id_, new)
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.VPC)
def _read_vpc(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    ec2 = moto.client("ec2")
    vpc = ec2.describe_vpcs(VpcIds=[id_])["Vpcs"][0]
    dns = {
        each: properties(ec2.describe_vpc_attribute(VpcId=id_, Attribute=each))[each]["value"]
        for each in _DNS
    }
    blocks = _ipv6_blocks(vpc)
    return {
        "cidrBlock": vpc["CidrBlock"],
        "assignGeneratedIpv6CidrBlock": bool(blocks),
        "ipv6CidrBlock": next(iter(blocks), ""),
        "tags": tag_map(vpc.get("Tags", ())),
        **dns,
    }


@removes(kinds.ec2.VPC)
def _remove_vpc(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_vpc(VpcId=id_)


# --- subnets

_SWITCHES = ("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation")


def _set_switches(moto: Moto, id_: str, inputs: Inputs) -> None:
    for switch in _SWITCHES:
        if switch in inputs:
            change = api({switch: {"value": inputs[switch]}})
            moto.client("ec2").modify_subnet_attribute(SubnetId=id_, **change)


@makes(kinds.ec2.SUBNET)
def _subnet(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    subnet = moto.client("ec2").create_subnet(
        **api(without(inputs, "tags", *_SWITCHES)), TagSpecifications=ec2_tags("subnet", inputs)
    )["Subnet"]
    _set_switches(moto, subnet["SubnetId"], inputs)
    return {"id": subnet["SubnetId"], "arn": subnet["SubnetArn"]}


@changes(kinds.ec2.SUBNET, "tags", *_SWITCHES)
def _change_subnet(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    _set_switches(moto, id_, new)
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.SUBNET)
def _read_subnet(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    subnet = moto.client("ec2").describe_subnets(SubnetIds=[id_])["Subnets"][0]
    return {
        **properties(without(subnet, "Tags")),
        "ipv6CidrBlock": next(iter(_ipv6_blocks(subnet)), ""),
        "tags": tag_map(subnet.get("Tags", ())),
    }


@removes(kinds.ec2.SUBNET)
def _remove_subnet(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_subnet(SubnetId=id_)


# --- ways out


@makes(kinds.ec2.INTERNET_GATEWAY)
def _internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_internet_gateway(TagSpecifications=ec2_tags("internet-gateway", inputs))
    id_ = made["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=id_, VpcId=inputs["vpcId"])
    return {"id": id_, "arn": ec2_arn(moto, "internet-gateway", id_)}


@changes(kinds.ec2.INTERNET_GATEWAY, "tags", "vpcId")
def _change_internet_gateway(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    if new["vpcId"] != old["vpcId"]:
        ec2 = moto.client("ec2")
        ec2.detach_internet_gateway(InternetGatewayId=id_, VpcId=old["vpcId"])
        ec2.attach_internet_gateway(InternetGatewayId=id_, VpcId=new["vpcId"])
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.INTERNET_GATEWAY)
def _read_internet_gateway(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("ec2").describe_internet_gateways(InternetGatewayIds=[id_])
    gateway = found["InternetGateways"][0]
    attached = [each["VpcId"] for each in gateway["Attachments"]]
    return {"vpcId": next(iter(attached), ""), "tags": tag_map(gateway.get("Tags", ()))}


@removes(kinds.ec2.INTERNET_GATEWAY)
def _remove_internet_gateway(moto: Moto, id_: str, outputs: Outputs) -> None:
    ec2 = moto.client("ec2")
    found = ec2.describe_internet_gateways(InternetGatewayIds=[id_])["InternetGateways"][0]
    for each in found["Attachments"]:
        ec2.detach_internet_gateway(InternetGatewayId=id_, VpcId=each["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=id_)


@makes(kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY)
def _egress_only_internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_egress_only_internet_gateway(
        VpcId=inputs["vpcId"], TagSpecifications=ec2_tags("egress-only-internet-gateway", inputs)
    )["EgressOnlyInternetGateway"]
    return {"id": made["EgressOnlyInternetGatewayId"]}


@changes(kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY, "tags")
def _change_egress_only_internet_gateway(
    moto: Moto, id_: str, old: Outputs, new: Inputs
) -> Outputs:
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY)
def _read_egress_only_internet_gateway(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    found = moto.client("ec2").describe_egress_only_internet_gateways(
        EgressOnlyInternetGatewayIds=[id_]
    )["EgressOnlyInternetGateways"]
    if not found:
        return None
    attached = [each["VpcId"] for each in found[0]["Attachments"]]
    return {"vpcId": next(iter(attached), ""), "tags": tag_map(found[0].get("Tags", ()))}


@removes(kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY)
def _remove_egress_only_internet_gateway(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=id_)


@makes(kinds.ec2.VPC_ENDPOINT)
def _vpc_endpoint(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_vpc_endpoint(
        **api(without(inputs, "tags")), TagSpecifications=ec2_tags("vpc-endpoint", inputs)
    )["VpcEndpoint"]
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    prefixes = [
        each["PrefixListId"] for each in lists if each["PrefixListName"] == inputs["serviceName"]
    ]
    return {
        "id": made["VpcEndpointId"],
        "arn": ec2_arn(moto, "vpc-endpoint", made["VpcEndpointId"]),
        "prefixListId": prefixes[0] if prefixes else None,
    }


_MEMBERS = ("routeTableIds", "subnetIds", "securityGroupIds")


@changes(kinds.ec2.VPC_ENDPOINT, "tags", *_MEMBERS)
def _change_vpc_endpoint(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    difference: dict[str, list[str]] = {}
    for each in _MEMBERS:
        before, after = set(old.get(each) or ()), set(new.get(each) or ())
        difference |= api({f"add{each[0].upper()}{each[1:]}": sorted(after - before)})
        difference |= api({f"remove{each[0].upper()}{each[1:]}": sorted(before - after)})
    if set_ := {key: value for key, value in difference.items() if value}:
        moto.client("ec2").modify_vpc_endpoint(VpcEndpointId=id_, **set_)
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.VPC_ENDPOINT)
def _read_vpc_endpoint(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    found = moto.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[id_])["VpcEndpoints"]
    # moto goes on showing what was deleted.
    if not found or found[0]["State"] == "deleted":
        return None
    groups = [each["GroupId"] for each in found[0].get("Groups", ())]
    return {
        **properties(without(found[0], "Tags")),
        "securityGroupIds": groups,
        "tags": tag_map(found[0].get("Tags", ())),
    }


@removes(kinds.ec2.VPC_ENDPOINT)
def _remove_vpc_endpoint(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[id_])
