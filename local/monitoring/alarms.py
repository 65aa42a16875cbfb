"""CloudWatch's alarms: judged each minute of the scaled clock, their actions carried out."""

import asyncio
import json
import logging
import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.aws.moto import Moto
from local.monitoring.metrics import Metrics
from local.monitoring.topics import Topics
from recording import kinds
from recording.model import ACCOUNT_ID, Recording
from tlfif.money import months

ALARM = kinds.monitoring.METRIC_ALARM.token
SERVICE = "cloudwatch.amazonaws.com"
OK, RINGS, UNKNOWN = "OK", "ALARM", "INSUFFICIENT_DATA"
# Which input has the actions of a change to a state.
ACTIONS = {OK: "okActions", RINGS: "alarmActions", UNKNOWN: "insufficientDataActions"}
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Alarm:
    """A declared alarm of one metric, and the state that it is in."""

    arn: str
    name: str
    inputs: Mapping[str, Any]
    state: str = UNKNOWN
    reason: str = "no datapoint yet"


class Alarms:
    """The alarms of a deployed stack, by name; `seconds_per_minute` is the scaled clock's."""

    def __init__(
        self, moto: Moto, metrics: Metrics, topics: Topics, seconds_per_minute: float
    ) -> None:
        self.alarms: dict[str, Alarm] = {}
        self._moto = moto
        self._metrics = metrics
        self._topics = topics
        self._scale = seconds_per_minute / 60

    def adopt(self, recording: Recording) -> None:
        """Takes the alarms from what is deployed; those that stay keep their state."""
        old = self.alarms
        self.alarms = {}
        for each in recording.of_type(ALARM):
            # An alarm of a computed metric is none that can be judged here.
            if each.inputs.get("metricQueries"):
                continue
            name, arn = each.outputs["name"], each.outputs.get("arn", "")
            alarm = Alarm(arn=arn, name=name, inputs=each.inputs)
            if name in old:
                alarm.state, alarm.reason = old[name].state, old[name].reason
            self.alarms[name] = alarm

    async def run(self) -> None:
        """Judges them, again and again, without end."""
        while True:
            await asyncio.sleep(self._scale * 60)
            try:
                await self.judge()
            except Exception:
                _log.exception("alarms could not be judged")

    async def judge(self, now: float | None = None) -> list[Alarm]:
        """Judges them at a time (epoch s); returns those that changed, their actions done."""
        now = time.time() if now is None else now
        changed = [each for each in self.alarms.values() if self._judge(each, now)]
        for alarm in changed:
            await asyncio.to_thread(
                self._moto.client("cloudwatch").set_alarm_state,
                AlarmName=alarm.name,
                StateValue=alarm.state,
                StateReason=alarm.reason,
            )
        return changed

    def _judge(self, alarm: Alarm, now: float) -> bool:
        old = alarm.state
        state, alarm.reason = judged(alarm, self._values(alarm, now))
        if state == old:
            return False
        alarm.state = state
        if alarm.inputs.get("actionsEnabled", True):
            for topic in alarm.inputs.get(ACTIONS[state]) or ():
                subject = f'{state}: "{alarm.name}" in {self._moto.region}'
                text = json.dumps(_message(alarm, old, now, self._moto.region))
                self._topics.publish_from(SERVICE, topic, subject, text)
        return True

    def _values(self, alarm: Alarm, now: float) -> list[float | None]:
        """The statistic of each of the last periods, the newest last."""
        inputs = alarm.inputs
        period_s = float(inputs["period"]) * self._scale
        stat = inputs.get("statistic") or inputs["extendedStatistic"]
        periods = int(inputs["evaluationPeriods"])
        ends = [now - period_s * back for back in reversed(range(periods))]
        named = inputs["namespace"], inputs["metricName"], inputs.get("dimensions") or {}
        return [self._metrics.statistic(stat, *named, end - period_s, end) for end in ends]


def judged(alarm: Alarm, values: list[float | None]) -> tuple[str, str]:
    """The state that these periods put an alarm in, and why."""
    inputs = alarm.inputs
    present = [each for each in values if each is not None]
    treated = inputs.get("treatMissingData", "missing")
    if not present and treated in ("missing", "ignore"):
        return (UNKNOWN if treated == "missing" else alarm.state), "no datapoint"
    above = COMPARISONS[inputs["comparisonOperator"]]
    breaching = [each for each in present if above(each, float(inputs["threshold"]))]
    missing = (len(values) - len(present)) * (treated == "breaching")
    needed = int(inputs.get("datapointsToAlarm") or inputs["evaluationPeriods"])
    reason = f"{breaching} of {present} and {missing} missing against {inputs['threshold']}"
    return (RINGS if len(breaching) + missing >= needed else OK), reason


def _message(alarm: Alarm, old: str, now: float, region: str) -> dict[str, Any]:
    """What CloudWatch publishes of a change."""
    inputs = alarm.inputs
    dimensions = (inputs.get("dimensions") or {}).items()
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": inputs.get("alarmDescription"),
        "AWSAccountId": ACCOUNT_ID,
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": months.iso(now),
        "Region": region,
        "AlarmArn": alarm.arn,
        "OldStateValue": old,
        "Trigger": {
            "MetricName": inputs["metricName"],
            "Namespace": inputs["namespace"],
            "StatisticType": "Statistic" if inputs.get("statistic") else "ExtendedStatistic",
            "Statistic": str(inputs.get("statistic") or inputs["extendedStatistic"]).upper(),
            "Dimensions": [{"name": name, "value": value} for name, value in dimensions],
            "Period": int(inputs["period"]),
            "EvaluationPeriods": int(inputs["evaluationPeriods"]),
            "ComparisonOperator": inputs["comparisonOperator"],
            "Threshold": float(inputs["threshold"]),
            "TreatMissingData": inputs.get("treatMissingData", "missing"),
        },
    }
