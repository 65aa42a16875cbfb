"""CloudWatch's metrics: kept here to the second, and in moto whenever somebody asks it."""

import asyncio
import json
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from local.aws.answers import json_answer
from local.aws.messages import Answer
from local.aws.moto import Moto
from local.aws.requests import AwsRequest

# A month of a datapoint a minute.
MAX_DATAPOINTS = 44_640
_BATCH = 500
_EMF = '{"_aws"'

Dimensions = Mapping[str, str]


class Key(NamedTuple):
    """Which metric: a namespace, a name and dimensions as sorted pairs."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """A value that was seen so many times at `at` (epoch s)."""

    at: float
    value: float
    times: float


class Metrics:
    """Datapoints as they come: from functions' lines, from the platform, from PutMetricData.

    What moto is to know is added to it by `flush`, a statistic set for each metric and second.
    """

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._samples: defaultdict[Key, deque[Sample]] = defaultdict(
            lambda: deque(maxlen=MAX_DATAPOINTS)
        )
        self._unsent: list[tuple[Key, Sample]] = []
        self._sending = asyncio.Lock()

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        value: float,
        *,
        times: float = 1,
        at: float | None = None,
        sent: bool = False,
    ) -> None:
        """Adds a value, now or at a time (epoch s); `sent` says that moto has it already."""
        key = Key(namespace, name, tuple(sorted(dimensions.items())))
        sample = Sample(time.time() if at is None else at, value, times)
        self._samples[key].append(sample)
        if not sent:
            self._unsent.append((key, sample))

    def take_line(self, line: str) -> None:
        """The metrics of a line in embedded metric format; any other line has none."""
        if not line.startswith(_EMF):
            return
        try:
            document = json.loads(line)
            header = document["_aws"]
            for each in header["CloudWatchMetrics"]:
                self._take(document, each, header["Timestamp"] / 1000)
        except (KeyError, TypeError, ValueError):
            # CloudWatch leaves such a line a line.
            return

    def _take(self, document: Mapping[str, Any], told: Mapping[str, Any], at: float) -> None:
        for names in told["Dimensions"]:
            dimensions = {name: str(document[name]) for name in names}
            for metric in told["Metrics"]:
                found = document[metric["Name"]]
                for value in found if isinstance(found, list) else [found]:
                    self.put(told["Namespace"], metric["Name"], dimensions, float(value), at=at)

    def take_request(self, request: AwsRequest) -> None:
        """What a PutMetricData tells, which moto takes itself."""
        for each in request.params["MetricData"]:
            dimensions = {pair["Name"]: pair["Value"] for pair in each.get("Dimensions", ())}
            values = each.get("Values") or [each.get("Value", 0.0)]
            for value, times in zip(values, each.get("Counts") or [1] * len(values), strict=True):
                namespace, name = request.params["Namespace"], each["MetricName"]
                self.put(namespace, name, dimensions, float(value), times=float(times), sent=True)

    # --- asking

    def known(self) -> list[Key]:
        """The metrics that there are."""
        return sorted(self._samples)

    def statistic(
        self,
        stat: str,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        since: float,
        until: float,
    ) -> float | None:
        """One statistic of the datapoints from `since` until before `until` (epoch s): Sum,
        Average, Minimum, Maximum, SampleCount or a percentile such as p95; None without any.
        """
        found = self.samples(namespace, name, dimensions, since, until)
        return statistic(stat, found) if found else None

    def samples(
        self, namespace: str, name: str, dimensions: Dimensions, since: float, until: float
    ) -> list[Sample]:
        """The datapoints in that time, in the order in which they came."""
        key = Key(namespace, name, tuple(sorted(dimensions.items())))
        return [each for each in self._samples.get(key, ()) if since <= each.at < until]

    def answer(self, request: AwsRequest) -> Answer:
        """GetMetricStatistics: moto has no percentiles, and periods that begin with the data."""
        asked = request.params
        dimensions = {each["Name"]: each["Value"] for each in asked.get("Dimensions", ())}
        since, until = _epoch(asked["StartTime"]), _epoch(asked["EndTime"])
        period = int(asked["Period"])
        periods: defaultdict[float, list[Sample]] = defaultdict(list)
        begin = since // 60 * 60
        named = asked["Namespace"], asked["MetricName"]
        for each in self.samples(*named, dimensions, begin, until):
            periods[begin + (each.at - begin) // period * period].append(each)
        points = [
            _datapoint(at, found, asked.get("Statistics", ()), asked.get("ExtendedStatistics", ()))
            for at, found in sorted(periods.items())
        ]
        return json_answer({"Label": asked["MetricName"], "Datapoints": points})

    # --- moto

    async def flush(self) -> None:
        """Returns when moto knows what has come until now."""
        async with self._sending:
            unsent, self._unsent = self._unsent, []
            for namespace, data in _statistic_sets(unsent):
                for begin in range(0, len(data), _BATCH):
                    await asyncio.to_thread(
                        self._moto.client("cloudwatch").put_metric_data,
                        Namespace=namespace,
                        MetricData=data[begin : begin + _BATCH],
                    )

    def forget(self) -> None:
        """As after a deployment into an empty cloud."""
        self._samples.clear()
        self._unsent.clear()


def statistic(stat: str, samples: Iterable[Sample]) -> float:
    """A statistic of datapoints, of which there is one at least. Raises ValueError for a name that
    CloudWatch does not have.
    """
    ordered = sorted(samples, key=lambda each: each.value)
    count = sum(each.times for each in ordered)
    total = sum(each.value * each.times for each in ordered)
    plain = {
        "Sum": total,
        "SampleCount": count,
        "Average": total / count,
        "Minimum": ordered[0].value,
        "Maximum": ordered[-1].value,
    }
    return plain[stat] if stat in plain else _percentile(ordered, _share(stat) * count)


def _share(stat: str) -> float:
    if not stat.startswith("p"):
        raise ValueError(f"{stat!r} is no statistic that the local cloud knows")
    return float(stat[1:]) / 100


def _percentile(ordered: Iterable[Sample], rank: float) -> float:
    """The smallest value that at least `rank` of them do not exceed."""
    passed, last = 0.0, math.nan
    for each in ordered:
        passed, last = passed + each.times, each.value
        if passed >= rank:
            break
    return last


def _datapoint(
    at: float, samples: list[Sample], plain: Iterable[str], extended: Iterable[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"Timestamp": at, "Unit": "None"}
    found |= {stat: statistic(stat, samples) for stat in plain}
    further = {stat: statistic(stat, samples) for stat in extended}
    return {**found, "ExtendedStatistics": further} if further else found


def _epoch(moment: datetime) -> float:
    """A time as moto's parser reads it: in UTC, without saying so."""
    return moment.replace(tzinfo=UTC).timestamp()


def _statistic_sets(
    unsent: Iterable[tuple[Key, Sample]],
) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """What PutMetricData takes, by namespace."""
    seconds: defaultdict[tuple[Key, int], list[Sample]] = defaultdict(list)
    for key, sample in unsent:
        seconds[key, int(sample.at)].append(sample)
    by_namespace: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for (key, at), samples in seconds.items():
        stats = ("SampleCount", "Sum", "Minimum", "Maximum")
        by_namespace[key.namespace].append(
            {
                "MetricName": key.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in key.dimensions],
                "Timestamp": at,
                "StatisticValues": {stat: statistic(stat, samples) for stat in stats},
            }
        )
    return by_namespace.items()
