"""Rules for cfn-lint (`--append-rules observability/cfn_rules`): what a dashboard must show."""

import json
from collections.abc import Iterator
from typing import Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch
from cfnlint.template import Template

DASHBOARD = "AWS::CloudWatch::Dashboard"
# What OPS-004 and the issue behind it name: a widget's metrics, and whether a line says from where
# on somebody is told.
WIDGETS: dict[str, tuple[set[str], bool]] = {
    "GPU utilisation": ({"nvidia_smi_utilization_gpu"}, False),
    "VRAM": ({"nvidia_smi_memory_used", "nvidia_smi_memory_total"}, False),
    "queue depth": ({"QueueDepth"}, False),
    "p95 latency": ({"Latency"}, True),
    "CurrentSpendEUR": ({"CurrentSpendEUR"}, True),
    "node state": ({"NodesReady", "NodesComing"}, False),
    "jobs by outcome": ({"JobsDone", "JobsFailed", "JobsExpired", "JobsCancelled"}, False),
    "boots and their phases": ({"BootMachineSeconds", "BootEngineSeconds"}, False),
}
PERCENTILES = {"p95 latency": "p95"}


class MissingWidget(CloudFormationLintRule):
    """A dashboard lacks a widget, or a widget its statistic or its threshold."""

    id = "E9001"
    shortdesc = "The dashboard shows what OPS-004 names"
    description = "GPU utilisation, VRAM, queue depth, p95 latency, spend, nodes, jobs and boots"
    tags = ("dashboard",)

    def match(self, cfn: Template) -> list[RuleMatch]:
        """A match for each fault of each dashboard."""
        return [
            RuleMatch(["Resources", name, "Properties", "DashboardBody"], fault)
            for name, resource in cfn.get_resources(DASHBOARD).items()
            for fault in faults(json.loads(resource["Properties"]["DashboardBody"]))
        ]


def faults(body: dict[str, Any]) -> Iterator[str]:
    """What is missing from a dashboard's body."""
    for name, (metrics, is_marked) in WIDGETS.items():
        found = next((w for w in body["widgets"] if metrics <= _metrics(w)), None)
        if found is None:
            yield f"no widget shows {name} ({', '.join(sorted(metrics))})"
            continue
        shown = found["properties"]
        if PERCENTILES.get(name, shown["stat"]) != shown["stat"]:
            yield f"{name}: the statistic is {shown['stat']}, not {PERCENTILES[name]}"
        if is_marked and not shown.get("annotations", {}).get("horizontal"):
            yield f"{name}: no threshold is drawn"


def _metrics(widget: dict[str, Any]) -> set[str]:
    rows = widget["properties"].get("metrics", [])
    return {row[1] for row in rows if len(row) > 1}
