"""What a function's bundle consists of beside its requirements: functions/<name>/bundle.toml.

Without that file: the function's folder and tlfif/, for arm64.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.packages import BundleError

FILE = "bundle.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Library(_Strict):
    """A file out of a wheel that is installed for it alone.

    `package` is pinned (`name==version`); `file` is a pattern in it, `licence` a file beside
    bundle.toml that goes along.
    """

    package: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")
    file: str
    licence: str


class Contents(_Strict):
    """A bundle's architecture, the packages of ours in it, and libraries by their place in it."""

    architecture: Literal["arm64", "x86_64"] = "arm64"
    packages: Sequence[Literal["tlfif", "worker"]] = ("tlfif",)
    libraries: dict[str, Library] = {}


def read(folder: Path) -> Contents:
    """What a function's folder says. Raises BundleError."""
    path = folder / FILE
    if not path.exists():
        return Contents()
    try:
        return Contents(**tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        why = "; ".join(str(error).splitlines())
        raise BundleError(f"functions/{folder.name}/{FILE}: {why}") from None
