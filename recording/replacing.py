"""Which changed resources AWS can only replace: asked of the real provider, by a plan from the old
state to the new.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recording.model import Recording, Resource
from recording.references import Linked
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import PROVIDER, Json, TranslationError, terraform_type, translate

UNKNOWN = (
    "whether a change replaces its resource was not asked: "
    "no Terraform with the AWS provider was found here"
)

Pair = tuple[Resource, Resource]


def available() -> bool:
    """Whether the provider can be asked on this machine."""
    return find_terraform() is not None and find_plugins() is not None


def replaced(changed: Sequence[Pair], region: str) -> set[str]:
    """The URNs of those (before, after) pairs that would be replaced; empty where the provider
    cannot be asked.

    Raises RuntimeError with what the provider has against the changes.
    """
    program, plugins = find_terraform(), find_plugins()
    if not changed or program is None or plugins is None:
        return set()
    with tempfile.TemporaryDirectory(prefix="tl-fif-") as folder:
        return _asked(Terraform(Path(folder), program=program, plugins=plugins), changed, region)


def _asked(terraform: Terraform, changed: Sequence[Pair], region: str) -> set[str]:
    schema = terraform.schema()
    try:
        old = translate(_linked((before for before, _ in changed), region), schema)[0]
        new = translate(_linked((after for _, after in changed), region), schema)[0]
    except TranslationError as error:
        raise RuntimeError(str(error)) from None
    because = terraform.replacing(new, _state(old, schema, changed))

    def is_replaced(after: Resource) -> bool:
        type_ = terraform_type(after.type, schema) or ""
        one, other = (each["resource"][type_][after.name] for each in (old, new))
        # What else the provider would replace for is a default that the state, made up as it is,
        # does not have.
        return bool(because.get(f"{type_}.{after.name}", set()) & _differing(one, other))

    return {after.urn for _, after in changed if is_replaced(after)}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _linked(resources: Iterable[Resource], region: str) -> Linked:
    """Resources as they are, ids and all: in a state nothing is unknown. Of what is protected the
    question is still whether it would be replaced.
    """
    found = [replace(each, dependencies=[], protect=False) for each in resources]
    names = {(each.type, each.name): str(each.outputs.get("name")) for each in found}
    recording = Recording(stack="", resources=found, outputs={})
    return Linked(recording=recording, region=region, references={}, names=names)


def _state(configuration: Json, schema: Json, changed: Sequence[Pair]) -> Json:
    """A Terraform state in which these resources exist as configured, under the ids of the
    recording.
    """
    ids = {before.name: before.id for before, _ in changed}
    resources = [
        _existing(type_, name, ids[name], body, schema[type_])
        for type_, named in configuration["resource"].items()
        for name, body in named.items()
    ]
    return {
        "version": 4,
        "terraform_version": "1.5.0",
        "serial": 1,
        "lineage": "preview",
        "resources": resources,
    }


def _existing(type_: str, name: str, id_: str, body: Json, schema: Json) -> Json:
    attributes = _filled(schema["block"], _plain(body)) | {"id": id_}
    return {
        "mode": "managed",
        "type": type_,
        "name": name,
        "provider": f'provider["{PROVIDER}"]',
        "instances": [{"schema_version": schema["version"], "attributes": attributes}],
    }


def _filled(block: Json, body: Json) -> Json:
    """A block with everything that it can have: what was not configured is null, or no block."""
    attributes = {name: body.get(name) for name in block.get("attributes", {})}
    inner = block.get("block_types", {})
    return attributes | {name: _inner(each, body.get(name, ())) for name, each in inner.items()}


def _inner(block: Json, bodies: Sequence[Json]) -> Any:
    items = [_filled(block["block"], body) for body in bodies]
    if block["nesting_mode"] == "single":
        return items[0] if items else None
    return items


def _plain(value: Any) -> Any:
    """Values as a state has them: without the escapes of a configuration."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.replace("$${", "${").replace("%%{", "%{") if isinstance(value, str) else value
