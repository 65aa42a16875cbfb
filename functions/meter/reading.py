"""Reads the platform's counters from CloudWatch, each from the month's begin on.

A month's sums are asked for as a whole, by days: a datapoint that comes late is in the next answer,
asking twice counts nothing twice, and a new month begins at nothing. CloudWatch takes as much for a
request whatever it spans.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlfif import aws, names
from tlfif.money import counting, months
from tlfif.money.counting import Function

DAY_S = counting.DAY_S
SUM, NUMBER, AVERAGE = "Sum", "SampleCount", "Average"
# Count has what is refused too, which is not charged.
API = {
    "IntegrationLatency": (NUMBER, counting.REACHED),
    "Count": (SUM, counting.ASKED),
    "4XXError": (SUM, counting.REFUSED),
}


@dataclass(frozen=True, kw_only=True)
class Counter:
    """One metric of CloudWatch; `kept` names what each of its statistics is counted as, and
    `unit` is what one of it is there.
    """

    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    kept: Mapping[str, str]
    unit: float = 1.0
    fast: bool = False
    stock: bool = False
    by_day: bool = False


@dataclass(kw_only=True)
class Reading:
    """What was read, and which counters CloudWatch did not tell, with its error."""

    counted: dict[str, float] = field(default_factory=dict[str, float])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    asked: int = 0


def counters(
    *,
    functions: Iterable[Function],
    log_groups: Iterable[str],
    api_name: str,
    stage: str,
    bucket: str,
) -> list[Counter]:
    """All that a stack's spending is counted by."""
    return [
        *(_api(each, {"ApiName": api_name, "Stage": stage}) for each in API),
        *map(_function, functions),
        *map(_logs, log_groups),
        Counter(
            namespace="AWS/S3",
            metric="BucketSizeBytes",
            dimensions={"BucketName": bucket, "StorageType": "StandardStorage"},
            kept={AVERAGE: counting.STORED},
            unit=1 / counting.GB,
            stock=True,
        ),
    ]


def _api(metric: str, stage: Mapping[str, str]) -> Counter:
    statistic, kept = API[metric]
    return Counter(
        namespace="AWS/ApiGateway",
        metric=metric,
        dimensions=stage,
        kept={statistic: kept},
        fast=True,
        by_day=True,
    )


def _function(function: Function) -> Counter:
    # How many samples its run time has is how often it was called: one request for both.
    return Counter(
        namespace="AWS/Lambda",
        metric="Duration",
        dimensions={"FunctionName": function.name},
        kept={SUM: counting.seconds(function), NUMBER: counting.calls(function)},
        unit=0.001,
        fast=function.fast,
    )


def _logs(group: str) -> Counter:
    return Counter(
        namespace="AWS/Logs",
        metric="IncomingBytes",
        dimensions={"LogGroupName": group},
        kept={SUM: f"{counting.LOGS}{group}"},
        # Whoever calls the API, in vain too, has a line in its own log.
        fast=group.startswith(names.ACCESS_LOG_GROUP),
    )


def read(cloudwatch: Any, wanted: Iterable[Counter], now: float) -> Reading:
    """Asks for these counters; one that CloudWatch does not tell does not keep back the others."""
    reading = Reading()
    for counter in wanted:
        reading.asked += 1
        try:
            points = _points(cloudwatch, counter, now)
        except aws.Unavailable as error:
            reading.failed[next(iter(counter.kept.values()))] = str(error)
        else:
            reading.counted.update(_counted(counter, points, now))
    if counting.REFUSED in reading.failed:
        # Without it everything would count as charged.
        reading.counted = {
            name: each
            for name, each in reading.counted.items()
            if name.partition(":")[0] != counting.ASKED
        }
    return reading


def _points(cloudwatch: Any, counter: Counter, now: float) -> list[dict[str, Any]]:
    day = datetime.timedelta(seconds=DAY_S)
    begin = datetime.datetime.fromtimestamp(months.begin(now), months.UTC)
    today = datetime.datetime.fromtimestamp(now - now % DAY_S, months.UTC)
    with aws.answering():
        answer = cloudwatch.get_metric_statistics(
            Namespace=counter.namespace,
            MetricName=counter.metric,
            Dimensions=[{"Name": name, "Value": of} for name, of in counter.dimensions.items()],
            StartTime=begin,
            # The day's end: a clock that is late misses nothing.
            EndTime=min(today + day, datetime.datetime.fromtimestamp(months.end(now), months.UTC)),
            Period=DAY_S,
            Statistics=sorted(counter.kept),
        )
    return answer["Datapoints"]


def _counted(
    counter: Counter, points: list[dict[str, Any]], now: float
) -> Iterator[tuple[str, float]]:
    for statistic, name in counter.kept.items():
        # Of a run time the samples are calls, not ms.
        unit = 1.0 if statistic == NUMBER else counter.unit
        values = [unit * point[statistic] for point in points]
        if counter.stock:
            # What is kept all month, so much of a month long.
            average = sum(values) / len(values) if values else 0.0
            yield name, average * months.elapsed(now)
            continue
        yield name, sum(values)
        if counter.by_day:
            for point, value in zip(points, values, strict=True):
                yield counting.day(name, point["Timestamp"].strftime("%Y-%m-%d")), value
