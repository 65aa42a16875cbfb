"""What rings and what is shown: alarms and dashboards, and the metrics that something emits."""

import ast
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from support.sweeps.rule import sweep

from components.billed import ALARM, DASHBOARD
from recording.model import ROOT, Recording
from tlfif import names

# Metrics that AWS emits, with the dimensions that an alarm must name.
AWS_METRICS = {
    ("AWS/ApiGateway", "Count"): {"ApiName", "Stage"},
    ("AWS/ApiGateway", "Latency"): {"ApiName", "Stage"},
    ("AWS/ApiGateway", "4XXError"): {"ApiName", "Stage"},
    ("AWS/ApiGateway", "5XXError"): {"ApiName", "Stage"},
    ("AWS/ElastiCache", "DatabaseMemoryUsagePercentage"): {"CacheClusterId"},
    ("AWS/Lambda", "Errors"): {"FunctionName"},
    ("AWS/Lambda", "Duration"): {"FunctionName"},
    ("CloudWatchSynthetics", "SuccessPercent"): {"CanaryName"},
}
# Those that AWS emits once more, for each alias.
OF_AN_ALIAS = {("AWS/Lambda", "Errors"): {"FunctionName", "Resource"}}


@sweep
def alarms_have_an_action_and_a_metric_that_something_emits(recording: Recording) -> list[str]:
    found: list[str] = []
    for alarm in recording.of_type(ALARM):
        found += [] if alarm.inputs.get("alarmActions") else [f"{alarm.name}: no action"]
        found += [f"{alarm.name}: {fault}" for fault in _silence_faults(alarm.inputs)]
        found += [
            f"{alarm.name}: {fault}"
            for metric in _alarmed(alarm.inputs)
            for fault in metric_faults(*metric)
        ]
    return found


def _silence_faults(inputs: Mapping[str, Any]) -> Iterator[str]:
    """A new alarm has no data: as a breach that would ring at every first deployment. Where silence
    is a fault, whoever hears that it rings hears of the change back to no data.
    """
    treated = inputs.get("treatMissingData")
    if not treated:
        yield "does not say what no data means"
    if treated == "breaching":
        yield "rings before there is data"
    if treated == "missing" and not inputs.get("insufficientDataActions"):
        yield "nobody hears when the data ends"


def _alarmed(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    queries = [query["metric"] for query in inputs.get("metricQueries", []) if "metric" in query]
    for each in queries or [inputs]:
        yield each["namespace"], each["metricName"], set(each.get("dimensions", {}))


@sweep
def widgets_show_metrics_that_something_emits(recording: Recording) -> list[str]:
    found: list[str] = []
    for dashboard in recording.of_type(DASHBOARD):
        for widget in json.loads(dashboard.inputs["dashboardBody"])["widgets"]:
            title = widget["properties"].get("title", widget["type"])
            shown = list(_shown(widget["properties"].get("metrics", [])))
            found += [
                f"{dashboard.name}: {title}: {fault}"
                for metric in shown
                for fault in metric_faults(*metric)
            ]
    return found


def _shown(rows: list[list[Any]]) -> Iterator[tuple[str, str, set[str]]]:
    """A widget's metrics: a row is [namespace, name, dimension, value, …, {options}]; `.` repeats
    the one above.
    """
    above: list[Any] = []
    for row in rows:
        cells = [
            above[at] if cell == "." else cell
            for at, cell in enumerate(row)
            if isinstance(cell, str)
        ]
        if cells:
            above = cells
            yield cells[0], cells[1], set(cells[2::2])


def metric_faults(namespace: str, name: str, dimensions: set[str]) -> list[str]:
    known = AWS_METRICS.get((namespace, name)) or emitted().get((namespace, name))
    if known is None:
        return [f"nothing emits {namespace} {name}"]
    return (
        []
        if dimensions in (known, OF_AN_ALIAS.get((namespace, name)))
        else [f"{namespace} {name} has the dimensions {known}, not {dimensions}"]
    )


# What runs on AWS: functions, the node, and what they share.
DEPLOYED = ("functions", "gpu_image", "tlfif", "worker")


@cache
def emitted() -> dict[tuple[str, str], set[str]]:
    """Our metrics: every namespace and name that one function of ours has together, or a module
    with one namespace; and what the CloudWatch agent measures on a node.
    """
    sources = [path for folder in DEPLOYED for path in sorted((ROOT / folder).rglob("*.py"))]
    ours = {pair: {"Stack"} for path in sources for pair in _emissions(path)}
    return ours | {pair: {"InstanceId"} for pair in _measured()}


def _measured() -> Iterator[tuple[str, str]]:
    told = json.loads((ROOT / "gpu_image" / "cloudwatch-agent.json").read_text())["metrics"]
    assert told["aggregation_dimensions"] == [["InstanceId"]]
    for name in told["metrics_collected"]["nvidia_gpu"]["measurement"]:
        yield told["namespace"], f"nvidia_smi_{name}"


def _emissions(path: Path) -> Iterator[tuple[str, str]]:
    """Whatever names one namespace emits, to it, the metrics that it names."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    whole = [tree] if len(set(_named(tree, "NAMESPACE_"))) == 1 else []
    for part in (*whole, *functions):
        for space in _named(part, "NAMESPACE_"):
            yield from ((space, metric) for metric in _named(part, "METRIC_"))


def _named(part: ast.AST, prefix: str) -> list[str]:
    used = [node.attr for node in ast.walk(part) if isinstance(node, ast.Attribute)]
    return [getattr(names, name) for name in used if name.startswith(prefix)]
