"""Which changed resources AWS can only replace: asked of the real provider, by a plan from the old
state to the new.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recording.model import Recording, Resource
from recording.terraform import (
    PROVIDER,
    Linked,
    Terraform,
    TranslationError,
    find_plugins,
    find_terraform,
    terraform_type,
    translate,
)

UNKNOWN = "whether a change replaces its resource was not asked: no Terraform with the AWS provider was found here"

Pair = tuple[Resource, Resource]


def available() -> bool:
    """Whether the provider can be asked on this machine."""
    return find_terraform() is not None and find_plugins() is not None


def replaced(changed: Sequence[Pair]) -> set[str]:
    """The URNs of those (before, after) pairs that would be replaced; empty where the provider
    cannot be asked.

    Raises RuntimeError with what the provider has against the changes.
    """
    program, plugins = find_terraform(), find_plugins()
    if not changed or program is None or plugins is None:
        return set()
    with tempfile.TemporaryDirectory(prefix="tl-fif-") as folder:
        terraform = Terraform(Path(folder), program=program, plugins=plugins)
        schema = terraform.schema()
        try:
            old = translate(_linked(before for before, _ in changed), schema)[0]
            new = translate(_linked(after for _, after in changed), schema)[0]
        except TranslationError as error:
            raise RuntimeError(str(error)) from None
        because = terraform.replacing(new, _state(old, schema, changed))
    places = {
        after.urn: (terraform_type(after.type, schema) or "", after.name) for _, after in changed
    }
    return {
        urn
        for urn, (kind, name) in places.items()
        # What else the provider would replace for is a default that the state, made up as it is,
        # does not have.
        if because.get(f"{kind}.{name}", set())
        & _differing(old["resource"][kind][name], new["resource"][kind][name])
    }


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _linked(resources: Iterable[Resource]) -> Linked:
    """Resources as they are, ids and all: in a state nothing is unknown."""
    found = [replace(each, dependencies=[]) for each in resources]
    names = {(each.type, each.name): str(each.outputs.get("name")) for each in found}
    recording = Recording(stack="", resources=found, outputs={})
    return Linked(recording=recording, region="us-east-1", references={}, names=names)


def _state(
    configuration: Mapping[str, Any], schema: Mapping[str, Any], changed: Sequence[Pair]
) -> dict[str, Any]:
    """A Terraform state in which these resources exist as configured, under the ids of the
    recording.
    """
    ids = {before.name: before.id for before, _ in changed}
    resources = [
        {
            "mode": "managed",
            "type": kind,
            "name": name,
            "provider": f'provider["{PROVIDER}"]',
            "instances": [
                {
                    "schema_version": schema[kind]["version"],
                    "attributes": _filled(schema[kind]["block"], _plain(body)) | {"id": ids[name]},
                }
            ],
        }
        for kind, named in configuration["resource"].items()
        for name, body in named.items()
    ]
    return {
        "version": 4,
        "terraform_version": "1.5.0",
        "serial": 1,
        "lineage": "preview",
        "resources": resources,
    }


def _filled(block: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """A block with everything that it can have: what was not configured is null, or no block."""
    attributes = {name: body.get(name) for name in block.get("attributes", {})}
    blocks = {
        name: [_filled(inner["block"], item) for item in body.get(name, ())]
        for name, inner in block.get("block_types", {}).items()
    }
    singles = {
        name
        for name, inner in block.get("block_types", {}).items()
        if inner["nesting_mode"] == "single"
    }
    return attributes | {
        name: (items[0] if items else None) if name in singles else items
        for name, items in blocks.items()
    }


def _plain(value: Any) -> Any:
    """Values as a state has them: without the escapes of a configuration."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.replace("$${", "${").replace("%%{", "%{") if isinstance(value, str) else value
