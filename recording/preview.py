"""What a stack consists of and costs, and what changed since a git revision: no credentials, no
Pulumi CLI.
"""

import argparse
import json
import logging
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pulumi
import yaml

from components import costs
from recording import replacing
from recording.evaluate import evaluate
from recording.model import ROOT, Recording, Resource

# Runs in another revision's folder, with that revision's own code.
DRIVER = """
import dataclasses, importlib, json, pathlib, sys
evaluate = importlib.import_module(sys.argv[3]).evaluate
recording = dataclasses.asdict(evaluate(sys.argv[1]))
pathlib.Path(sys.argv[2]).write_text(json.dumps(recording, sort_keys=True))
"""
# Where `evaluate` is, in this revision and before the house was rebuilt.
EVALUATORS = ("recording.evaluate", "local.recording")
_SHORT = 90


class PreviewError(RuntimeError):
    """The preview cannot be made; the message says why and what to do."""


# --- another revision


@contextmanager
def evaluating(stack: str, ref: str, root: Path = ROOT) -> Iterator["_Evaluation"]:
    """Evaluates the stack as it was at `ref`, in a process of its own; `result()` waits for it.

    Raises PreviewError.
    """
    with tempfile.TemporaryDirectory(prefix="tl-fif-") as folder:
        tree = _git(root, "archive", "--format=tar", ref)
        with tarfile.open(fileobj=BytesIO(tree)) as archive:
            archive.extractall(folder, filter="data")
        evaluation = _Evaluation(stack, ref, Path(folder))
        try:
            yield evaluation
        finally:
            evaluation.stop()


class _Evaluation:
    def __init__(self, stack: str, ref: str, folder: Path) -> None:
        self._stack, self._ref, self._folder = stack, ref, folder
        self._result = folder / "recording.json"
        self._process = None if self._is_new() else self._start()

    def _is_new(self) -> bool:
        """Whether there was no such stack then: all of it is an addition."""
        return not (self._folder / f"Pulumi.{self._stack}.yaml").exists()

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-B", "-c", DRIVER]
        command += [self._stack, str(self._result), self._evaluator()]
        return subprocess.Popen(command, cwd=self._folder, text=True, stderr=subprocess.PIPE)

    def _evaluator(self) -> str:
        for module in EVALUATORS:
            if (self._folder / f"{module.replace('.', '/')}.py").exists():
                return module
        raise PreviewError(
            f"{self._ref} is older than recordings (it has no {EVALUATORS[-1]}): name a later one"
        )

    def stop(self) -> None:
        """Ends the process, if it is still at work: the evaluation it is compared with may have
        failed.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def result(self) -> Recording:
        if self._process is None:
            return Recording(stack=self._stack, resources=[], outputs={})
        _, errors = self._process.communicate()
        if self._process.returncode:
            raise PreviewError(
                f"{self._stack} at {self._ref} cannot be evaluated: {errors.strip().splitlines()[-1]}"
            )
        return loaded(json.loads(self._result.read_text()))


def loaded(data: Mapping[str, Any]) -> Recording:
    """A recording out of its JSON, whatever fields another revision's has besides."""
    known = Resource.__dataclass_fields__
    resources = [Resource(**{name: each[name] for name in known}) for each in data["resources"]]
    return Recording(stack=data["stack"], resources=resources, outputs=data["outputs"])


def _git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise PreviewError(f"git {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout


# --- differences


@dataclass(frozen=True)
class Property:
    """One property before and after; None where it is not set."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """One resource that differs: `kind` is added, changed, replaced or removed."""

    kind: str
    resource: Resource
    properties: Sequence[Property] = ()


def differences(old: Recording, new: Recording, warnings: list[str]) -> list[Change]:
    """What would be done to the resources to get from one recording to the other, in the order of
    their URNs.

    `warnings` gets what the provider has against it.
    """
    before, after = ({r.urn: r for r in each.resources if r.custom} for each in (old, new))
    both = {
        urn: compared(before[urn].inputs, after[urn].inputs) for urn in before.keys() & after.keys()
    }
    changed = {urn: found for urn, found in both.items() if found}
    replaced: set[str] = set()
    try:
        replaced = replacing.replaced([(before[urn], after[urn]) for urn in sorted(changed)])
    except RuntimeError as refusal:
        warnings.append(f"the AWS provider refuses a change: {refusal}")
    return [
        *(Change("added", after[urn]) for urn in sorted(after.keys() - before.keys())),
        *(
            Change("replaced" if urn in replaced else "changed", after[urn], changed[urn])
            for urn in sorted(changed)
        ),
        *(Change("removed", before[urn]) for urn in sorted(before.keys() - after.keys())),
    ]


def compared(old: Any, new: Any, path: str = "") -> list[Property]:
    """The leaves in which two values differ; texts that are JSON are compared as what they say."""
    old, new = _opened(old), _opened(new)
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            p
            for key in keys
            for p in compared(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [p for at, (one, other) in pairs for p in compared(one, other, f"{path}[{at}]")]
    return [] if old == new else [Property(path, old, new)]


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


# --- as text


def monthly_usd(recording: Recording) -> float:
    """The fixed cost of a month."""
    return sum(
        line["usd"] for line in recording.outputs.get("cost_lines", ()) if line["per"] == "month"
    )


def tree(recording: Recording) -> list[str]:
    """The resources below their components, one line each."""
    children: dict[str, list[Resource]] = {}
    for resource in recording.resources:
        children.setdefault(resource.parent, []).append(resource)
    known = {resource.urn for resource in recording.resources}
    roots = [each for parent, found in children.items() if parent not in known for each in found]

    def lines(found: Sequence[Resource], indent: str) -> Iterator[str]:
        for each in sorted(found, key=lambda r: (r.custom, r.name)):
            yield f"{indent}{each.name}  {short_type(each)}"
            yield from lines(children.get(each.urn, ()), indent + "   ")

    return list(lines(roots, ""))


def short_type(resource: Resource) -> str:
    """`lambda:Function` for aws:lambda/function:Function."""
    _, module, name = resource.type.split(":")
    return f"{module.split('/')[0]}:{name}" if resource.custom else name


def outputs(recording: Recording) -> list[tuple[str, str]]:
    """The stack's outputs but for the bill, which has a table of its own."""
    return [
        (name, _text(value))
        for name, value in sorted(recording.outputs.items())
        if name != "cost_lines"
    ]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def headline(new: Recording, old: Recording | None, changes: Sequence[Change]) -> str:
    """How many resources, what they cost, and how much of that is new."""
    count = len([r for r in new.resources if r.custom])
    figures = f"{count} resources, €{new.outputs['cost_fixed_monthly_eur']:.2f} a month, "
    figures += f"{new.outputs['cost_gpu_hours_left']:g} GPU-hours left"
    if old is None:
        return f"{new.stack}: {figures}"
    kinds = [
        f"{len([c for c in changes if c.kind == k])} {k}"
        for k in ("added", "changed", "replaced", "removed")
    ]
    more = monthly_usd(new) - monthly_usd(old)
    euros = more * new.outputs["cost_fixed_monthly_eur"] / monthly_usd(new)
    return (
        f"{new.stack}: {figures}; {', '.join(kinds)}; {_signed(more)} $/month ({_signed(euros)} €)"
    )


def _signed(amount: float) -> str:
    # The nudge rounds half a cent up, as the table's own figures are; and there is no -0.00.
    return f"{round(amount + 1e-9, 2) + 0.0:+.2f}"


def cost_changes(old: Recording, new: Recording) -> list[str]:
    """The lines of the bill that cost more or less than before, the largest difference first."""
    before, after = (
        {line["what"]: line for line in each.outputs.get("cost_lines", ())} for each in (old, new)
    )
    empty = {"usd": 0.0}
    found = [
        (after.get(w, empty)["usd"] - before.get(w, empty)["usd"], w)
        for w in before.keys() | after.keys()
    ]
    changed = sorted(
        (each for each in found if abs(each[0]) >= 0.005), key=lambda each: (-abs(each[0]), each[1])
    )
    return [
        f"{_signed(more):>9} $/{(after.get(w) or before[w])['per']}  {w}" for more, w in changed
    ]


def shown_change(change: Change) -> list[str]:
    """One change, its properties below it."""
    sign = {"added": "+", "changed": "~", "replaced": "±", "removed": "-"}[change.kind]
    head = f"{sign} {change.resource.name}  {short_type(change.resource)}"
    head += "  (replaced: AWS cannot change it in place)" if change.kind == "replaced" else ""
    return [head, *(f"    {p.path}: {_side(p.old)} → {_side(p.new)}" for p in change.properties)]


def _side(value: Any) -> str:
    return "(none)" if value is None else _text(value)


def as_text(
    new: Recording, old: Recording | None, changes: Sequence[Change], warnings: Sequence[str]
) -> str:
    """The whole preview, or with `old` what is different."""
    if old is None:
        named = [f"   {name}: {value}" for name, value in outputs(new)]
        parts = ["resources", *(f"   {line}" for line in tree(new)), "", "outputs", *named, ""]
    else:
        parts = (
            [line for change in changes for line in shown_change(change)]
            + _notes(changes)
            + output_changes(old, new)
        )
        parts += [
            "",
            "what it costs more or less",
            *(cost_changes(old, new) or ["     the same as before"]),
            "",
        ]
    parts += ["what it costs", costs.table(new.outputs), ""] if old is None else []
    return "\n".join(
        [*parts, *(f"warning: {said}" for said in warnings), headline(new, old, changes)]
    )


def output_changes(old: Recording, new: Recording) -> list[str]:
    """The stack outputs that differ, but for the bill."""
    before, after = dict(outputs(old)), dict(outputs(new))
    names = [
        name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)
    ]
    return [
        f"  output {name}: {_side(before.get(name))} → {_side(after.get(name))}" for name in names
    ]


def _notes(changes: Sequence[Change]) -> list[str]:
    asked = replacing.available() or not any(change.kind == "changed" for change in changes)
    return [] if asked else [f"({replacing.UNKNOWN})"]


def as_markdown(
    new: Recording, old: Recording | None, changes: Sequence[Change], warnings: Sequence[str]
) -> str:
    """The preview as the comment of a pull request."""
    parts = [
        f"### {headline(new, old, changes)}",
        "",
        *(f"> **Warning:** {said}" for said in warnings),
        "",
    ]
    if old is not None and (lines := [line for change in changes for line in shown_change(change)]):
        parts += [
            "```diff",
            *lines,
            *_notes(changes),
            *output_changes(old, new),
            *cost_changes(old, new),
            "```",
            "",
        ]
    parts += [
        "<details><summary>What it costs</summary>",
        "",
        *cost_rows(new),
        "",
        "</details>",
        "",
    ]
    parts += [
        "<details><summary>Resources</summary>",
        "",
        "```",
        *tree(new),
        "```",
        "",
        "</details>",
    ]
    return "\n".join(parts)


def cost_rows(recording: Recording) -> list[str]:
    """The bill as a Markdown table, dearest lines first."""
    rows = ["| $/month | what | quantity | notes |", "|---:|---|---|---|"]
    for line in sorted(recording.outputs["cost_lines"], key=lambda line: -line["usd"]):
        if line["per"] == "month":
            rows.append(
                f"| {line['usd']:.2f} | {line['what']} | {costs.quantity(line)} |{costs.notes(line)} |"
            )
    return [*rows, f"| **{monthly_usd(recording):.2f}** | **together** | | |"]


# --- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the preview of a stack; 0 when it could be made."""
    parser = argparse.ArgumentParser(prog="python -m recording.preview", description=main.__doc__)
    parser.add_argument("--stack", default="dev")
    parser.add_argument(
        "--against", metavar="REF", help="show what changed since this git revision"
    )
    parser.add_argument(
        "--config", metavar="KEY=VALUE", action="append", default=[], help="such as gpu:count=2"
    )
    parser.add_argument("--markdown", action="store_true", help="for the comment of a pull request")
    options = parser.parse_args(arguments)
    try:
        print(
            preview(
                options.stack,
                against=options.against,
                config=options.config,
                markdown=options.markdown,
            )
        )
    except (PreviewError, FileNotFoundError, pulumi.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def preview(
    stack: str,
    *,
    against: str | None = None,
    config: Sequence[str] = (),
    markdown: bool = False,
    root: Path = ROOT,
) -> str:
    """The preview as text or Markdown; `config` holds `group:key=value`. Raises PreviewError."""
    collected = _Warnings()
    logging.getLogger("recording.engine").addHandler(collected)
    try:
        if against is None:
            new, old, changes = evaluate(stack, config=overrides(config)), None, []
        else:
            with evaluating(stack, against, root) as before:
                new = evaluate(stack, config=overrides(config))
                old = before.result()
            changes = differences(old, new, collected.messages)
    finally:
        logging.getLogger("recording.engine").removeHandler(collected)
    return (as_markdown if markdown else as_text)(new, old, changes, collected.messages)


def overrides(config: Sequence[str]) -> dict[str, Any]:
    """`gpu:count=2` as {"tl-fif:gpu": {"count": 2}}. Raises PreviewError for what has another form."""
    result: dict[str, Any] = {}
    for each in config:
        key, equals, value = each.partition("=")
        group, colon, name = key.partition(":")
        if not (equals and colon and name):
            raise PreviewError(f"{each!r} is no group:key=value, such as gpu:tlsIngress=true")
        result.setdefault(f"tl-fif:{group}", {})[name] = yaml.safe_load(value)
    return result


class _Warnings(logging.Handler):
    """What the program says while it is evaluated, if it is a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


if __name__ == "__main__":
    sys.exit(main())
