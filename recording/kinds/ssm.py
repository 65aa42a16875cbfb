"""The parameter store."""

from recording.kinds.kind import Kind

PARAMETER = Kind(
    token="aws:ssm/parameter:Parameter",
    name_limit=1011,
    name_pattern=r"[a-zA-Z0-9_.\-/]+",
    replaced_by=frozenset({"name", "tier"}),
    shape={"id": "{name}", "arn": "arn:aws:ssm:{region}:{account}:parameter{name}"},
)
