"""The network and its machines, made in moto."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID


def _ec2_tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(inputs)}] if inputs.get("tags") else []


def _ec2_arn(moto: Moto, kind: str, id_: str) -> str:
    return f"arn:aws:ec2:{moto.region}:{ACCOUNT_ID}:{kind}/{id_}"


@makes(kinds.ec2.VPC)
def _vpc(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    vpc = ec2.create_vpc(
        CidrBlock=inputs["cidrBlock"],
        AmazonProvidedIpv6CidrBlock=inputs.get("assignGeneratedIpv6CidrBlock", False),
        TagSpecifications=_ec2_tags("vpc", inputs),
    )["Vpc"]
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        if attribute in inputs:
            change = api({attribute: {"value": inputs[attribute]}})
            ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], **change)
    blocks = [each["Ipv6CidrBlock"] for each in vpc.get("Ipv6CidrBlockAssociationSet", ())]
    return {
        "id": vpc["VpcId"],
        "arn": _ec2_arn(moto, "vpc", vpc["VpcId"]),
        "ipv6CidrBlock": blocks[0] if blocks else "",
    }


@makes(kinds.ec2.SUBNET)
def _subnet(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    switches = ("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation")
    subnet = ec2.create_subnet(
        **api(without(inputs, "tags", *switches)), TagSpecifications=_ec2_tags("subnet", inputs)
    )["Subnet"]
    for switch in switches:
        if switch in inputs:
            change = api({switch: {"value": inputs[switch]}})
            ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], **change)
    return {"id": subnet["SubnetId"], "arn": subnet["SubnetArn"]}


@makes(kinds.ec2.INTERNET_GATEWAY)
def _internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_internet_gateway(TagSpecifications=_ec2_tags("internet-gateway", inputs))
    id_ = made["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=id_, VpcId=inputs["vpcId"])
    return {"id": id_, "arn": _ec2_arn(moto, "internet-gateway", id_)}


@makes(kinds.ec2.EGRESS_ONLY_INTERNET_GATEWAY)
def _egress_only_internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_egress_only_internet_gateway(
        VpcId=inputs["vpcId"], TagSpecifications=_ec2_tags("egress-only-internet-gateway", inputs)
    )["EgressOnlyInternetGateway"]
    return {"id": made["EgressOnlyInternetGatewayId"]}


@makes(kinds.ec2.ROUTE_TABLE)
def _route_table(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_route_table(
        **api(without(inputs, "tags")), TagSpecifications=_ec2_tags("route-table", inputs)
    )["RouteTable"]
    return {"id": made["RouteTableId"], "arn": _ec2_arn(moto, "route-table", made["RouteTableId"])}


@makes(kinds.ec2.ROUTE)
def _route(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    route = api(without(inputs, "egressOnlyGatewayId"))
    if "egressOnlyGatewayId" in inputs:
        route["EgressOnlyInternetGatewayId"] = inputs["egressOnlyGatewayId"]
    moto.client("ec2").create_route(**route)
    destination = inputs.get("destinationCidrBlock") or inputs.get("destinationIpv6CidrBlock")
    return {"id": f"r-{inputs['routeTableId']}-{destination}"}


@makes(kinds.ec2.ROUTE_TABLE_ASSOCIATION)
def _route_table_association(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    return {"id": moto.client("ec2").associate_route_table(**api(inputs))["AssociationId"]}


@makes(kinds.ec2.SECURITY_GROUP)
def _security_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    group = ec2.create_security_group(
        GroupName=name,
        **api(without(inputs, "name", "tags")),
        TagSpecifications=_ec2_tags("security-group", inputs),
    )
    # The provider takes away the rules that let everything out, which EC2 gives every new group.
    own = [{"Name": "group-id", "Values": [group["GroupId"]]}]
    rules = ec2.describe_security_group_rules(Filters=own)["SecurityGroupRules"]
    given = [each["SecurityGroupRuleId"] for each in rules]
    ec2.revoke_security_group_egress(GroupId=group["GroupId"], SecurityGroupRuleIds=given)
    return {"id": group["GroupId"], "arn": _ec2_arn(moto, "security-group", group["GroupId"])}


@makes(kinds.ec2.INGRESS_RULE)
def _ingress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").authorize_security_group_ingress(**_rule(inputs))
    return {"id": made["SecurityGroupRules"][0]["SecurityGroupRuleId"]}


@makes(kinds.ec2.EGRESS_RULE)
def _egress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").authorize_security_group_egress(**_rule(inputs))
    return {"id": made["SecurityGroupRules"][0]["SecurityGroupRuleId"]}


# The other side of a rule: the provider's property, and the API's list and name.
_PEERS = {
    "cidrIpv4": ("IpRanges", "CidrIp"),
    "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "prefixListId": ("PrefixListIds", "PrefixListId"),
    "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
}


def _rule(inputs: Inputs) -> dict[str, Any]:
    about = {"Description": inputs["description"]} if "description" in inputs else {}
    permission: dict[str, Any] = {
        group: [{key: inputs[peer], **about}]
        for peer, (group, key) in _PEERS.items()
        if peer in inputs
    }
    permission |= api(without(inputs, "securityGroupId", "description", "tags", *_PEERS))
    return {
        "GroupId": inputs["securityGroupId"],
        "IpPermissions": [permission],
        "TagSpecifications": _ec2_tags("security-group-rule", inputs),
    }


@makes(kinds.ec2.VPC_ENDPOINT)
def _vpc_endpoint(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_vpc_endpoint(
        **api(without(inputs, "tags")), TagSpecifications=_ec2_tags("vpc-endpoint", inputs)
    )["VpcEndpoint"]
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    prefixes = [
        each["PrefixListId"] for each in lists if each["PrefixListName"] == inputs["serviceName"]
    ]
    return {
        "id": made["VpcEndpointId"],
        "arn": _ec2_arn(moto, "vpc-endpoint", made["VpcEndpointId"]),
        "prefixListId": prefixes[0] if prefixes else None,
    }


@makes(kinds.ec2.INSTANCE)
def _instance(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    """Left `stopped`, as a node is after its first boot."""
    ec2 = moto.client("ec2")
    renamed = ("ami", "iamInstanceProfile", "rootBlockDevice", "vpcSecurityGroupIds")
    volume = {"tags": inputs.get("volumeTags", {})}
    instance = ec2.run_instances(
        **api(without(inputs, *renamed, "tags", "volumeTags")),
        ImageId=inputs["ami"],
        IamInstanceProfile={"Name": inputs["iamInstanceProfile"]},
        SecurityGroupIds=inputs["vpcSecurityGroupIds"],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": api(inputs["rootBlockDevice"])}],
        TagSpecifications=[*_ec2_tags("instance", inputs), *_ec2_tags("volume", volume)],
        MinCount=1,
        MaxCount=1,
    )["Instances"][0]
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    return {
        "id": instance["InstanceId"],
        "arn": _ec2_arn(moto, "instance", instance["InstanceId"]),
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "privateIp": instance["PrivateIpAddress"],
    }
