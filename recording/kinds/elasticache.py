"""The queue's server: locally a Valkey of this machine."""

from recording.kinds.kind import Kind

# ElastiCache's reference: begins with a letter, no two hyphens together and none at the end.
_HYPHENATED = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"

REPLICATION_GROUP = Kind(
    token="aws:elasticache/replicationGroup:ReplicationGroup",
    name_limit=40,
    name_pattern=_HYPHENATED,
    shape={
        "id": "{name}",
        "arn": "arn:aws:elasticache:{region}:{account}:replicationgroup:{name}",
        "primaryEndpointAddress": "{name}.{hex:.6}.ng.0001.use1.cache.amazonaws.com",
    },
    emulated="a Valkey of this machine, with the node type's memory",
    name_property="replicationGroupId",
    replaced_by=frozenset(
        {
            "atRestEncryptionEnabled",
            "engine",
            "engineVersion",
            "port",
            "replicationGroupId",
            "subnetGroupName",
        }
    ),
)
PARAMETER_GROUP = Kind(
    token="aws:elasticache/parameterGroup:ParameterGroup",
    name_limit=255,
    name_pattern=_HYPHENATED,
    emulated="its parameters are set in Valkey with the group that names it",
    replaced_by=frozenset({"description", "family", "name"}),
)
SUBNET_GROUP = Kind(
    token="aws:elasticache/subnetGroup:SubnetGroup",
    name_limit=255,
    name_pattern=_HYPHENATED,
    inert="Valkey listens on the loopback address",
    replaced_by=frozenset({"name"}),
)
