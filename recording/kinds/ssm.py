"""The parameter store."""

from recording.kinds.kind import Kind

PARAMETER = Kind(
    token="aws:ssm/parameter:Parameter",
    replaced_by=frozenset({"name", "tier"}),
    shape={"id": "{name}", "arn": "arn:aws:ssm:{region}:{account}:parameter{name}"},
)
