"""What bakes the image of the nodes."""

from recording.kinds.kind import Kind

_ARN = "arn:aws:imagebuilder:{region}:{account}"
# Image Builder's own rule for the names of all its resources.
_NAME = {"name_limit": 128, "name_pattern": r"[-_A-Za-z0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z0-9]"}
_INERT = "moto has no Image Builder; the local cloud publishes an image as a bake would"

COMPONENT = Kind(
    token="aws:imagebuilder/component:Component",
    shape={"id": "{arn}", "arn": _ARN + ":component/{name}/{version}/1"},
    inert=_INERT,
    replaced_by=frozenset({"data", "description", "name", "platform", "version"}),
    **_NAME,
)
RECIPE = Kind(
    token="aws:imagebuilder/imageRecipe:ImageRecipe",
    shape={"id": "{arn}", "arn": _ARN + ":image-recipe/{name}/{version}"},
    inert=_INERT,
    replaced_by=frozenset(
        {
            "blockDeviceMappings",
            "components",
            "name",
            "parentImage",
            "systemsManagerAgent",
            "version",
        }
    ),
    **_NAME,
)
INFRASTRUCTURE = Kind(
    token="aws:imagebuilder/infrastructureConfiguration:InfrastructureConfiguration",
    shape={"id": "{arn}", "arn": _ARN + ":infrastructure-configuration/{name}"},
    inert=_INERT,
    replaced_by=frozenset({"name"}),
    **_NAME,
)
DISTRIBUTION = Kind(
    token="aws:imagebuilder/distributionConfiguration:DistributionConfiguration",
    shape={"id": "{arn}", "arn": _ARN + ":distribution-configuration/{name}"},
    inert=_INERT,
    replaced_by=frozenset({"name"}),
    **_NAME,
)
PIPELINE = Kind(
    token="aws:imagebuilder/imagePipeline:ImagePipeline",
    shape={"id": "{arn}", "arn": _ARN + ":image-pipeline/{name}"},
    inert=_INERT,
    replaced_by=frozenset({"name"}),
    **_NAME,
)
