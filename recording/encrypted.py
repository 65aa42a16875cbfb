"""Stand-ins for what is encrypted in a stack file: without its passphrase nobody can read it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from components.settings import Settings
from components.settings_errors import PROJECT

STAND_IN = "secret"


def keys(config: Mapping[str, Any]) -> list[str]:
    """What is encrypted, such as `tl-fif:alerts.pagerDutyUrl`, or `tl-fif:alerts` as a whole."""
    return [found for key, value in config.items() for found in _keys(key, value)]


def _keys(key: str, value: Any) -> Iterator[str]:
    if _is_encrypted(value) or not isinstance(value, Mapping):
        yield from [key] if _has_encrypted(value) else []
    else:
        yield from (f"{key}.{name}" for name, inner in value.items() if _has_encrypted(inner))


def with_stand_ins(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the settings' own examples where it is encrypted.

    A key without an example is left out, so that it has its default.
    """
    return {key: value for key, given in config.items() for value in _opened(key, given)}


def _opened(key: str, value: Any) -> list[Any]:
    """The value of a full key as a list of one, or of none where it is left out."""
    if not _has_encrypted(value):
        return [value]
    project, _, group = key.partition(":")
    if project != PROJECT:
        return []
    fields = _fields(group)
    if fields is None:
        return [STAND_IN]
    if _is_encrypted(value):
        return [_examples(fields)]
    return [_group(fields, value)] if isinstance(value, Mapping) else [STAND_IN]


def _group(fields: Mapping[str, FieldInfo], given: Mapping[str, Any]) -> dict[str, Any]:
    opened = {name: value for name, value in given.items() if not _has_encrypted(value)}
    encrypted = given.keys() - opened.keys()
    # One that no setting has gets a value too: the settings say that there is no such key.
    unknown = dict.fromkeys(encrypted - fields.keys(), STAND_IN)
    return opened | unknown | _examples({name: fields[name] for name in encrypted & fields.keys()})


def _fields(group: str) -> dict[str, FieldInfo] | None:
    """The fields of a group of settings by their keys; None where there is no such group."""
    field = Settings.model_fields.get(group)
    inner = getattr(field.annotation, "model_fields", None) if field else None
    return None if inner is None else {each.alias or name: each for name, each in inner.items()}


def _examples(fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    return {name: field.examples[0] for name, field in fields.items() if field.examples}


def _is_encrypted(value: Any) -> bool:
    """Whether this is what Pulumi writes in place of a secret value."""
    return isinstance(value, Mapping) and value.keys() == {"secure"}


def _has_encrypted(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_encrypted(value) or any(map(_has_encrypted, value.values()))
    return isinstance(value, list) and any(map(_has_encrypted, value))
