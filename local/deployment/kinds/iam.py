"""Roles and what they may do, made in moto."""

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, tags, without
from recording import kinds


@makes(kinds.iam.ROLE)
def _role(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    role = moto.client("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=tags(inputs),
        **api(without(inputs, "name", "assumeRolePolicy", "tags")),
    )["Role"]
    return {"id": name, "arn": role["Arn"]}


@makes(kinds.iam.ROLE_POLICY)
def _role_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("iam").put_role_policy(
        RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"]
    )
    return {"id": f"{inputs['role']}:{name}"}


@makes(kinds.iam.ROLE_POLICY_ATTACHMENT)
def _role_policy_attachment(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    # AWS's own policies are not in moto: reading all of them takes it a second at each start.
    if not inputs["policyArn"].startswith("arn:aws:iam::aws:"):
        moto.client("iam").attach_role_policy(
            RoleName=inputs["role"], PolicyArn=inputs["policyArn"]
        )
    return {"id": f"{inputs['role']}/{inputs['policyArn']}"}


@makes(kinds.iam.INSTANCE_PROFILE)
def _instance_profile(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    iam = moto.client("iam")
    profile = iam.create_instance_profile(InstanceProfileName=name, Tags=tags(inputs))[
        "InstanceProfile"
    ]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
    return {"id": name, "arn": profile["Arn"]}
