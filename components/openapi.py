"""openapi.yaml as the gateways import it: placeholders filled, and which paths are VPC only."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

OPENAPI = Path(__file__).resolve().parent.parent / "openapi.yaml"
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def render(text: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The OpenAPI document with every `${name}` replaced; KeyError for a name neither given nor in
    x-tlfif-shared.
    """
    return _rendered(_parsed(text), values)


def private(text: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The same, with only the routes that ask for no token and without the authorizer."""
    spec = _parsed(text)
    spec["paths"] = {path: spec["paths"][path] for path in vpc_only_paths(spec)}
    del spec["components"]["securitySchemes"]
    return _rendered(spec, values)


def vpc_only_paths(spec: Mapping[str, Any]) -> list[str]:
    """The paths with an operation that asks for no token: forgetting `security` closes a route,
    never opens it.
    """
    return [path for path, item in spec["paths"].items() if _asks_for_no_token(item)]


def _asks_for_no_token(item: Mapping[str, Any]) -> bool:
    operations = [
        operation
        for method, operation in item.items()
        if isinstance(operation, dict) and method != "options"
    ]
    return any("security" not in operation for operation in operations)


def _parsed(text: str) -> dict[str, Any]:
    # libyaml's own parser takes a tenth of the time, where it is.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _rendered(spec: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    texts = {
        name: each for name, each in spec.pop("x-tlfif-shared").items() if isinstance(each, str)
    }
    return _fill(spec, {**texts, **values})


def _fill(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values) for value in node]
    if isinstance(node, str):
        return _PLACEHOLDER.sub(lambda found: values[found[1]], node)
    return node
