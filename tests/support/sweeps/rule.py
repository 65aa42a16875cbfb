"""What a sweep is, and how it reads a recording."""

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pulumi_aws

from recording.model import Recording

Sweep = Callable[[Recording], list[str]]
SWEEPS: list[Sweep] = []


def sweep(rule: Sweep) -> Sweep:
    SWEEPS.append(rule)
    return rule


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, with where it is; JSON inside texts is looked into too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, path)
    elif isinstance(value, str):
        yield path, value
        with contextlib.suppress(ValueError):
            inner = json.loads(value)
            yield from strings(inner if isinstance(inner, dict | list) else None, path)


@cache
def takes(kind: str, key: str) -> bool:
    """Whether the provider's class for a type has a property (in camelCase)."""
    module, name = kind.split(":")[1].split("/")[0], kind.split(":")[2]
    package = getattr(pulumi_aws, "lambda_" if module == "lambda" else module)
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    return snake in inspect.signature(getattr(package, name)._internal_init).parameters
