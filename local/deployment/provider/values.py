"""Properties on their way between the engine and the makers: protobuf's structs and plain data."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

# What the engine sends in place of a value that is known only after `up` (sdk/go/common/resource).
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def plain(properties: struct_pb2.Struct) -> dict[str, Any]:
    """A struct as plain data, with whole numbers as the program wrote them."""
    return _whole(json_format.MessageToDict(properties))


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Plain data as a struct; what is None is left out."""
    result = struct_pb2.Struct()
    result.update({key: value for key, value in values.items() if value is not None})
    return result


def is_known(value: Any) -> bool:
    """Whether nothing in a value is still unknown."""
    if isinstance(value, Mapping):
        return all(map(is_known, value.values()))
    if isinstance(value, list):
        return all(map(is_known, value))
    return value != UNKNOWN


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
