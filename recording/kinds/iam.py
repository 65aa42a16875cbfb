"""Roles and what they may do."""

from recording.kinds.kind import Kind

ROLE = Kind(
    token="aws:iam/role:Role",
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
)
ROLE_POLICY = Kind(token="aws:iam/rolePolicy:RolePolicy")
ROLE_POLICY_ATTACHMENT = Kind(token="aws:iam/rolePolicyAttachment:RolePolicyAttachment")
INSTANCE_PROFILE = Kind(
    token="aws:iam/instanceProfile:InstanceProfile",
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:instance-profile/{name}"},
)
