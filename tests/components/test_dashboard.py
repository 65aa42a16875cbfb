"""The dashboard: what is drawn, where, with which thresholds, and how much of it there is."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from support.program import ALARM, evaluate

from components.billed import DASHBOARD
from components.component import Alarm
from components.dashboard import Shown, body
from recording.model import Recording

pytestmark = pytest.mark.story("OPS-004")

# Far below what CloudWatch takes (500 widgets, 2,500 metrics); docs/runbook.md says why so few.
MOST_WIDGETS, MOST_METRICS, MOST_BYTES = 20, 50, 16_384


def drawn(recording: Recording) -> dict[str, Any]:
    return json.loads(recording.one(DASHBOARD).inputs["dashboardBody"])


def graphs(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [each["properties"] for each in dashboard["widgets"] if each["type"] == "metric"]


def shown(**changes: Any) -> Shown:
    plain = Shown(
        region="eu-west-1",
        stack="dev",
        api="tl-fif-dev",
        stage="v1",
        queue_nodes=["queue-001"],
        nodes=["i-0", "i-1"],
        alarms=[],
    )
    return replace(plain, **changes)


def alarm(namespace: str, metric: str, threshold: float, name: str = "a") -> Alarm:
    arn: Any = f"arn:aws:cloudwatch:::alarm:{name}"
    return Alarm(name, arn, namespace, metric, threshold, "too much")


def test_the_widgets_fill_a_grid_of_24_and_none_lies_on_another(recording: Recording) -> None:
    places = [
        {
            (x, y)
            for x in range(each["x"], each["x"] + each["width"])
            for y in range(each["y"], each["y"] + each["height"])
        }
        for each in drawn(recording)["widgets"]
    ]
    assert all(0 <= x < 24 for place in places for x, _ in place)
    assert not any(one & other for one, other in itertools.combinations(places, 2))


def test_every_threshold_that_is_drawn_is_an_alarms_own(recording: Recording) -> None:
    rings = {
        (each.inputs["namespace"], each.inputs["metricName"], float(each.inputs["threshold"]))
        for each in recording.of_type(ALARM)
    }
    lines = {
        (row[0], row[1], float(mark["value"]))
        for graph in graphs(drawn(recording))
        for row in graph["metrics"]
        if len(row) > 1
        for mark in graph.get("annotations", {}).get("horizontal", [])
    }
    marked = {(space, metric) for space, metric, _ in lines}
    shown_metrics = {
        (row[0], row[1]) for g in graphs(drawn(recording)) for row in g["metrics"] if len(row) > 1
    }
    wanted = {each for each in rings if each[:2] in shown_metrics}
    assert wanted <= lines
    assert {("TLFIF/Cost", "CurrentSpendEUR"), ("AWS/ApiGateway", "Latency")} <= marked
    assert ("TLFIF/Cost", "CurrentSpendEUR", 15.0) in lines
    assert ("TLFIF/Cost", "CurrentSpendEUR", 20.0) in lines


def test_each_alarm_is_on_it_with_its_state(recording: Recording) -> None:
    [states] = [each for each in drawn(recording)["widgets"] if each["type"] == "alarm"]
    arns = [each.outputs["arn"] for each in recording.of_type(ALARM)]
    assert sorted(states["properties"]["alarms"]) == sorted(arns)


def test_it_is_small_enough_to_load_in_two_seconds(recording: Recording) -> None:
    dashboard = recording.one(DASHBOARD).inputs["dashboardBody"]
    assert len(dashboard) < MOST_BYTES
    widgets = json.loads(dashboard)["widgets"]
    assert len(widgets) <= MOST_WIDGETS
    assert sum(len(each["properties"].get("metrics", [])) for each in widgets) <= MOST_METRICS
    assert {each["type"] for each in widgets} == {"alarm", "metric"}, "a log query takes seconds"


def test_what_is_shared_by_several_metrics_is_drawn_once_and_the_highest_in_red() -> None:
    spend = ("TLFIF/Cost", "CurrentSpendEUR")
    alarms = [alarm(*spend, 15), alarm(*spend, 20, "b"), alarm(*spend, 20, "c")]
    [money, *_] = graphs(body(shown(alarms=alarms)))
    marks = money["annotations"]["horizontal"]
    assert [(each["value"], each["color"]) for each in marks] == [(15, "#ff7f0e"), (20, "#d62728")]


def test_vram_is_used_of_total_for_each_node() -> None:
    [vram] = [each for each in graphs(body(shown())) if each["title"].startswith("VRAM")]
    sums = [row[0]["expression"] for row in vram["metrics"] if len(row) == 1]
    assert sums == ["100*u0/t0", "100*u1/t1"]
    parts = {row[-1]["id"]: row[1] for row in vram["metrics"] if len(row) > 1}
    assert parts["u1"].endswith("memory_used")
    assert parts["t1"].endswith("memory_total")


def test_without_nodes_there_is_nothing_of_gpus() -> None:
    titles = {each["title"] for each in graphs(body(shown(nodes=[])))}
    assert not any("GPU util" in title or "VRAM" in title for title in titles)
    assert "boots and their phases, s" in titles


def test_each_region_and_stack_has_its_own() -> None:
    recording = evaluate("prod", config={"aws:region": "eu-central-1"})
    dashboard = recording.one(DASHBOARD)
    assert dashboard.inputs["dashboardName"] == "tl-fif-prod"
    assert {each["region"] for each in graphs(drawn(recording))} == {"eu-central-1"}
    url = recording.outputs["dashboard_url"]
    assert url.startswith("https://eu-central-1.console.aws.amazon.com/cloudwatch/")
    assert url.endswith("region=eu-central-1#dashboards/dashboard/tl-fif-prod")
