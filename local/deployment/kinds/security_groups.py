"""Security groups and what they let through, made in moto."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, remakes, removes
from local.deployment.kinds.network import ec2_arn, ec2_retag, ec2_tags
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, without
from recording import kinds


def _rules(moto: Moto, group: str) -> list[dict[str, Any]]:
    own = [{"Name": "group-id", "Values": [group]}]
    return moto.client("ec2").describe_security_group_rules(Filters=own)["SecurityGroupRules"]


@makes(kinds.ec2.SECURITY_GROUP)
def _security_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    group = ec2.create_security_group(
        GroupName=name,
        **api(without(inputs, "name", "tags")),
        TagSpecifications=ec2_tags("security-group", inputs),
    )["GroupId"]
    # The provider takes away the rules that let everything out, which EC2 gives every new group.
    given = [each["SecurityGroupRuleId"] for each in _rules(moto, group)]
    ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=given)
    return {"id": group, "arn": ec2_arn(moto, "security-group", group)}


@changes(kinds.ec2.SECURITY_GROUP, "tags")
def _change_security_group(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.SECURITY_GROUP)
def _read_security_group(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    group = moto.client("ec2").describe_security_groups(GroupIds=[id_])["SecurityGroups"][0]
    return {
        "name": group["GroupName"],
        "description": group["Description"],
        "vpcId": group["VpcId"],
        "tags": tag_map(group.get("Tags", ())),
    }


@removes(kinds.ec2.SECURITY_GROUP)
def _remove_security_group(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_security_group(GroupId=id_)


# --- rules: moto changes little of one in place, so a changed one gets another id

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
        "TagSpecifications": ec2_tags("security-group-rule", inputs),
    }


def _made(moto: Moto, answer: Inputs) -> Outputs:
    id_ = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    arn = ec2_arn(moto, "security-group-rule", id_)
    return {"id": id_, "securityGroupRuleId": id_, "arn": arn}


def _id_now(id_: str, outputs: Outputs) -> str:
    return outputs.get("securityGroupRuleId", id_)


@makes(kinds.ec2.INGRESS_RULE)
def _ingress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    return _made(moto, moto.client("ec2").authorize_security_group_ingress(**_rule(inputs)))


@makes(kinds.ec2.EGRESS_RULE)
def _egress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    return _made(moto, moto.client("ec2").authorize_security_group_egress(**_rule(inputs)))


@reads(kinds.ec2.INGRESS_RULE)
@reads(kinds.ec2.EGRESS_RULE)
def _read_rule(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    own = _id_now(id_, outputs)
    rules = _rules(moto, outputs["securityGroupId"])
    found = next((each for each in rules if each["SecurityGroupRuleId"] == own), None)
    if found is None:
        return None
    return {
        **properties(without(found, "Tags")),
        "securityGroupId": found["GroupId"],
        "referencedSecurityGroupId": found.get("ReferencedGroupInfo", {}).get("GroupId"),
        "tags": tag_map(found.get("Tags", ())),
    }


@removes(kinds.ec2.INGRESS_RULE)
def _remove_ingress_rule(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").revoke_security_group_ingress(
        GroupId=outputs["securityGroupId"], SecurityGroupRuleIds=[_id_now(id_, outputs)]
    )


@removes(kinds.ec2.EGRESS_RULE)
def _remove_egress_rule(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").revoke_security_group_egress(
        GroupId=outputs["securityGroupId"], SecurityGroupRuleIds=[_id_now(id_, outputs)]
    )


remakes(kinds.ec2.INGRESS_RULE)
remakes(kinds.ec2.EGRESS_RULE)
