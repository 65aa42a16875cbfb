"""Properties in the provider's spelling and in the API's, and which of AWS's answers say the same
as what was declared.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]

# Where botocore's name is not the provider's with a capital.
_ACRONYMS = {
    "id": "ID",
    "sseAlgorithm": "SSEAlgorithm",
    "okActions": "OKActions",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
}
_PROVIDERS = {theirs: ours for ours, theirs in _ACRONYMS.items()}

# Maps whose keys are the user's own: all of them count, declared or not.
_FREE = frozenset({"tags", "volumeTags", "dimensions"})


def api(value: Any) -> Any:
    """Nested properties in the API's spelling: `maxAge` becomes `MaxAge`."""
    if isinstance(value, Mapping):
        return {_api_name(key): api(item) for key, item in value.items()}
    return [api(item) for item in value] if isinstance(value, list) else value


def _api_name(name: str) -> str:
    return _ACRONYMS.get(name, name[:1].upper() + name[1:])


def properties(value: Any) -> Any:
    """An answer of the API in the provider's spelling: `MaxAge` becomes `maxAge`."""
    if isinstance(value, Mapping):
        return {_property_name(key): properties(item) for key, item in value.items()}
    return [properties(item) for item in value] if isinstance(value, list) else value


def _property_name(name: str) -> str:
    return _PROVIDERS.get(name, name[:1].lower() + name[1:])


def without(inputs: Inputs, *names: str) -> Outputs:
    """The inputs but for some."""
    return {key: value for key, value in inputs.items() if key not in names}


def tags(inputs: Inputs) -> list[dict[str, str]]:
    """The inputs' tags as most of the API takes them."""
    return [{"Key": key, "Value": value} for key, value in inputs.get("tags", {}).items()]


def tag_map(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags of the API as properties have them."""
    return {each["Key"]: each["Value"] for each in listed}


def told(declared: Inputs, found: Inputs) -> Outputs:
    """What AWS has of what was declared, and every tag.

    What AWS adds of its own, here and within, is no drift and left out; what says the same in other
    words (JSON, the order of a set) is as declared; what AWS has no longer is None.
    """
    return {
        key: value if key in _FREE else _like(declared[key], value)
        for key, value in found.items()
        if key in declared or (key in _FREE and value)
    }


def _like(declared: Any, found: Any) -> Any:
    if isinstance(declared, Mapping) and isinstance(found, Mapping):
        return {key: _like(item, found.get(key)) for key, item in declared.items()}
    if isinstance(declared, list) and isinstance(found, list):
        return _like_list(declared, found)
    if isinstance(declared, str) and isinstance(found, str) and _parsed(declared) == _parsed(found):
        return declared
    return found


def _like_list(declared: list[Any], found: list[Any]) -> list[Any]:
    if len(declared) != len(found):
        return found
    in_order = [_like(*pair) for pair in zip(declared, found, strict=True)]
    return declared if all(each in declared for each in in_order) else in_order


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith("{") else text
    except ValueError:
        return text
