"""A stack made in moto alone, resource by resource, and what is left of it there."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from support.recordings import evaluate

from local.aws.moto import Moto
from local.deployment.backend import LocalBackend
from local.deployment.kinds import CHANGERS, MAKERS, READERS, REMOVERS
from local.machine.valkey import Valkey
from recording.kinds import KINDS
from recording.model import Resource


def deploy(stack: str, moto: Moto) -> list[Resource]:
    """The stack's resources that moto has, each after all that it depends on; without a Valkey."""
    nobody = SimpleNamespace(host="127.0.0.1", port=6379, configure=lambda **settings: None)
    recording = evaluate(stack, LocalBackend(stack, moto, cast(Valkey, nobody)))
    made = [each for each in recording.resources if each.custom and KINDS[each.type].made]
    return list(_in_order(made, {each.urn: each for each in recording.resources}))


def _in_order(made: list[Resource], by_urn: dict[str, Resource]) -> Iterator[Resource]:
    seen: set[str] = set()

    def visit(resource: Resource) -> Iterator[Resource]:
        if resource.urn in seen:
            return
        seen.add(resource.urn)
        for urn in resource.dependencies:
            yield from visit(by_urn[urn])
        if resource in made:
            yield resource

    for each in made:
        yield from visit(each)


def known(resource: Resource) -> dict[str, Any]:
    """Inputs and outputs in one."""
    return resource.inputs | resource.outputs


def read(moto: Moto, resource: Resource) -> dict[str, Any] | None:
    """What AWS has of it; None if nothing."""
    return READERS[resource.type](moto, resource.id, known(resource))


def drift(moto: Moto, resource: Resource) -> dict[str, Any]:
    """What AWS has otherwise than deployed."""
    found = read(moto, resource)
    assert found is not None, resource.urn
    deployed = known(resource)
    return {key: value for key, value in found.items() if value != deployed.get(key)}


def change(moto: Moto, resource: Resource, **inputs: Any) -> Resource:
    """The resource after a change in place."""
    new = {**resource.inputs, **inputs}
    changed = CHANGERS[resource.type](moto, resource.id, known(resource), new)
    return replace(resource, inputs=new, outputs=resource.outputs | new | changed)


def remove(moto: Moto, resource: Resource) -> None:
    """Removes it, or what is left of it."""
    REMOVERS[resource.type](moto, resource.id, known(resource))


def make(moto: Moto, kind: str, name: str, inputs: dict[str, Any]) -> Resource:
    """A resource that no stack declares."""
    made = MAKERS[kind](moto, name, inputs)
    return Resource(
        urn=name,
        type=kind,
        name=name,
        parent="",
        inputs=inputs,
        outputs=made,
        id=made["id"],
        dependencies=[],
        custom=True,
    )
