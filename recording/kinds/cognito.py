"""Who may call the API."""

from recording.kinds.kind import Kind

USER_POOL = Kind(
    token="aws:cognito/userPool:UserPool",
    name_limit=128,
    name_pattern=r"[\w\s+=,.@-]+",
    shape={
        "id": "{region}_{hex:.9}",
        "arn": "arn:aws:cognito-idp:{region}:{account}:userpool/{id}",
    },
    replaced_by=frozenset({"name", "usernameAttributes"}),
)
USER_POOL_CLIENT = Kind(
    token="aws:cognito/userPoolClient:UserPoolClient",
    name_limit=128,
    name_pattern=r"[\w\s+=,.@-]+",
    shape={"id": "{hex:.26}"},
    replaced_by=frozenset({"generateSecret", "userPoolId"}),
)
