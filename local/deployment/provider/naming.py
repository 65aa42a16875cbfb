"""Physical names as the AWS provider gives them: what the engine proposes, within the limits."""

import re
from collections.abc import Mapping
from typing import Any

from local.deployment.provider.values import is_known
from recording.kinds.kind import Kind

Failure = dict[str, str]


def named(
    kind: Kind, news: Mapping[str, Any], olds: Mapping[str, Any], request: Any
) -> tuple[dict[str, Any], Failure | None]:
    """The inputs with a name: the program's, the one the resource has, or the engine's proposal.

    The failure names the property and the reason where AWS would refuse the name.
    """
    inputs = dict(news)
    if not kind.name_limit:
        return inputs, None
    if kind.name_property not in inputs:
        proposed = request.autonaming.proposed_name
        inputs[kind.name_property] = olds.get(kind.name_property) or proposed
    name = inputs[kind.name_property]
    return inputs, _failure(kind, name) if is_known(name) else None


def physical(kind: Kind, inputs: Mapping[str, Any], logical: str) -> str:
    """The name to make a resource by; its logical name for types that have none."""
    return str(inputs.get(kind.name_property) or inputs.get("name") or logical)


def _failure(kind: Kind, name: str) -> Failure | None:
    if len(name) > kind.name_limit:
        reason = (
            f"the name {name!r} of {kind.token} has {len(name)} characters; "
            f"AWS allows {kind.name_limit}"
        )
        return {"property": kind.name_property, "reason": reason}
    if kind.name_pattern and not re.fullmatch(kind.name_pattern, name):
        reason = f"the name {name!r} of {kind.token} is not {kind.name_pattern}"
        return {"property": kind.name_property, "reason": reason}
    return None
