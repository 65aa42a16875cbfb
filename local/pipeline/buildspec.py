"""Reads a buildspec as CodeBuild does, as far as ours go: any other key is an error."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

# In their order. https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
PHASES = ("install", "pre_build", "build", "post_build")
VERSION = 0.2
# The versions of Python in aws/codebuild/amazonlinux-aarch64-standard:3.0.
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


class BuildspecError(ValueError):
    """CodeBuild would not run this buildspec, or the local pipeline does not; the message says what
    is wrong where.
    """


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Phase(_Part):
    """Commands, in their order; those of `finally_` run whatever became of them."""

    runtime_versions: dict[str, str] = Field(default={}, alias="runtime-versions")
    on_failure: Literal["ABORT"] | None = Field(default=None, alias="on-failure")
    commands: list[str] = Field(min_length=1)
    finally_: list[str] = Field(default=[], alias="finally")

    @field_validator("runtime_versions")
    @classmethod
    def _python_only(cls, value: dict[str, str]) -> dict[str, str]:
        if set(value) - {"python"} or value.get("python", PYTHONS[0]) not in PYTHONS:
            raise ValueError(f"the image's runtime is python: {', '.join(PYTHONS)} (in quotes)")
        return value


class Phases(_Part):
    install: Phase | None = None
    pre_build: Phase | None = None
    build: Phase | None = None
    post_build: Phase | None = None

    @field_validator("pre_build", "build", "post_build")
    @classmethod
    def _no_runtime(cls, value: Phase | None) -> Phase | None:
        if value and value.runtime_versions:
            raise ValueError("runtime-versions belong to the install phase")
        return value


class Environment(_Part):
    """`variables` are overridden by the project's and the action's."""

    shell: Literal["bash", "sh"] = "sh"
    variables: dict[str, str] = {}
    exported_variables: list[str] = Field(default=[], alias="exported-variables")


class Buildspec(_Part):
    """What one build does. Version 0.2: all commands share one shell's environment."""

    version: float
    env: Environment = Environment()
    phases: Phases

    @field_validator("version")
    @classmethod
    def _current(cls, value: float) -> float:
        if value != VERSION:
            raise ValueError(f"in {VERSION} alone all commands share one environment")
        return value


def read(path: Path, name: str) -> Buildspec:
    """The buildspec in a file, which messages call `name`. Raises BuildspecError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BuildspecError(f"{name}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise BuildspecError(f"{name} is no YAML: {' '.join(str(error).split())}") from None
    try:
        return Buildspec.model_validate(raw)
    except ValidationError as error:
        raise BuildspecError(f"{name}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong; a key that is no key before one that is missing for it."""
    unknown = [each for each in error.errors() if each["type"] == "extra_forbidden"]
    found = [*unknown, *error.errors()][0]
    place = ".".join(map(str, found["loc"])) or "the whole"
    if unknown:
        return f"{place} is no key of a buildspec, or none that the local pipeline runs"
    said = found["msg"].removeprefix("Value error, ")
    return f"{place} = {found['input']!r}: {said}"
