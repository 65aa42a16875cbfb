"""The meter counts what the platform counted, once, and closes the API to a trickle when the money
ends; CloudWatch, S3 and API Gateway by moto, in this process.
"""

import datetime
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from support.money import USD
from support.money import tariff_of_requests as tariff

from meter import handler, metering, reading
from meter.handler import Clients, Memory
from tlfif import names
from tlfif.environment import Meter
from tlfif.money import counting, months
from tlfif.money.counting import Function
from tlfif.money.deciding import Degree
from tlfif.money.documents import Ledger, Metered

pytestmark = pytest.mark.story("OPS-003")

BUCKET, API = "tl-fif-test", "tl-fif-test"
NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc).timestamp()
ROUTER = Function(name="router", item="Lambda compute", gb=0.5, role="router", fast=True)
LANE = Function(name="lane", item="Lambda compute x86", gb=3, disk_gb=0.5, role="lane", fast=True)
PROBED = Function(name="health", item="Lambda compute", gb=0.25, role="probed")
OWN = Function(name="meter", item="Lambda compute", gb=0.25, role="meter", reads=1.2, writes=0.2)
FUNCTIONS = [ROUTER, LANE, PROBED, OWN]
ACCESS = names.ACCESS_LOG_GROUP


class World:
    """A stack's API, its bucket, and what CloudWatch heard of it."""

    def __init__(self) -> None:
        cloudwatch, s3, apigateway = (
            boto3.client(each, region_name="us-east-1")  # type: ignore[call-overload]
            for each in ("cloudwatch", "s3", "apigateway")
        )
        self.clients = Clients(cloudwatch, s3, apigateway)
        self.s3: Any = s3
        s3.create_bucket(Bucket=BUCKET)
        self.api_id = self._stage(apigateway)
        self.memory = Memory()
        self.asked: list[str] = []
        cloudwatch.meta.events.register("before-call.cloudwatch", self._hear)

    def _stage(self, apigateway: Any) -> str:
        api_id = apigateway.create_rest_api(name=API)["id"]
        root = apigateway.get_resources(restApiId=api_id)["items"][0]["id"]
        method = {"restApiId": api_id, "resourceId": root, "httpMethod": "GET"}
        apigateway.put_method(**method, authorizationType="NONE")
        apigateway.put_integration(**method, type="MOCK")
        apigateway.create_deployment(restApiId=api_id, stageName="v1")
        return api_id

    def _hear(self, model: Any, **_: Any) -> None:
        if model.name == "GetMetricStatistics":
            self.asked.append(model.name)

    @property
    def told(self) -> Meter:
        return Meter(
            replies_bucket=BUCKET,
            api_id=self.api_id,
            api_name=API,
            stage="v1",
            functions=counting.pack(FUNCTIONS),
            log_groups=f"/aws/lambda/router,{ACCESS}",
        )

    def put(self, namespace: str, metric: str, value: float, at: float, **dimensions: str) -> None:
        when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
        datum: Any = {
            "MetricName": metric,
            "Value": value,
            "Timestamp": when,
            "Dimensions": [{"Name": key, "Value": each} for key, each in dimensions.items()],
        }
        self.clients.cloudwatch.put_metric_data(Namespace=namespace, MetricData=[datum])

    def requests(self, number: float, at: float) -> None:
        self.put("AWS/ApiGateway", "Count", number, at, ApiName=API, Stage="v1")

    def call(self, function: Function, ms: float, at: float) -> None:
        self.put("AWS/Lambda", "Duration", ms, at, FunctionName=function.name)

    def run(self, now: float) -> Metered:
        return handler.run(self.told, self.clients, self.memory, now)

    def stored(self) -> Metered:
        found = Metered.load(self.s3, BUCKET)
        assert found is not None
        return found

    def rates(self) -> dict[str, tuple[float, int]]:
        found = self.clients.apigateway.get_stage(restApiId=self.api_id, stageName="v1")
        settings = found.get("methodSettings", {})
        return {
            path: (each["throttlingRateLimit"], each["throttlingBurstLimit"])
            for path, each in settings.items()
        }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in [each for each in os.environ if each.startswith("AWS_ENDPOINT")]:
        monkeypatch.delenv(name)
    with mock_aws():
        yield World()


# --- counting


def test_a_month_is_counted_whole_by_item(aws: World) -> None:
    for day in (1, 5, 20):
        aws.requests(1_000, NOW - (20 - day) * 86_400)
    for _ in range(3):
        aws.call(ROUTER, 40, NOW - 60)
    aws.call(LANE, 20_000, NOW - 60)
    aws.put("AWS/Logs", "IncomingBytes", 2e9, NOW - 60, LogGroupName=ACCESS)
    size = {"BucketName": BUCKET, "StorageType": "StandardStorage"}
    aws.put("AWS/S3", "BucketSizeBytes", 1e9, NOW - 86_400, **size)
    metered = aws.run(NOW)
    assert (metered.month, metered.at, metered.lane_s) == ("2026-11", NOW, 20.0)
    units = metered.units
    assert units["REST request"] == units["trace"] == 3_000, "fewer than one a second"
    assert units["S3 read"] == 2_997, "those that no function answered"
    assert units["Lambda request"] == 4
    assert units["Lambda compute"] == pytest.approx(0.5 * (0.12 + 3 * counting.ROUNDED_S))
    assert units["log ingestion"] == 2
    assert units["S3 storage"] == pytest.approx(months.elapsed(NOW))
    assert "Lambda compute x86" not in units, "the lane's run time is counted as such"
    assert aws.stored() == metered


def test_asked_twice_it_counts_once_and_what_comes_late_is_counted_then(aws: World) -> None:
    aws.requests(1_000, NOW - 60)
    assert [aws.run(NOW + s).units["REST request"] for s in (0, 60)] == [1_000, 1_000]
    aws.requests(500, NOW - 7_200)
    assert aws.run(NOW + 120).units["REST request"] == 1_500


def test_each_minute_what_is_fast_and_every_quarter_of_an_hour_the_rest(aws: World) -> None:
    aws.run(NOW)
    everything = len(aws.asked)
    assert everything == 3 + len(FUNCTIONS) + 2 + 1
    counts: list[int] = []
    for minute in range(1, 16):
        aws.asked.clear()
        aws.run(NOW + 60 * minute - (5 if minute == 15 else 0))
        counts.append(len(aws.asked))
    assert counts == [6] * 14 + [everything], "the API, its log, the router and the lane"


def test_the_documents_are_written_when_there_is_something_to_tell(aws: World) -> None:
    tariff().save(aws.s3, BUCKET)
    aws.run(NOW)
    for minute in (1, 2):
        aws.run(NOW + 60 * minute)
    assert aws.stored().at == NOW
    aws.requests(metering.WORTH_USD / USD + 1, NOW)
    aws.run(NOW + 180)
    assert aws.stored().at == NOW + 180, "it was worth it"
    for minute in range(4, 9):
        aws.run(NOW + 60 * minute)
    assert aws.stored().at == NOW + 480, "and every five minutes"


def test_near_the_cap_every_figure_is_told(aws: World) -> None:
    tariff(cap_usd=15.0).save(aws.s3, BUCKET)
    aws.run(NOW)
    aws.run(NOW + 60)
    assert aws.stored().at == NOW + 60


def test_another_container_goes_on_from_what_is_stored(aws: World) -> None:
    aws.requests(1_000, NOW - 60)
    aws.call(PROBED, 10, NOW - 60)
    aws.run(NOW)
    aws.memory = Memory()
    aws.asked.clear()
    again = aws.run(NOW + 60)
    assert again.units["Lambda request"] == 1, "what is slow was not asked for again"
    assert len(aws.asked) == 6


def test_a_new_month_begins_at_nothing(aws: World) -> None:
    last = months.end(NOW) - 60
    aws.requests(1_000, last)
    assert aws.run(last).units["REST request"] == 1_000
    aws.requests(7, last + 90)
    new = aws.run(last + 120)
    assert (new.month, new.units["REST request"]) == ("2026-12", 7)
    assert aws.stored() == new


def test_no_figure_falls_within_a_month(aws: World) -> None:
    aws.requests(1_000, NOW - 60)
    aws.run(NOW)
    known = metering.begun(aws.memory.metered, NOW)
    counters = [each for each in _counters() if each.fast]
    less = reading.Reading(counted={counting.REACHED: 10.0})
    again = metering.metered(known, less, counters, FUNCTIONS, 0.0, NOW + 60)
    assert again.units["REST request"] == 1_000


class Deaf:
    """CloudWatch, which tells all but one metric."""

    def __init__(self, told: Any, metric: str) -> None:
        self._told, self._metric = told, metric

    def get_metric_statistics(self, **asked: Any) -> Any:
        if asked["MetricName"] == self._metric:
            error: Any = {"Error": {"Code": "Throttling"}}
            raise ClientError(error, "GetMetricStatistics")
        return self._told.get_metric_statistics(**asked)


def _counters() -> list[reading.Counter]:
    return reading.counters(
        functions=FUNCTIONS, log_groups=[ACCESS], api_name=API, stage="v1", bucket=BUCKET
    )


def test_what_the_api_refuses_by_itself_is_not_counted_as_charged(aws: World) -> None:
    """Count has it, too: a flood without a token would close the stage for nothing."""
    api = {"ApiName": API, "Stage": "v1"}
    aws.put("AWS/ApiGateway", "Count", 5_030, NOW - 60, **api)
    aws.put("AWS/ApiGateway", "4XXError", 5_020, NOW - 60, **api)
    for _ in range(25):  # which 20 jobs were refused by the router
        aws.put("AWS/ApiGateway", "IntegrationLatency", 40, NOW - 60, **api)
    assert aws.run(NOW).units["REST request"] == 35
    aws.put("AWS/ApiGateway", "Count", 100, NOW, **api)  # preflights
    assert aws.run(NOW + 60).units["REST request"] == 135


def test_without_the_refusals_nothing_counts_by_what_was_asked(aws: World) -> None:
    aws.requests(1_000, NOW - 60)

    told = aws.clients.cloudwatch
    known = reading.read(Deaf(told, "4XXError"), _counters(), NOW)
    assert counting.requests(known.counted) == 0
    assert counting.requests(reading.read(told, _counters(), NOW).counted) == 1_000


def test_a_counter_that_is_not_told_keeps_back_no_other(aws: World) -> None:
    aws.requests(1_000, NOW - 60)
    aws.call(ROUTER, 40, NOW - 60)

    told = aws.clients.cloudwatch
    aws.clients = aws.clients._replace(cloudwatch=Deaf(told, "Duration"))
    with pytest.raises(handler.Incomplete, match="router"):
        aws.run(NOW)
    stored = aws.stored()
    assert stored.units["REST request"] == 1_000
    assert (stored.at, stored.slow_at) == (0.0, 0.0), "nobody takes it for complete"
    aws.clients = aws.clients._replace(cloudwatch=told)
    assert aws.run(NOW + 60).units["Lambda request"] == 1


@pytest.mark.parametrize(
    ("requests", "traced"), [(1_000, 1_000), (86_400, 86_400), (1_000_000, 86_400 + 50_000)]
)
def test_of_many_requests_few_are_traced(requests: float, traced: float) -> None:
    counted = {counting.REACHED: requests, counting.day(counting.REACHED, "2026-11-20"): requests}
    assert counting.units(counted, [], 0, 0)["trace"] == traced


def test_replies_are_written_no_oftener_than_somebody_works() -> None:
    counted = {counting.calls(ROUTER): 100.0, counting.seconds(LANE): 30.0}
    assert counting.units(counted, FUNCTIONS, 0, 0)["S3 write"] == 30
    assert counting.units(counted, FUNCTIONS, 0, 1e6)["S3 write"] == 300


# --- closing


def test_the_stage_is_closed_and_opened_again(aws: World) -> None:
    tariff().save(aws.s3, BUCKET)
    aws.run(NOW)
    assert aws.rates() == {path: tuple(each) for path, each in names.THROTTLES.items()}
    Ledger(month="2026-11", at=NOW, degree=Degree.TRICKLE.value).save(aws.s3, BUCKET)
    aws.run(NOW + 60)
    closed = aws.rates()
    assert all(closed[path][0] < 1 for path in names.TRICKLING)
    assert all(closed[path] == names.STAGE_THROTTLE for path in names.CHECKED)
    # A deployment opens it again; nobody asked for that.
    patch = {"op": "replace", "path": "/*/*/throttling/rateLimit", "value": "200"}
    aws.clients.apigateway.update_stage(
        restApiId=aws.api_id, stageName="v1", patchOperations=[patch]
    )
    aws.run(NOW + 120)
    assert aws.rates() == closed
    Ledger(month="2026-11", at=NOW + 120).save(aws.s3, BUCKET)
    aws.run(NOW + 180)
    assert aws.rates()["*/*"] == names.STAGE_THROTTLE


def test_a_raised_cap_opens_it_within_a_minute(aws: World) -> None:
    tariff(cap_usd=13.5).save(aws.s3, BUCKET)
    aws.requests(1 / USD, NOW - 60)
    aws.run(NOW)
    assert aws.rates()["*/*"][0] < 1
    tariff(cap_usd=23.0).save(aws.s3, BUCKET)
    aws.run(NOW + 60)
    assert aws.rates()["*/*"] == names.STAGE_THROTTLE


def test_a_stack_without_a_tariff_is_counted_and_left_open(aws: World) -> None:
    aws.requests(1e9, NOW - 60)
    assert aws.run(NOW).units["REST request"] == 1e9
    assert aws.rates() == {}
