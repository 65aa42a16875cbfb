"""Roles and what they may do."""

from recording.kinds.kind import Kind

ROLE = Kind(
    token="aws:iam/role:Role",
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
    replaced_by=frozenset({"name"}),
)
ROLE_POLICY = Kind(
    token="aws:iam/rolePolicy:RolePolicy",
    replaced_by=frozenset({"name", "role"}),
)
ROLE_POLICY_ATTACHMENT = Kind(
    token="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    replaced_by=frozenset({"policyArn", "role"}),
)
INSTANCE_PROFILE = Kind(
    token="aws:iam/instanceProfile:InstanceProfile",
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:instance-profile/{name}"},
    replaced_by=frozenset({"name"}),
)
