"""The alarms on what the functions say: when they ring, who hears it, and what they cost."""

from typing import Any

import pytest
from support.program import ALARM, evaluate

from components import costs
from components.settings import Settings
from recording import kinds
from recording.model import Recording
from tlfif import names

# What the issue names, and the alarm that rings for it.
WANTED = {
    "latency": "gateway-slow",
    "errors": "gateway-errors",
    "probe": "health-ping-fails",
    "queue memory": "queue-memory-1",
    "oldest job age": "watch-oldest-job",
    "dead letters": "watch-dead-letters",
    "boot crashes": "watch-failed-boots",
    "75 % of the cap": "watch-spend-warns",
    "the cap": "watch-spend-stops",
}


def alarm(recording: Recording, name: str) -> dict[str, Any]:
    return recording.one(ALARM, name).inputs


def test_everything_that_was_asked_for_rings(recording: Recording) -> None:
    assert set(WANTED.values()) <= {each.name for each in recording.of_type(ALARM)}


@pytest.mark.story("OPS-003")
def test_spending_rings_at_75_percent_and_at_the_cap_of_the_settings() -> None:
    for cap in (20, 50):
        recording = evaluate("dev", config={"tl-fif:budget": {"capEur": cap}})
        for name, threshold in (("watch-spend-warns", 0.75 * cap), ("watch-spend-stops", cap)):
            found = alarm(recording, name)
            metric = (found["namespace"], found["metricName"], found["dimensions"])
            assert metric == ("TLFIF/Cost", "CurrentSpendEUR", {"Stack": "dev"})
            assert (found["threshold"], found["statistic"]) == (threshold, "Maximum")
            assert found["comparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.story("OPS-003")
def test_what_acts_hears_that_the_cap_is_passed_and_nothing_else(dev: Recording) -> None:
    found = alarm(dev, "watch-spend-stops")
    topics = [each.outputs["arn"] for each in dev.of_type(kinds.monitoring.TOPIC.token)]
    assert set(found["alarmActions"]) <= set(topics)
    assert found["okActions"] == found["alarmActions"][-1:], "the last one is people's"
    assert found.get("insufficientDataActions") is None
    assert found["treatMissingData"] == "ignore", "silence does not take a passed cap back"


def test_a_silent_publisher_is_told_by_the_alarm_on_what_it_publishes(dev: Recording) -> None:
    found = alarm(dev, "watch-spend-warns")
    assert found["treatMissingData"] == "missing"
    assert found["insufficientDataActions"] == found["alarmActions"]


def test_an_alarm_says_where_to_read_what_to_do(recording: Recording) -> None:
    for each in recording.of_type(ALARM):
        said = each.inputs["alarmDescription"]
        assert said.endswith(f"What to do: docs/runbook.md, {each.name}.")


def test_a_metric_costs_for_the_hours_in_which_it_is_emitted() -> None:
    settings = Settings.parse({"aws:region": "us-east-1"})
    steady, eventful, of_nodes = costs.metrics(settings)
    assert steady.quantity == len(names.STEADY_METRICS)
    every = {value for name, value in vars(names).items() if name.startswith("METRIC_")}
    assert every > names.STEADY_METRICS
    share = costs.EVENTFUL_HOURS / 730
    assert eventful.quantity == pytest.approx(share * len(every - names.STEADY_METRICS))
    assert of_nodes.quantity == pytest.approx(share * 3)


def test_metrics_are_free_and_alarms_beyond_ten_are_not(dev: Recording) -> None:
    due = {"custom metric": 0.0, "alarm": 0.0, "dashboard": 0.0}
    for line in dev.bill:
        if line["item"] in due:
            due[line["item"]] += line["usd"]
    beyond = len(dev.of_type(ALARM)) - 10
    assert due == {
        "custom metric": 0.0,
        "alarm": pytest.approx(0.10 * beyond),
        "dashboard": 0.0,
    }
