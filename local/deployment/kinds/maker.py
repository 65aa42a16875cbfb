"""What the makers share: their register, and the way from the provider's names to the API's."""

from collections.abc import Callable, Mapping
from typing import Any

from local.aws.moto import Moto
from recording.kinds.kind import Kind

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
Maker = Callable[[Moto, str, Inputs], Outputs]

MAKERS: dict[str, Maker] = {}

# Where botocore's name is not the provider's with a capital.
_ACRONYMS = {
    "id": "ID",
    "sseAlgorithm": "SSEAlgorithm",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
}


def makes(kind: Kind) -> Callable[[Maker], Maker]:
    """Registers a function that makes a resource of this kind in moto.

    It gets moto, the resource's name and its inputs, and returns what AWS adds: at least an `id`.
    """

    def register(maker: Maker) -> Maker:
        MAKERS[kind.token] = maker
        return maker

    return register


def api(value: Any) -> Any:
    """Nested properties in the API's spelling: `maxAge` becomes `MaxAge`."""
    if isinstance(value, Mapping):
        return {_api_name(key): api(item) for key, item in value.items()}
    return [api(item) for item in value] if isinstance(value, list) else value


def _api_name(name: str) -> str:
    return _ACRONYMS.get(name, name[:1].upper() + name[1:])


def without(inputs: Inputs, *names: str) -> Outputs:
    """The inputs but for some."""
    return {key: value for key, value in inputs.items() if key not in names}


def tags(inputs: Inputs) -> list[dict[str, str]]:
    """The inputs' tags as most of the API takes them."""
    return [{"Key": key, "Value": value} for key, value in inputs.get("tags", {}).items()]
