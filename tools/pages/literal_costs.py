"""What the backlog's literal criteria cost, and what stands in their place by default: a table for
docs/costs.md.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from recording.evaluate import evaluate
from recording.model import Recording
from recording.shipped import stack_file

# Story, criterion and the keys that set it; every key of Pulumi.literal.yaml is here.
CRITERIA: list[tuple[str, str, frozenset[str]]] = [
    ("RED-002", "Redis on `t4g.small`", frozenset({"queue:engine", "queue:nodeType"})),
    (
        "EC2-005",
        "443 from an NLB with an ACM certificate",
        frozenset({"gpu:tlsIngress", "gpu:domain"}),
    ),
    ("API-005", "Synthetics checks `/ping` every minute", frozenset({"gateway:probe"})),
    ("API-005", "`/ping` for the source 10.20.0.0/22", frozenset({"gateway:privateEndpoint"})),
    ("OPS-002", "Cost Explorer every 15 minutes", frozenset({"costs:source"})),
    ("EC2-002", "the image and the disks of the nodes", frozenset({"gpu:diskGb", "costs:imageGb"})),
    (
        "CI-001",
        "a pipeline, on every push",
        frozenset({"costs:pushesPerMonth", "delivery:connectionArn", "delivery:repository"}),
    ),
]


def table() -> str:
    """Each criterion with its keys, its cost in the literal stack and in dev, in USD a month."""
    stacks = [evaluate("literal"), evaluate("dev")]
    rows = [
        "| story | criterion | keys | literal $/month | default $/month |",
        "|---|---|---|---:|---:|",
    ]
    for story, what, keys in CRITERIA:
        shown = ", ".join(f"`{key}`" for key in sorted(keys & literal_keys()))
        costs = " | ".join(f"{_cost(each, keys):.2f}" for each in stacks)
        rows.append(f"| {story} | {what} | {shown} | {costs} |")
    everywhere = frozenset().union(*(keys for _, _, keys in CRITERIA))
    rest = " | ".join(f"{_total(each) - _cost(each, everywhere):.2f}" for each in stacks)
    rows.append(f"| | API, replies, functions, logs, alarms | | {rest} |")
    totals = " | ".join(_total_shown(each) for each in stacks)
    return "\n".join([*rows, f"| | **together** | | {totals} |"])


def _total_shown(recording: Recording) -> str:
    return f"**{_total(recording):.2f}** = €{recording.outputs['cost_fixed_monthly_eur']:.2f}"


def literal_keys() -> set[str]:
    """The keys that Pulumi.literal.yaml sets, such as `queue:engine`."""
    config = yaml.safe_load(stack_file("literal").read_text())["config"]
    groups = {
        group.removeprefix("tl-fif:"): keys
        for group, keys in config.items()
        if group.startswith("tl-fif:")
    }
    return {f"{group}:{key}" for group, keys in groups.items() for key in keys}


def _total(recording: Recording) -> float:
    return sum(line["usd"] for line in _fixed(recording))


def _cost(recording: Recording, keys: frozenset[str]) -> float:
    """What the lines cost that one of these keys sets."""
    return sum(line["usd"] for line in _fixed(recording) if keys & set(line["key"].split(", ")))


def _fixed(recording: Recording) -> Iterator[dict[str, Any]]:
    return (line for line in recording.bill if line["per"] == "month")
