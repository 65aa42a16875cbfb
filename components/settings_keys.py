"""Which keys a stack's configuration may have, and which of them are secrets: what is refused of
them, one line a key.
"""

import difflib
import inspect
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from components.settings_errors import (
    HIDDEN,
    LONGEST,
    PROJECT,
    SettingsError,
    group_of,
    is_secret,
    shown_at,
)

PROVIDER = "aws"
# Namespaces of Pulumi's other packages for AWS, which are like the provider's.
_OTHERS = ("awsx", "awscc", "aws-iam", "aws-native")
# Where a path begins within a key: `gpu.count`, `gpu:count`, `gpu["count"]`.
_PATH = re.compile(r"[.:\[]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/,-]{0,80}")


def check(
    settings: type[BaseModel], config: Mapping[str, Any], secret: Collection[str] = ()
) -> None:
    """Raises SettingsError for the full keys that nothing reads, such as `tlfif:gpu` and
    `tl-fif:gpu.count`, and for those of `secret` that are none.

    A namespace that is like none of ours is somebody else's, and is left alone.
    """
    wrong = [
        said
        for key, value in config.items()
        for said in _refusals(settings, key, HIDDEN if key in secret else value)
    ]
    wrong += [no_secret(each) for each in secret if not may_be_secret(settings, each)]
    if wrong:
        raise SettingsError("\n".join(wrong))


def may_be_secret(settings: type[BaseModel], key: str) -> bool:
    """Whether a key, such as `aws:token`, `tl-fif:alerts` or `tl-fif:alerts.email`, may be set as a
    secret: it stands nowhere in the open, or it is a group that has such a one.
    """
    namespace, _, name = key.partition(":")
    if namespace != PROJECT:
        return key != f"{PROVIDER}:region"
    group, dot, inner = name.partition(".")
    fields = group_of(settings, group).model_fields.values()
    of_key = [field for field in fields if not dot or field.alias == inner]
    # What does not exist is refused as that.
    return not of_key or group not in settings.model_fields or any(map(_is_personal, of_key))


def _is_personal(field: Any) -> bool:
    return is_secret(field) or bool(field.examples)


def no_secret(key: str) -> str:
    """What to say of a key that is set as a secret, and is none."""
    namespace, _, name = key.partition(":")
    open_ = "in the open in the stack's resources and outputs"
    unread = "without the passphrase `make preview` and `make local` read nothing of it"
    if namespace == PROJECT and "." not in name:
        return (
            f"{name} = {HIDDEN}: it is set as a secret, and none of its keys is one: they stand "
            f"{open_}, and {unread}. Remove it with: pulumi config rm '{key}', and set each key "
            f"without --secret: pulumi config set --path '{key}.<key>' <value>"
        )
    said = name.replace(".", ":") if namespace == PROJECT else key
    flag = "--path " if namespace == PROJECT else ""
    return (
        f"{said} = {HIDDEN}: it is set as a secret, and is none: it stands {open_}, and {unread}. "
        f"Set it without --secret: pulumi config set {flag}'{key}' <value>"
    )


def in_clear(settings: type[BaseModel], groups: Mapping[str, Any], secret: Collection[str]) -> None:
    """Raises SettingsError for secrets that stand in the configuration as plain text; `groups` has
    the groups by their names, and `secret` what is encrypted, as `alerts.email`; or `alerts`, where
    nobody knows which of its keys are.
    """
    wrong = [
        f"{group}:{key} = {HIDDEN}: it is a secret, and stands in the stack's file as plain text. "
        f"Set it with: pulumi config set --path --secret '{PROJECT}:{group}.{key}' <value>"
        for group, key, _ in secrets_of(settings, groups)
        if not {group, f"{group}.{key}"} & {*secret}
    ]
    if wrong:
        raise SettingsError("\n".join(wrong))


def secrets_of(
    settings: type[BaseModel], groups: Mapping[str, Any]
) -> Iterator[tuple[str, str, Any]]:
    """Group, key and value of what is set and is a secret."""
    for group, values in groups.items():
        kind = group_of(settings, group)
        if kind is settings or not isinstance(values, Mapping):
            continue
        for field in kind.model_fields.values():
            if is_secret(field) and values.get(field.alias or "") is not None:
                yield group, field.alias or "", values[field.alias or ""]


def _refusals(settings: type[BaseModel], key: str, value: Any) -> Iterator[str]:
    namespace = key.partition(":")[0]
    judge = {PROJECT: _unnested, PROVIDER: _of_provider, "pulumi": None}.get(namespace, _misspelt)
    if judge and (said := judge(settings, key, value)):
        shown_value = shown_at(settings, _path(key), value)
        yield f"{_said(key)} = {shown_value}: {said} {_removal(key)}"


def _path(key: str) -> list[str]:
    """Group and name as a key may have meant them: `tl-fif:gpu.count`, `gpu:count`."""
    return _PATH.split(key.removeprefix(f"{PROJECT}:"), maxsplit=1)


def _removal(key: str) -> str:
    if key.count(":") > 1:
        # The CLI reads no file with such a key.
        return "Remove this one from the stack's file"
    return f"Remove this one with: pulumi config rm {_quoted(key)}"


def _unnested(settings: type[BaseModel], key: str, value: Any) -> str | None:
    """A path that was set as a key, because `--path` was forgotten."""
    group, *inner = _PATH.split(key.partition(":")[2], maxsplit=1)
    if not inner:
        return None
    wanted = f"{PROJECT}:{_near(group, _groups(settings)) or group}.{inner[0]}"
    return f"it is one key, and no path into a group. {_set(settings, wanted, value)}."


def _of_provider(settings: type[BaseModel], key: str, value: Any) -> str | None:
    name = key.partition(":")[2]
    if name == "region" or name in (known := _provider_keys()):
        return None
    near = _near(name, known)
    return f"AWS's provider has no such key.{_meant(PROVIDER, near) if near else ''}"


def _provider_keys() -> list[str]:
    # Imported here: it takes half a second, and hardly any stack sets more than the region.
    import pulumi_aws

    parameters = list(inspect.signature(pulumi_aws.ProviderArgs.__init__).parameters)
    return [to_camel(each) for each in parameters[1:]]


def _misspelt(settings: type[BaseModel], key: str, value: Any) -> str | None:
    """What a key of another namespace was to be; None if it may well be somebody else's."""
    namespace, _, name = key.partition(":")
    groups, said = _groups(settings), f"nothing reads the namespace {_said(namespace)}."
    group, *inner = _PATH.split(name, maxsplit=1)
    if namespace in groups:
        return f"{said} {_set(settings, f'{PROJECT}:{namespace}.{name}', value)}."
    if _near(namespace, [PROJECT, PROJECT.replace("-", "")]):
        near = _near(group, groups) or group
        if not inner:
            return f"{said}{_meant(PROJECT, near)}"
        return f"{said} {_set(settings, f'{PROJECT}:{near}.{inner[0]}', value)}."
    if namespace in _OTHERS or not _near(namespace, [PROVIDER]) or name not in _provider_keys():
        return None
    return f"{said}{_meant(PROVIDER, name)}"


def _meant(namespace: str, name: str) -> str:
    return f" Did you mean {namespace}:{_said(name)}?"


def _groups(settings: type[BaseModel]) -> list[str]:
    return [each for each in settings.model_fields if group_of(settings, each) is not settings]


def _near(word: str, words: Collection[str]) -> str | None:
    by_lower = {each.lower(): each for each in words}
    found = difflib.get_close_matches(word.lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def _set(settings: type[BaseModel], key: str, value: Any) -> str:
    """How a key of ours is set to this value."""
    group, _, name = key.partition(":")[2].partition(".")
    fields = group_of(settings, group).model_fields.values()
    secret = any(is_secret(each) for each in fields if each.alias == name)
    text = _plain(value)
    plain = shown_at(settings, [group, name], value) != HIDDEN and _WORD.fullmatch(text)
    flags = "--path --secret" if secret else "--path"
    return f"Set it with: pulumi config set {flags} {_quoted(key)} {text if plain else '<value>'}"


def _plain(value: Any) -> str:
    """A value as it is written on a command line; nothing for what is no scalar."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return str(value) if isinstance(value, str | int | float) else ""
    except ValueError:
        # Python writes no number of more than 4,300 digits.
        return ""


def _quoted(key: str) -> str:
    """A key as one word of a shell."""
    said = _said(key)
    return f"'{said}'" if "'" not in said else shlex.quote(said)


def _said(key: str) -> str:
    """A key in a line of bearable length."""
    return repr(key)[1:-1][:LONGEST]
