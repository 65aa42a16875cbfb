"""Roles and what they may do."""

from recording.kinds.kind import Kind

_NAME = r"[\w+=,.@-]+"

ROLE = Kind(
    token="aws:iam/role:Role",
    name_limit=64,
    name_pattern=_NAME,
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
    replaced_by=frozenset({"name"}),
)
ROLE_POLICY = Kind(
    token="aws:iam/rolePolicy:RolePolicy",
    name_limit=128,
    name_pattern=_NAME,
    replaced_by=frozenset({"name", "role"}),
)
ROLE_POLICY_ATTACHMENT = Kind(
    token="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    replaced_by=frozenset({"policyArn", "role"}),
)
INSTANCE_PROFILE = Kind(
    token="aws:iam/instanceProfile:InstanceProfile",
    name_limit=128,
    name_pattern=_NAME,
    shape={"id": "{name}", "arn": "arn:aws:iam::{account}:instance-profile/{name}"},
    replaced_by=frozenset({"name"}),
)
