"""Metrics are kept as CloudWatch keeps them (OPS-001, OPS-004)."""

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from support.monitored import request

from local.aws.moto import Moto
from local.monitoring.metrics import Metrics
from tlfif import emf

STACK = {"Stack": "dev"}


class Taking:
    """A moto that takes what CloudWatch is told."""

    def __init__(self) -> None:
        self.put: list[dict[str, Any]] = []

    def client(self, service: str) -> "Taking":
        assert service == "cloudwatch"
        return self

    def put_metric_data(self, **told: Any) -> None:
        self.put.append(told)


@pytest.fixture
def moto() -> Taking:
    return Taking()


@pytest.fixture
def metrics(moto: Taking) -> Metrics:
    return Metrics(cast(Moto, moto))


def test_a_functions_line_is_a_datapoint_and_another_line_is_none(metrics: Metrics) -> None:
    metrics.take_line(emf.line("TLFIF/Queue", "dev", {"QueueDepth": 3, "OldestJobAge": 7}))
    for line in ("hello", '{"_aws": {}}', '{"_aws": nonsense', json.dumps({"QueueDepth": 9})):
        metrics.take_line(line)
    assert [key.name for key in metrics.known()] == ["OldestJobAge", "QueueDepth"]
    assert metrics.statistic("Maximum", "TLFIF/Queue", "QueueDepth", STACK, 0, 9e9) == 3


def test_statistics_count_a_value_as_often_as_it_was_seen(metrics: Metrics) -> None:
    for each in (20, 2, 4, 18, 6, 16, 8, 14, 10, 12):
        metrics.put("N", "m", STACK, each, at=100)
    metrics.put("N", "m", STACK, 1_000, at=160)
    expected = {"Sum": 110, "Average": 11, "Minimum": 2, "Maximum": 20, "SampleCount": 10}
    for stat, value in {**expected, "p10": 2, "p50": 10, "p95": 20}.items():
        assert metrics.statistic(stat, "N", "m", STACK, 60, 120) == value, stat
    assert metrics.statistic("Sum", "N", "m", STACK, 0, 60) is None
    metrics.put("N", "n", {}, 5, times=40, at=0)
    assert metrics.statistic("Sum", "N", "n", {}, 0, 60) == 200
    with pytest.raises(ValueError, match="median"):
        metrics.statistic("median", "N", "m", STACK, 0, 200)


def test_who_asks_is_answered_in_whole_periods_percentiles_included(metrics: Metrics) -> None:
    for at, value in ((3_610, 1), (3_650, 3), (3_700, 5)):
        metrics.put("AWS/ApiGateway", "Latency", {"ApiName": "a"}, value, at=at)
    answer = metrics.answer(
        request(
            "cloudwatch",
            "GetMetricStatistics",
            Namespace="AWS/ApiGateway",
            MetricName="Latency",
            Dimensions=[{"Name": "ApiName", "Value": "a"}],
            StartTime=datetime.fromtimestamp(3_600, UTC).replace(tzinfo=None),
            EndTime=datetime.fromtimestamp(7_200, UTC).replace(tzinfo=None),
            Period=60,
            Statistics=["Sum"],
            ExtendedStatistics=["p95"],
        )
    )
    points = json.loads(answer.body)["Datapoints"]
    assert [(each["Timestamp"], each["Sum"]) for each in points] == [(3_600, 4), (3_660, 5)]
    assert points[0]["ExtendedStatistics"] == {"p95": 3}


async def test_moto_learns_a_statistic_set_a_second_and_only_once(
    metrics: Metrics, moto: Taking
) -> None:
    for value in (1, 2, 3):
        metrics.put("N", "m", STACK, value, at=100 + value / 10)
    told = {"MetricName": "x", "Values": [2.0, 3.0], "Counts": [1.0, 2.0]}
    metrics.take_request(request("cloudwatch", "PutMetricData", Namespace="N", MetricData=[told]))
    assert metrics.statistic("Sum", "N", "x", {}, 0, 9e9) == 8, "moto took it, and we did"
    await metrics.flush()
    await metrics.flush()
    [put] = moto.put
    [data] = put["MetricData"]
    expected = {"SampleCount": 3, "Sum": 6, "Minimum": 1, "Maximum": 3}
    assert (put["Namespace"], data["StatisticValues"]) == ("N", expected)
    metrics.forget()
    assert metrics.known() == []
