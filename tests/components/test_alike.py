"""The stacks of which long tests run one alone declare the same."""

import json
from collections.abc import Mapping
from typing import Any

from support.recordings import ALIKE, evaluate


def test_they_declare_the_same_with_other_numbers_and_names() -> None:
    first, *others = map(_shapes, ALIKE)
    assert [each for each in others if each != first] == []
    assert _shapes("literal") != first


def _shapes(stack: str) -> dict[tuple[str, str], Any]:
    return {(each.type, each.name): _shape(each.inputs) for each in evaluate(stack).resources}


def _shape(value: Any) -> Any:
    """What has which keys, without numbers and texts; text that is JSON as what it says."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _shape(json.loads(value))
        except ValueError:
            return str
    if isinstance(value, Mapping):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shape(inner) for inner in value]
    return type(value)
