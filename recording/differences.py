"""What differs between two recordings: resources, and their properties one by one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recording import replacing
from recording.evaluate import stack_region
from recording.model import Recording, Resource


@dataclass(frozen=True)
class Property:
    """One property before and after; None where it is not set."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """One resource that differs: `kind` is added, changed, replaced or removed."""

    kind: str
    resource: Resource
    properties: Sequence[Property] = ()


def differences(old: Recording, new: Recording, warnings: list[str]) -> list[Change]:
    """What would be done to the resources to get from one recording to the other: what is added,
    what is changed or replaced, what is removed, each in the order of their URNs.

    `warnings` gets what the provider has against it.
    """
    before, after = _by_urn(old), _by_urn(new)
    kept = sorted(before.keys() & after.keys())
    found = {urn: diff(before[urn].inputs, after[urn].inputs) for urn in kept}
    changed = {urn: properties for urn, properties in found.items() if properties}
    replaced: set[str] = set()
    try:
        pairs = [(before[urn], after[urn]) for urn in changed]
        replaced = replacing.replaced(pairs, stack_region(new.stack))
    except RuntimeError as refusal:
        warnings.append(f"the AWS provider refuses a change: {refusal}")
    return [
        *(Change("added", after[urn]) for urn in sorted(after.keys() - before.keys())),
        *(
            Change("replaced" if urn in replaced else "changed", after[urn], properties)
            for urn, properties in changed.items()
        ),
        *(Change("removed", before[urn]) for urn in sorted(before.keys() - after.keys())),
    ]


def _by_urn(recording: Recording) -> dict[str, Resource]:
    return {resource.urn: resource for resource in recording.resources if resource.custom}


def diff(old: Any, new: Any, path: str = "") -> list[Property]:
    """The leaves in which two values differ; texts that are JSON are compared as what they say."""
    old, new = _opened(old), _opened(new)
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        pairs = [(f"{path}.{key}".lstrip("."), old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{path}[{at}]", *both) for at, both in enumerate(zip(old, new, strict=True))]
    elif old != new:
        return [Property(path, old, new)]
    return [found for inner, one, other in pairs for found in diff(one, other, inner)]


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
