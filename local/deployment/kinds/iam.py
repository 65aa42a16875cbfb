"""Roles and what they may do, made in moto."""

import json
from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import (
    changes,
    makes,
    overwrites,
    reads,
    removes,
    retag,
    stays,
)
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, tags, without
from recording import kinds


def _document(value: Any) -> str:
    """A policy of an answer as text: boto3 has read it already."""
    return value if isinstance(value, str) else json.dumps(value)


# --- roles


@makes(kinds.iam.ROLE)
def _role(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    role = moto.client("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=tags(inputs),
        **api(without(inputs, "name", "assumeRolePolicy", "tags")),
    )["Role"]
    return {"id": name, "name": name, "arn": role["Arn"]}


@changes(kinds.iam.ROLE, "tags", "assumeRolePolicy", "description", "maxSessionDuration")
def _change_role(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    iam = moto.client("iam")
    iam.update_assume_role_policy(RoleName=id_, PolicyDocument=new["assumeRolePolicy"])
    if about := {key: new[key] for key in ("description", "maxSessionDuration") if key in new}:
        iam.update_role(RoleName=id_, **api(about))
    retag(
        old,
        new,
        tag=lambda set_: iam.tag_role(RoleName=id_, Tags=tags({"tags": set_})),
        untag=lambda gone: iam.untag_role(RoleName=id_, TagKeys=gone),
    )
    return {}


@reads(kinds.iam.ROLE)
def _read_role(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    role = moto.client("iam").get_role(RoleName=id_)["Role"]
    return {
        **properties(without(role, "Tags", "AssumeRolePolicyDocument")),
        "assumeRolePolicy": _document(role["AssumeRolePolicyDocument"]),
        "tags": tag_map(role.get("Tags", ())),
    }


@removes(kinds.iam.ROLE)
def _remove_role(moto: Moto, id_: str, outputs: Outputs) -> None:
    """Takes it out of its instance profiles first, as the provider does; policies that it still has
    are a DeleteConflict.
    """
    iam = moto.client("iam")
    for each in iam.list_instance_profiles_for_role(RoleName=id_)["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(
            InstanceProfileName=each["InstanceProfileName"], RoleName=id_
        )
    iam.delete_role(RoleName=id_)


# --- policies


@makes(kinds.iam.ROLE_POLICY)
def _role_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("iam").put_role_policy(
        RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"]
    )
    return {"id": f"{inputs['role']}:{name}", "name": name}


overwrites(kinds.iam.ROLE_POLICY)


@reads(kinds.iam.ROLE_POLICY)
def _read_role_policy(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    role, _, name = id_.partition(":")
    found = moto.client("iam").get_role_policy(RoleName=role, PolicyName=name)
    return {"role": role, "name": name, "policy": _document(found["PolicyDocument"])}


@removes(kinds.iam.ROLE_POLICY)
def _remove_role_policy(moto: Moto, id_: str, outputs: Outputs) -> None:
    role, _, name = id_.partition(":")
    moto.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


def _is_aws_own(inputs: Inputs) -> bool:
    """AWS's own policies are not in moto: reading all of them takes it a second at each start."""
    return inputs["policyArn"].startswith("arn:aws:iam::aws:")


@makes(kinds.iam.ROLE_POLICY_ATTACHMENT)
def _role_policy_attachment(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    if not _is_aws_own(inputs):
        moto.client("iam").attach_role_policy(
            RoleName=inputs["role"], PolicyArn=inputs["policyArn"]
        )
    return {"id": f"{inputs['role']}/{inputs['policyArn']}"}


stays(kinds.iam.ROLE_POLICY_ATTACHMENT)


@reads(kinds.iam.ROLE_POLICY_ATTACHMENT)
def _read_role_policy_attachment(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    found = moto.client("iam").list_attached_role_policies(RoleName=outputs["role"])
    attached = {each["PolicyArn"] for each in found["AttachedPolicies"]}
    if outputs["policyArn"] not in attached and not _is_aws_own(outputs):
        return None
    return {"role": outputs["role"], "policyArn": outputs["policyArn"]}


@removes(kinds.iam.ROLE_POLICY_ATTACHMENT)
def _remove_role_policy_attachment(moto: Moto, id_: str, outputs: Outputs) -> None:
    if not _is_aws_own(outputs):
        moto.client("iam").detach_role_policy(
            RoleName=outputs["role"], PolicyArn=outputs["policyArn"]
        )


# --- instance profiles


@makes(kinds.iam.INSTANCE_PROFILE)
def _instance_profile(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    iam = moto.client("iam")
    profile = iam.create_instance_profile(InstanceProfileName=name, Tags=tags(inputs))[
        "InstanceProfile"
    ]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
    return {"id": name, "name": name, "arn": profile["Arn"]}


def _set_role(moto: Moto, id_: str, role: str | None) -> None:
    """Puts a role, or none, into a profile in place of whatever is there."""
    iam = moto.client("iam")
    found = iam.get_instance_profile(InstanceProfileName=id_)["InstanceProfile"]["Roles"]
    there = [each["RoleName"] for each in found]
    for each in there:
        if each != role:
            iam.remove_role_from_instance_profile(InstanceProfileName=id_, RoleName=each)
    if role and role not in there:
        iam.add_role_to_instance_profile(InstanceProfileName=id_, RoleName=role)


@changes(kinds.iam.INSTANCE_PROFILE, "tags", "role")
def _change_instance_profile(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    iam = moto.client("iam")
    _set_role(moto, id_, new["role"])
    named = {"InstanceProfileName": id_}
    retag(
        old,
        new,
        tag=lambda set_: iam.tag_instance_profile(**named, Tags=tags({"tags": set_})),
        untag=lambda gone: iam.untag_instance_profile(**named, TagKeys=gone),
    )
    return {}


@reads(kinds.iam.INSTANCE_PROFILE)
def _read_instance_profile(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("iam").get_instance_profile(InstanceProfileName=id_)["InstanceProfile"]
    roles = [each["RoleName"] for each in found["Roles"]]
    return {"name": id_, "role": next(iter(roles), ""), "tags": tag_map(found.get("Tags", ()))}


@removes(kinds.iam.INSTANCE_PROFILE)
def _remove_instance_profile(moto: Moto, id_: str, outputs: Outputs) -> None:
    _set_role(moto, id_, None)
    moto.client("iam").delete_instance_profile(InstanceProfileName=id_)
