"""What the backlog's literal criteria cost, and what stands in their place by default: a table for
docs/costs.md.
"""

from collections.abc import Iterator

import yaml

from recording.evaluate import evaluate
from recording.model import ROOT, Recording

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
    ("CI-002", "the pipeline on every push", frozenset({"costs:pushesPerMonth"})),
]


def table() -> str:
    """Each criterion with its keys, its cost in the literal stack and in dev, in USD a month."""
    literal, default = evaluate("literal"), evaluate("dev")
    rows = [
        "| story | criterion | keys | literal $/month | default $/month |",
        "|---|---|---|---:|---:|",
    ]
    for story, what, keys in CRITERIA:
        shown = ", ".join(f"`{key}`" for key in sorted(keys & literal_keys()))
        rows.append(
            f"| {story} | {what} | {shown} | {_cost(literal, keys):.2f} | {_cost(default, keys):.2f} |"
        )
    everywhere = frozenset().union(*(keys for _, _, keys in CRITERIA))
    rest = [
        sum(line["usd"] for line in _fixed(each)) - _cost(each, everywhere)
        for each in (literal, default)
    ]
    rows.append(f"| | API, replies, functions, logs, alarms | | {rest[0]:.2f} | {rest[1]:.2f} |")
    euros = [each.outputs["cost_fixed_monthly_eur"] for each in (literal, default)]
    totals = [
        f"**{sum(line['usd'] for line in _fixed(each)):.2f}** = €{eur:.2f}"
        for each, eur in zip((literal, default), euros, strict=True)
    ]
    return "\n".join([*rows, f"| | **together** | | {totals[0]} | {totals[1]} |"])


def literal_keys() -> set[str]:
    """The keys that Pulumi.literal.yaml sets, such as `queue:engine`."""
    config = yaml.safe_load((ROOT / "Pulumi.literal.yaml").read_text())["config"]
    groups = {
        group.removeprefix("tl-fif:"): keys
        for group, keys in config.items()
        if group.startswith("tl-fif:")
    }
    return {f"{group}:{key}" for group, keys in groups.items() for key in keys}


def _fixed(recording: Recording) -> Iterator[dict[str, float]]:
    return (line for line in recording.outputs["cost_lines"] if line["per"] == "month")


def _cost(recording: Recording, keys: frozenset[str]) -> float:
    return sum(
        line["usd"] for line in _fixed(recording) if keys & set(str(line["key"]).split(", "))
    )
