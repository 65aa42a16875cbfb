"""What is wrong with the configuration, in one line a mistake: the key, the value and the fix."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_origin

import pulumi
from pydantic import BaseModel
from pydantic.fields import FieldInfo

PROJECT = "tl-fif"
LONGEST = 120
HIDDEN = "[hidden]"
# Keys that there were, and what there is in their place.
REPLACED = {
    "delivery:pipeline": "It is gone: a stack has a delivery pipeline when delivery:connectionArn "
    "and delivery:repository are set.",
}


class SettingsError(pulumi.RunError):
    """A configuration key or value the program refuses; the message names the key, the value and
    the fix.
    """


def explained(
    settings: type[BaseModel], errors: Iterable[Mapping[str, Any]], hidden: Collection[str] = ()
) -> SettingsError:
    """The error to raise for what pydantic found wrong with the groups of `settings`; of those in
    `hidden` it shows no value.
    """
    return SettingsError("\n".join(_explain(settings, error, hidden) for error in errors))


def no_price(key: str, value: str, priced: Iterable[str]) -> SettingsError:
    """The error for a key whose value is not in the price list, but these are."""
    return SettingsError(
        f"{key} = {shown(value)} has no price. Choose one of {', '.join(priced)}, or add it to "
        "components/prices.py: the spending cap needs its price. Set it with: "
        f"pulumi config set --path '{PROJECT}:{key.replace(':', '.')}' <value>"
    )


def no_offer(key: str, value: str, region: str, offered: Iterable[str]) -> SettingsError:
    """The error for an instance type that the region has not, but these."""
    return SettingsError(
        f"{key} = {shown(value)} is not to be had in {region}. Choose one of "
        f"{', '.join(offered)}, or another aws:region. Set it with: "
        f"pulumi config set --path '{PROJECT}:{key.replace(':', '.')}' <value>"
    )


def needed(key: str, why: str, otherwise: str = "") -> SettingsError:
    """The error for a key that has to be set beside what else is; `otherwise` is the end of a
    command that does without it.
    """
    command = f"pulumi config set --path '{PROJECT}:"
    instead = f", or do without: {command}{otherwise}" if otherwise else ""
    return SettingsError(
        f"{key} = None: {why}. Set it with: {command}{key.replace(':', '.')}' <value>{instead}"
    )


def no_region(region: Any, priced: Iterable[str]) -> SettingsError:
    """The error for a region without prices, or for none at all."""
    choose = f"Choose one of {', '.join(priced)} (pulumi config set aws:region us-east-1)"
    if region is None:
        below = "It stands below `config:` in the stack's file"
        return SettingsError(f"aws:region = None: it is not set. {choose}. {below}")
    more = "or add the region to components/prices.py."
    return SettingsError(f"aws:region = {shown(region)} has no prices. {choose}, {more}")


def together(values: Mapping[str, Any], why: str, assignment: str) -> SettingsError:
    """The error for values that are good alone and not together; `assignment` is the end of a
    command that would mend it.
    """
    said = " and ".join(f"{key} = {_plain(value)}" for key, value in values.items())
    command = f"pulumi config set --path '{PROJECT}:{assignment}"
    return SettingsError(f"{said} do not go together: {why}. One way out: {command}")


def _plain(value: Any) -> str:
    """A good value as it is written in a stack's file."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"


def shown(value: Any) -> str:
    """A value in one line of bearable length."""
    try:
        text = repr(value)
    except ValueError:
        # Python writes no number of more than 4,300 digits.
        return f"a {type(value).__name__} of {value.bit_length()} bits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def shown_at(settings: type[BaseModel], path: Sequence[str], value: Any) -> str:
    """A value in one line, or that it is hidden: text stands there only below a known key that is
    no secret, for anywhere else it may be a secret under a misspelt key.
    """
    fields = group_of(settings, path[0]).model_fields.values()
    field = next((each for each in fields if path[1:2] == [each.alias]), None)
    if value == HIDDEN or (field and is_secret(field)):
        return HIDDEN
    suspect = field is None or _has_map(value)
    return HIDDEN if suspect and _has_text(value) else shown(value)


def _has_map(value: Any) -> bool:
    return any(isinstance(each, Mapping) for each in _parts(value))


def _has_text(value: Any) -> bool:
    """Whether there is anything in a value but numbers and switches, and the keys of maps."""
    plain = (Mapping, list, tuple, int, float, type(None))
    return any(not isinstance(each, plain) for each in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """A value and all that is in it."""
    left = [value]
    while left:
        each = left.pop()
        yield each
        left.extend(each.values() if isinstance(each, Mapping) else ())
        left.extend(each if isinstance(each, list | tuple) else ())


def _explain(settings: type[BaseModel], error: Mapping[str, Any], hidden: Collection[str]) -> str:
    """One pydantic error as `group:key = value: what is wrong; what it means; how to set it`."""
    path = [repr(str(part))[1:-1][:LONGEST] for part in error["loc"]]
    group = group_of(settings, path[0])
    field = next((f for f in group.model_fields.values() if path[1:2] == [f.alias]), None)
    said = shown_at(settings, path[:2], error["input"])
    value = HIDDEN if path[0] in hidden else said
    return f"{':'.join(path[:2])} = {value}: {_fault(path, group, field, error)}"


def group_of(settings: type[BaseModel], name: str) -> type[BaseModel]:
    """The model of a group, or `settings` itself where there is no such group."""
    field = settings.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else settings


def is_secret(field: FieldInfo) -> bool:
    """Whether what a key says is kept from every eye."""
    return "SecretStr" in repr(field.annotation)


def is_list(field: FieldInfo) -> bool:
    """Whether a key has a list of values."""
    return get_origin(field.annotation) is tuple


def _fault(
    path: list[str], group: type[BaseModel], field: FieldInfo | None, error: Mapping[str, Any]
) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(path, group)
    key = ".".join([*path, "<key>"][:2])
    flags = "--path --secret" if field and is_secret(field) else "--path"
    command = f"pulumi config set {flags} '{PROJECT}:{key}' <value>"
    if field is None:
        remove = f"pulumi config rm '{PROJECT}:{path[0]}'"
        said = f"{path[0]} is a group of keys. Set one of them with: {command}"
        return f"{said}, after removing what is there with: {remove}"
    said = error["msg"].removeprefix("Value error, ")
    wrong = f"{said[0].lower()}{said[1:]}"
    if is_list(field):
        first = command.replace(f"{key}'", f"{key}[0]'")
        remove = f"pulumi config rm --path '{PROJECT}:{key}'"
        meaning = f"It is {field.description}; the default is none"
        return f"{wrong}. {meaning}. Remove it with: {remove}, and set each with: {first}"
    meaning = f"It is {field.description}; the default is {field.default!r}"
    return f"{wrong}. {meaning}. Set it with: {command}"


def _unknown(path: list[str], group: type[BaseModel]) -> str:
    prefix = f"{path[0]}:" if len(path) > 1 else ""
    known = [f"{prefix}{f.alias}" for name, f in group.model_fields.items() if name != "region"]
    near = difflib.get_close_matches(":".join(path[:2]), known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    hint = f" {replaced}" if (replaced := REPLACED.get(":".join(path[:2]))) else hint
    remove = f"pulumi config rm --path '{PROJECT}:{'.'.join(path[:2])}'"
    return f"no such key.{hint} Known keys: {', '.join(known)}. Remove it with: {remove}"
