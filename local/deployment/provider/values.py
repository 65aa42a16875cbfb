"""Properties on their way between the engine and the makers: protobuf's structs and plain data."""

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

# What marks a value that is more than plain data, and one that is secret; and what stands in place
# of one that is known only after `up` (sdk/go/common/resource).
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def plain(properties: struct_pb2.Struct) -> dict[str, Any]:
    """A struct as plain data, secrets in clear, and whole numbers as the program wrote them."""
    return _plain(json_format.MessageToDict(properties))


def secrets_of(properties: struct_pb2.Struct) -> set[str]:
    """The properties that are secret, or have a secret inside."""
    return {key for key, value in json_format.MessageToDict(properties).items() if _hides(value)}


def struct(values: Mapping[str, Any], secret: Collection[str] = ()) -> struct_pb2.Struct:
    """Plain data as a struct, these properties marked as secret; what is None is left out."""
    marked = {
        key: {SIGNATURE: SECRET, "value": value} if key in secret else value
        for key, value in values.items()
        if value is not None
    }
    result = struct_pb2.Struct()
    result.update(marked)
    return result


def is_known(value: Any) -> bool:
    """Whether a value is known before `up`."""
    return value != UNKNOWN


def _hides(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get(SIGNATURE) == SECRET or any(map(_hides, value.values()))
    return isinstance(value, list) and any(map(_hides, value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _plain(value["value"])
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
