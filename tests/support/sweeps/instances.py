"""What `pulumi up` may do to an instance that is there already: not start it, nor take away tags
that others set.

The tables are the provider's update function (aws_instance, 5.x and 7.x).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.sweeps.rule import sweep

from components.billed import INSTANCE
from recording import kinds
from recording.model import ROOT, Recording, Resource
from tlfif import names

# Changed in place by a stop, the change and a start; or AWS wants the instance to be stopped.
POWER_CYCLING = {
    "capacityReservationSpecification",
    "cpuOptions",
    "instanceType",
    "userData",
    "userDataBase64",
}
# A change makes another instance.
REPLACING = {"ami", "instanceMarketOptions", "subnetId"}
# Changed while the instance runs, or is stopped.
IN_PLACE = {
    "iamInstanceProfile",
    "instanceInitiatedShutdownBehavior",
    "metadataOptions",
    "rootBlockDevice",
    "tags",
    "volumeTags",
    "vpcSecurityGroupIds",
}
# Code that runs on AWS.
DEPLOYED = ("tlfif", "functions", "worker", "gpu_image")


@sweep
def nothing_starts_a_stopped_instance(recording: Recording) -> list[str]:
    """What the provider changes by a stop and a start never changes, or another instance comes."""
    found: list[str] = []
    for instance in recording.of_type(INSTANCE):
        given = instance.inputs.keys()
        risky = (given & POWER_CYCLING) - _settled(instance)
        unknown = given - POWER_CYCLING - REPLACING - IN_PLACE
        found += [f"{instance.name}: {key} starts it" for key in sorted(risky)]
        found += [f"{instance.name}: is {key} changed in place?" for key in sorted(unknown)]
    return found


def _settled(instance: Resource) -> set[str]:
    return {*instance.ignore_changes, *instance.replace_on_changes}


def power_cycled_by(old: Resource, new: Resource) -> list[str]:
    """The properties that differ, by which the provider would start the instance."""
    keys = old.inputs.keys() | new.inputs.keys()
    changed = {key for key in keys if old.inputs.get(key) != new.inputs.get(key)}
    return sorted((changed & POWER_CYCLING) - _settled(new))


@sweep
def what_bakes_an_image_is_none_of_the_nodes(recording: Recording) -> list[str]:
    """With both tags the builder would be started, stopped and billed as a node."""
    node = {names.ENV_TAG, names.STACK_TAG}
    return [
        f"{builder.name}: has the tags of a node"
        for builder in recording.of_type(kinds.imagebuilder.INFRASTRUCTURE.token)
        if node <= (builder.inputs.get("resourceTags") or {}).keys()
    ]


@sweep
def tags_that_others_set_are_left_alone(recording: Recording) -> list[str]:
    """Refresh reads such a tag, and the next `pulumi up` would take it away."""
    return [
        f"{instance.name}: {path}"
        for instance in recording.of_type(INSTANCE)
        for key in names.FOREIGN_TAGS
        for tags in ("tags", "tagsAll", "volumeTags")
        if (path := f'{tags}["{key}"]') not in instance.ignore_changes
    ]


def tags_set_by_code() -> dict[str, str]:
    """The tag keys in calls of CreateTags by what is deployed, as written, and where."""
    paths = (path for folder in DEPLOYED for path in (ROOT / folder).rglob("*.py"))
    return {key: str(path.relative_to(ROOT)) for path in paths for key in _tag_keys(path)}


def _tag_keys(path: Path) -> Iterator[str]:
    yield from keys_of_create_tags(path.read_text())


def keys_of_create_tags(source: str) -> Iterator[str]:
    """The keys, as expressions, of each `create_tags(…, Tags=[{"Key": …}])`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".create_tags"):
            entries = [each for each in ast.walk(node) if isinstance(each, ast.Dict)]
            for entry in entries:
                pairs = zip(entry.keys, entry.values, strict=True)
                yield from (ast.unparse(v) for k, v in pairs if k and ast.unparse(k) == "'Key'")
