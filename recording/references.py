"""A recording in which what a resource knows only once it is made is a token that names it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulumi.runtime import MockResourceArgs

from recording.evaluate import evaluate, stack_region
from recording.invented import RecordingBackend
from recording.kinds import kind_of
from recording.model import ROOT, Recording


@dataclass(frozen=True)
class Reference:
    """One output of one resource, by Pulumi's names."""

    type: str
    name: str
    output: str


class ReferenceBackend(RecordingBackend):
    """Answers each unknown output with a token of its own, which can be found again wherever the
    program puts it.
    """

    def __init__(self, stack: str, region: str) -> None:
        super().__init__(stack, region)
        self.references: dict[str, Reference] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.networks: dict[str, Reference] = {}

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        id_, outputs = super().new_resource(args)
        if not args.custom:
            return id_, outputs
        self.names[args.typ, args.name] = outputs["name"]
        unknown = {name: self._output(args, name, value) for name, value in outputs.items()}
        return self._token(args, "id"), unknown

    def _output(self, args: MockResourceArgs, name: str, value: Any) -> Any:
        if args.inputs.get(name) is not None:
            return value
        if name not in kind_of(args.typ).computed_on:
            return self._token(args, name)
        if name.endswith("CidrBlock"):
            self.networks[value] = Reference(args.typ, args.name, name)
        return value

    def _token(self, args: MockResourceArgs, output: str) -> str:
        reference = Reference(args.typ, args.name, output)
        token = f"ref{hashlib.sha256(repr(reference).encode()).hexdigest()[:24]}"
        self.references[token] = reference
        return token


@dataclass(frozen=True, kw_only=True)
class Linked:
    """A recording whose inputs hold the tokens of `references`; `names` are those that Pulumi would
    invent, `networks` those that AWS hands out and of which the inputs have parts.
    """

    recording: Recording
    region: str
    references: Mapping[str, Reference]
    names: Mapping[tuple[str, str], str]
    networks: Mapping[str, Reference] = field(default_factory=dict[str, Reference])


def link(
    stack: str, *, config: Mapping[str, Any] | None = None, project_dir: Path = ROOT
) -> Linked:
    """The stack's recording with references in place of invented values."""
    region = stack_region(stack, project_dir=project_dir, config=config)
    backend = ReferenceBackend(stack, region)
    recording = evaluate(stack, backend, project_dir=project_dir, config=config)
    return Linked(
        recording=recording,
        region=region,
        references=backend.references,
        names=backend.names,
        networks=backend.networks,
    )
