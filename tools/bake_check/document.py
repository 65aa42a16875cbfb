"""The image's component document: read, checked, and its parameters filled in.

The checks are what AWS would say at the component's creation or, worse, in the middle of a bake.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from recording.model import ROOT

COMPONENT = ROOT / "gpu_image" / "component.yaml"
SCHEMA = Path(__file__).with_name("awstoe.schema.json")
# CreateComponent's limit for a document that comes with the request [botocore].
MAX_CHARACTERS = 16_000
# EC2-002. What runs before the snapshot; a test phase runs after it.
BUDGET_S = 12 * 60
# A step's limit is twice its part of the budget: a slow mirror shall not waste a bake.
SLACK = 2
BEFORE_SNAPSHOT = ("build", "validate")
_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_SCRIPT = re.compile(r"/srv/tl-fif/(gpu_image/bake/[\w.]+)")


class DocumentError(Exception):
    """The document would be refused, or would fail; the message says where, and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; `inputs` as the action wants them, `timeout_s` for each of its `attempts`."""

    phase: str
    name: str
    action: str
    timeout_s: int
    attempts: int
    inputs: Any

    @property
    def budget_s(self) -> float:
        """Its part of the bake's time."""
        return self.timeout_s / SLACK

    @property
    def script(self) -> str:
        """What bash is given: the commands one after another, in one file, as AWSTOE does it."""
        return "\n".join(self.inputs["commands"]) + "\n" if self.action == "ExecuteBash" else ""


def read(text: str, root: Path = ROOT) -> list[Step]:
    """The checked document's steps in their order; scripts are looked for below `root`.

    Raises DocumentError.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"{len(text):,} characters; AWS takes {MAX_CHARACTERS:,}")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DocumentError(f"not YAML: {' '.join(str(error).split())}") from error
    _check_schema(document)
    steps = list(_steps(document))
    _check_names([phase["name"] for phase in document["phases"]], "phase")
    for phase in document["phases"]:
        _check_names([step["name"] for step in phase["steps"]], f"step of {phase['name']}")
    names = [name for each in document.get("parameters", []) for name in each]
    _check_names(names, "parameter")
    for step in steps:
        _check_references(step, names)
        _check_bash(step.name, step.script)
        _check_scripts(step, root)
    _check_budget(steps)
    return steps


def fill(step: Step, values: Mapping[str, str]) -> Step:
    """The step with every parameter's value in its inputs, as text. Raises DocumentError."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(lambda found: _value(step, found[1], values), value)
        if isinstance(value, list):
            return [filled(each) for each in value]
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return value

    return Step(**{**vars(step), "inputs": filled(step.inputs)})


def _value(step: Step, name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise DocumentError(f"{step.name}: the parameter {name} has no value")
    return values[name]


def _check_schema(document: Any) -> None:
    schema = json.loads(SCHEMA.read_text())
    error = best_match(Draft202012Validator(schema).iter_errors(document))
    if error:
        where = ".".join(_named(document, list(error.absolute_path))) or "the document"
        raise DocumentError(f"{where}: {error.message[:300]}")


def _named(document: Any, path: Sequence[str | int]) -> Iterator[str]:
    """A path with the names of phases and steps instead of their numbers."""
    for key in path:
        document = document[key]
        named = isinstance(key, int) and isinstance(document, dict) and document.get("name")
        yield str(named or key)


def _steps(document: Any) -> Iterator[Step]:
    for phase in document["phases"]:
        for step in phase["steps"]:
            yield Step(
                phase=phase["name"],
                name=step["name"],
                action=step["action"],
                timeout_s=step["timeoutSeconds"],
                attempts=step.get("maxAttempts", 1),
                inputs=step["inputs"],
            )


def _check_names(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DocumentError(f"{what} {name!r}: there are {names.count(name)} of this name")


def _check_references(step: Step, names: Sequence[str]) -> None:
    for name in _REFERENCE.findall(json.dumps(step.inputs)):
        if name not in names:
            raise DocumentError(
                f"{step.name}: {{{{ {name} }}}} is no parameter; there are {', '.join(names)}"
            )


def _check_bash(name: str, script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    if checked.returncode:
        raise DocumentError(f"{name}: {checked.stderr.strip()}")


def _check_scripts(step: Step, root: Path) -> None:
    for name in _SCRIPT.findall(step.script):
        path = root / name
        if not path.is_file():
            raise DocumentError(f"{step.name}: {name} does not exist")
        if path.suffix == ".sh":
            _check_bash(f"{step.name}: {name}", path.read_text())


def _check_budget(steps: Sequence[Step]) -> None:
    budget_s = sum(step.budget_s for step in steps if step.phase in BEFORE_SNAPSHOT)
    if budget_s > BUDGET_S:
        raise DocumentError(
            f"the steps' budgets, half of timeoutSeconds, are {budget_s:g} s together; "
            f"the bake has {BUDGET_S}"
        )
