"""What a stack consists of and costs, and what changed since a git revision: no credentials, no
Pulumi CLI.
"""

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi

from components import costs
from components.settings import Settings
from components.settings_errors import HIDDEN, PROJECT, shown, shown_at
from recording import replacing
from recording.differences import Change, differences
from recording.evaluate import evaluate
from recording.model import ROOT, Recording, Resource
from recording.reading import document
from recording.revision import RevisionError, evaluating

_SIGNS = {"added": "+", "changed": "~", "replaced": "±", "removed": "-"}
_SHORT = 90
# What begins a setting, and is no value that was pasted in its place.
_NAMED = re.compile(r"[A-Za-z]*(:[A-Za-z]*)?")


class SettingError(ValueError):
    """A setting of the command line has another form; the message says which it must have."""


# --- as text


def monthly_usd(recording: Recording) -> float:
    """The fixed cost of a month."""
    return sum(line["usd"] for line in recording.bill if line["per"] == "month")


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
    """The stack's outputs as text."""
    return [(name, _text(value)) for name, value in sorted(recording.outputs.items())]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def headline(new: Recording, old: Recording | None, changes: Sequence[Change]) -> str:
    """How many resources, what they cost, and how much of that is new."""
    count = len([resource for resource in new.resources if resource.custom])
    fixed, left = new.outputs[costs.FIXED], costs.left(new.outputs)
    figures = f"{new.stack}: {count} resources, €{fixed:.2f} a month, {left}"
    if old is None:
        return figures
    found = [change.kind for change in changes]
    kinds = ", ".join(f"{found.count(kind)} {kind}" for kind in _SIGNS)
    more = monthly_usd(new) - monthly_usd(old)
    euros = more * fixed / monthly_usd(new)
    return f"{figures}; {kinds}; {_signed(more)} $/month ({_signed(euros)} €)"


def _signed(amount: float) -> str:
    # The nudge rounds half a cent up, as the table's own figures are; and there is no -0.00.
    return f"{round(amount + 1e-9, 2) + 0.0:+.2f}"


def cost_changes(old: Recording, new: Recording) -> list[str]:
    """The lines of the bill that cost more or less than before, the largest difference first."""
    before, after = ({line["what"]: line for line in each.bill} for each in (old, new))
    lines = before | after
    more = {what: _usd(after.get(what)) - _usd(before.get(what)) for what in lines}
    changed = [what for what in lines if abs(more[what]) >= 0.005]
    changed.sort(key=lambda what: (-abs(more[what]), what))
    return [f"{_signed(more[what]):>9} $/{lines[what]['per']}  {what}" for what in changed]


def _usd(line: Mapping[str, Any] | None) -> float:
    return line["usd"] if line else 0.0


def shown_change(change: Change) -> list[str]:
    """One change, its properties below it."""
    head = f"{_SIGNS[change.kind]} {change.resource.name}  {short_type(change.resource)}"
    head += "  (replaced: AWS cannot change it in place)" if change.kind == "replaced" else ""
    return [head, *(f"    {p.path}: {_side(p.old)} → {_side(p.new)}" for p in change.properties)]


def _side(value: Any) -> str:
    return "(none)" if value is None else _text(value)


def output_changes(old: Recording, new: Recording) -> list[str]:
    """The stack outputs that differ."""
    before, after = dict(outputs(old)), dict(outputs(new))
    names = sorted(before.keys() | after.keys())
    changed = [name for name in names if before.get(name) != after.get(name)]
    return [f"  output {n}: {_side(before.get(n))} → {_side(after.get(n))}" for n in changed]


def _shown_changes(old: Recording, new: Recording, changes: Sequence[Change]) -> list[str]:
    """Every change of resources and outputs, with a note where their kind was not asked."""
    asked = replacing.available() or not any(change.kind == "changed" for change in changes)
    note = [] if asked else [f"({replacing.UNKNOWN})"]
    shown = [line for change in changes for line in shown_change(change)]
    return [*shown, *note, *output_changes(old, new)]


def as_text(
    new: Recording, old: Recording | None, changes: Sequence[Change], warnings: Sequence[str]
) -> str:
    """The whole preview, or with `old` what is different."""
    parts = _all_of(new) if old is None else _what_differs(old, new, changes)
    said = [f"warning: {warning}" for warning in warnings]
    return "\n".join([*parts, *said, headline(new, old, changes)])


def _all_of(new: Recording) -> list[str]:
    resources = [f"   {line}" for line in tree(new)]
    named = [f"   {name}: {value}" for name, value in outputs(new)]
    nodes = [f"   {line}" for line in costs.gpu_table(new.outputs)]
    engine = ["what the nodes serve, and on which GPUs it fits", *nodes, ""] if nodes else []
    bill = costs.table(new.bill, new.outputs)
    known = ["resources", *resources, "", "outputs", *named, ""]
    return [*known, *engine, "what it costs", bill, ""]


def _what_differs(old: Recording, new: Recording, changes: Sequence[Change]) -> list[str]:
    cost = cost_changes(old, new) or ["     the same as before"]
    return [*_shown_changes(old, new, changes), "", "what it costs more or less", *cost, ""]


def as_markdown(
    new: Recording, old: Recording | None, changes: Sequence[Change], warnings: Sequence[str]
) -> str:
    """The preview as the comment of a pull request."""
    said = [f"> **Warning:** {warning}" for warning in warnings]
    parts = [f"### {headline(new, old, changes)}", "", *said, ""]
    if old is not None and changes:
        shown = [*_shown_changes(old, new, changes), *cost_changes(old, new)]
        parts += ["```diff", *shown, "```", ""]
    parts += [*_folded("What it costs", cost_rows(new)), ""]
    return "\n".join([*parts, *_folded("Resources", ["```", *tree(new), "```"])])


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def cost_rows(recording: Recording) -> list[str]:
    """The bill as a Markdown table, dearest lines first."""
    rows = ["| $/month | what | quantity | notes |", "|---:|---|---|---|"]
    for line in sorted(recording.bill, key=lambda line: -line["usd"]):
        if line["per"] == "month":
            cells = f"{line['usd']:.2f} | {line['what']} | {costs.quantity(line)} |"
            rows.append(f"| {cells}{costs.notes(line)} |")
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
    options = vars(parser.parse_args(arguments))
    try:
        print(preview(options.pop("stack"), **options))
    except (RevisionError, SettingError, FileNotFoundError, pulumi.RunError) as error:
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
    """The preview as text or Markdown; `config` holds `group:key=value`.

    Raises RevisionError and SettingError.
    """
    collected, log = _Warnings(), logging.getLogger("recording")
    log.addHandler(collected)
    try:
        if against is None:
            new, old, changes = evaluate(stack, config=overrides(config)), None, []
        else:
            with evaluating(stack, against, root) as before:
                new = evaluate(stack, config=overrides(config))
                old = before.result()
            changes = differences(old, new, collected.messages)
    finally:
        log.removeHandler(collected)
    return (as_markdown if markdown else as_text)(new, old, changes, collected.messages)


def overrides(config: Sequence[str]) -> dict[str, Any]:
    """`gpu:count=2` as {"tl-fif:gpu": {"count": 2}}, and `aws:region=…` as it is.

    Raises SettingError for what has another form.
    """
    result: dict[str, Any] = {}
    for each in config:
        key, equals, text = each.removeprefix(f"{PROJECT}:").partition("=")
        group, colon, name = key.partition(":")
        if not (equals and colon and name):
            said = shown(key) if _NAMED.fullmatch(key) else HIDDEN
            raise SettingError(f"{said} is no group:key=value, such as gpu:tlsIngress=true")
        try:
            value = document.parse(text.encode(errors="surrogateescape"))
        except document.DocumentError as error:
            said = shown_at(Settings, [group, name], text)
            why = "put it in quotes" if said == HIDDEN else error
            raise SettingError(f"{key} = {said} is no value: {why}") from None
        if group == "aws":
            result[key] = value
        else:
            result.setdefault(f"{PROJECT}:{group}", {})[name] = value
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
