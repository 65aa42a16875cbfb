"""Alarms ring and end as CloudWatch's do, and their actions are carried out (OPS-003)."""

import json
from typing import Any, cast

import pytest
from support.monitored import MAIL, STOP, Calls, recording, resource, topic

from local.aws.moto import Moto
from local.monitoring.alarms import ALARM, OK, RINGS, UNKNOWN, Alarm, Alarms, judged
from local.monitoring.metrics import Metrics
from local.monitoring.topics import Topics

SPEND = {
    "namespace": "TLFIF/Cost",
    "metricName": "CurrentSpendEUR",
    "dimensions": {"Stack": "dev"},
    "statistic": "Maximum",
    "period": 300,
    "evaluationPeriods": 1,
    "threshold": 20,
    "comparisonOperator": "GreaterThanOrEqualToThreshold",
    "alarmActions": [STOP, MAIL],
    "okActions": [MAIL],
    "alarmDescription": "The cap is reached.",
}


class Shown:
    """A moto that shows the alarms' states."""

    region = "us-east-1"

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def client(self, service: str) -> "Shown":
        return self

    def set_alarm_state(self, **told: str) -> None:
        self.states[told["AlarmName"]] = told["StateValue"]


@pytest.mark.parametrize(
    ("inputs", "values", "state"),
    [
        ({}, [21.0], RINGS),
        ({}, [19.0], OK),
        ({}, [None], UNKNOWN),
        ({"treatMissingData": "breaching"}, [None], RINGS),
        ({"treatMissingData": "notBreaching"}, [None], OK),
        ({"treatMissingData": "ignore"}, [None], UNKNOWN),
        ({"evaluationPeriods": 3, "datapointsToAlarm": 2}, [21.0, None, 21.0], RINGS),
        ({"evaluationPeriods": 3}, [21.0, 1.0, 21.0], OK),
        ({"comparisonOperator": "LessThanThreshold"}, [19.0], RINGS),
    ],
)
def test_an_alarm_is_judged_by_its_periods(
    inputs: dict[str, Any], values: list[float | None], state: str
) -> None:
    alarm = Alarm(arn="", name="a", inputs={**SPEND, **inputs})
    assert judged(alarm, values)[0] == state


@pytest.mark.story("OPS-003")
async def test_a_change_is_told_once_to_those_who_may_be_told() -> None:
    moto, topics = Shown(), Topics(Calls().post)
    metrics = Metrics(cast(Moto, moto))
    alarms = Alarms(cast(Moto, moto), metrics, topics, seconds_per_minute=1.0)
    declared = resource(ALARM, "spend", SPEND, arn="arn:alarm")
    computed = resource(ALARM, "computed", {"metricQueries": [{}]})
    policy = topic(STOP, "cloudwatch.amazonaws.com")
    deployed = recording(declared, computed, policy, topic(MAIL, "budgets.amazonaws.com"))
    topics.adopt(deployed)
    alarms.adopt(deployed)
    # A period of five minutes is five seconds here.
    metrics.put("TLFIF/Cost", "CurrentSpendEUR", {"Stack": "dev"}, 20.1, at=96)
    assert [each.name for each in await alarms.judge(now=100)] == ["spend"]
    assert await alarms.judge(now=100) == []
    [message] = topics.messages
    told = json.loads(message.text)
    assert (message.topic_arn, told["AlarmName"], told["NewStateValue"]) == (STOP, "spend", RINGS)
    assert told["Trigger"]["MetricName"] == "CurrentSpendEUR"
    assert moto.states == {"spend": RINGS}
    alarms.adopt(deployed)
    assert alarms.alarms["spend"].state == RINGS, "a deployment is no news"
    await alarms.judge(now=102)
    assert moto.states == {"spend": UNKNOWN}
