"""The configuration in a stack's file, by full keys: as Pulumi's CLI would hand it over."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.settings import Settings, SettingsError
from components.settings_errors import PROJECT, shown
from recording.reading import document
from recording.shipped import stack_file, stacks

# What Pulumi itself keeps in the file beside the configuration.
KNOWN = ("config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment")
# `tl-fif:config:gpu` is an old spelling of `tl-fif:gpu` that the CLI still takes.
_OLD = re.compile(r"([^:]*):config:([^:]*)")


def project(project_dir: Path) -> str:
    """The project's name. Raises SettingsError for a Pulumi.yaml that has none."""
    path = project_dir / "Pulumi.yaml"
    try:
        written = document.parse(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from None
    except document.DocumentError as error:
        raise SettingsError(f"{path.name} is no project's file: {error}") from None
    name = written.get("name") if isinstance(written, Mapping) else None
    if not isinstance(name, str) or not name:
        raise SettingsError(f"{path.name} has no name; put this in it: name: {PROJECT}")
    return name


def read(stack: str, project_dir: Path) -> dict[str, Any]:
    """The configuration as the file has it, what is encrypted too.

    Raises FileNotFoundError for a stack without a file, SettingsError for a file that is none.
    """
    path, known = stack_file(stack, project_dir), stacks(project_dir)
    # By the list: a name such as `../x` is none of a stack, whatever file is there.
    if stack not in known:
        raise FileNotFoundError(f"there is no stack {shown(stack)}; there are: {', '.join(known)}")
    try:
        written = document.parse(path.read_bytes())
    except OSError as error:
        said = f"{path.name} cannot be read: {error.strerror}. Make it a file that"
        raise SettingsError(f"{said} can be read: chmod u+r {path.name}") from None
    except document.DocumentError as error:
        raise _no_stack_file(path, str(error)) from None
    return _full_keys(path, _configuration(path, written))


def _configuration(path: Path, written: Any) -> Mapping[str, Any]:
    """What is below `config:`."""
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        raise _no_stack_file(path, f"it is {_kind(written)}")
    for key in written.keys() - {*KNOWN}:
        if misplaced := _misplaced(key):
            raise SettingsError(
                f"{path.name}: {shown(key)} is no part of a stack's file{misplaced}"
            )
    config = written.get("config")
    if config is not None and not isinstance(config, Mapping):
        raise _no_stack_file(path, f"`config` is {_kind(config)}; indent its keys below it")
    return config or {}


def _kind(value: Any) -> str:
    """What a value is; of a list and of text nothing is shown, which may be a secret."""
    return {list: "a list", str: "text"}.get(type(value)) or shown(value)


def _misplaced(key: str) -> str:
    """What a key beside `config:` should have been; nothing if it may be there for an alias."""
    if ":" in key or key in Settings.model_fields:
        return "; indent it below `config:`"
    near = difflib.get_close_matches(key.lower(), KNOWN, 1, cutoff=0.7)
    return f". Did you mean {near[0]}? Rename it" if near else ""


def _full_keys(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys as the CLI completes them: without a namespace they are the project's."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        old = _OLD.fullmatch(key)
        full = f"{old[1]}:{old[2]}" if old else key if ":" in key else f"{PROJECT}:{key}"
        if full.count(":") > 1 and not full.startswith(f"{PROJECT}:"):
            said = f"{shown(key)} is no key such as {PROJECT}:gpu; rename it, or remove it"
            raise SettingsError(f"{path.name}: {said}")
        if full in result:
            said = f"{path.name}: {shown(key)} is {full}, which is there too; keep one of them"
            raise SettingsError(said)
        result[full] = value
    return result


def _no_stack_file(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path.name} is no stack file with a map `config`: {why}")
