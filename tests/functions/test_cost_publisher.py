"""What the month has cost, as a metric: of stubs that answer as slowly as AWS does."""

import datetime
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.money import HOUR_S, NOW, TARIFF, Bucket

from cost_publisher import publishing
from cost_publisher.publishing import Clients, publish
from tlfif import names
from tlfif.environment import CostPublisher
from tlfif.money import months
from tlfif.money.documents import Billed, Ledger, Metered

MONTH = months.month(NOW)
TOLD = CostPublisher(
    stack="dev",
    replies_bucket="b",
    gpu_count=1,
    api_id="a",
    stage="v1",
    account_id="123456789012",
    budget_name="tl-fif-dev",
)
REFUSED = ClientError({"Error": {"Code": "ThrottlingException"}}, "Call")
LEDGER = Ledger(month=MONTH, at=NOW - 60, node_s=7200.0)


class Account:
    """Budgets, Cost Explorer, EC2 and SNS of an account; those in `silent` refuse."""

    def __init__(
        self, actual: float = 0.0, explored: float = 0.0, nodes: tuple[float, ...] = ()
    ) -> None:
        self.actual, self.explored, self.nodes = actual, explored, nodes
        self.silent: set[str] = set()
        self.asked: list[dict[str, Any]] = []
        self.published: list[dict[str, str]] = []
        self.patched: list[dict[str, str]] = []

    def clients(self, bucket: Any) -> Clients:
        return Clients(bucket, self, self, self, self, self)

    def describe_budget(self, AccountId: str, BudgetName: str) -> dict[str, Any]:
        if "budgets" in self.silent:
            raise REFUSED
        assert (AccountId, BudgetName) == ("123456789012", "tl-fif-dev")
        spend = {"ActualSpend": {"Amount": str(self.actual), "Unit": "USD"}}
        return {"Budget": {"CalculatedSpend": spend}}

    def get_cost_and_usage(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if "ce" in self.silent:
            raise REFUSED
        total = {"UnblendedCost": {"Amount": str(self.explored), "Unit": "USD"}}
        return {"ResultsByTime": [{"TimePeriod": asked["TimePeriod"], "Total": total}]}

    def describe_instances(self, Filters: Any) -> dict[str, Any]:
        if "ec2" in self.silent:
            raise REFUSED
        return {"Reservations": [{"Instances": [self._instance(at) for at in self.nodes]}]}

    def _instance(self, launched_at: float) -> dict[str, Any]:
        return {
            "InstanceId": f"i-{launched_at:.0f}",
            "State": {"Name": "running"},
            "LaunchTime": datetime.datetime.fromtimestamp(launched_at, months.UTC),
            "Placement": {"AvailabilityZone": "us-east-1a"},
        }

    def get_stage(self, **_: str) -> dict[str, Any]:
        return {}

    def update_stage(self, patchOperations: Any, **_: str) -> None:
        self.patched += patchOperations

    def publish(self, **message: str) -> None:
        if "sns" in self.silent:
            raise REFUSED
        self.published.append(message)


def metric(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [found] = [line for line in lines if "_aws" in line]
    return found


@pytest.mark.story("OPS-002")
def test_the_metric_is_what_was_counted_in_eur(capsys: pytest.CaptureFixture[str]) -> None:
    bucket = Bucket(TARIFF, LEDGER)
    publish(TOLD, Account().clients(bucket), NOW)
    found = metric(capsys)
    own = TARIFF.fixed_usd * months.elapsed(NOW) + 2 * TARIFF.gpu_usd_per_hour
    assert found["CurrentSpendEUR"] == pytest.approx(own / 1.15, abs=0.001)
    [definition] = found["_aws"]["CloudWatchMetrics"]
    assert definition == {
        "Namespace": "TLFIF/Cost",
        "Dimensions": [["Stack"]],
        "Metrics": [{"Name": names.METRIC_CURRENT_SPEND_EUR, "Unit": "None"}],
    }
    assert found["Stack"] == "dev"


@pytest.mark.story("OPS-002")
def test_it_is_never_below_what_aws_billed(capsys: pytest.CaptureFixture[str]) -> None:
    bucket, account = Bucket(TARIFF, LEDGER), Account(actual=11.5)
    publish(TOLD, account.clients(bucket), NOW)
    assert metric(capsys)["CurrentSpendEUR"] == 10.0
    account.actual = 3.0
    publish(TOLD, account.clients(bucket), NOW + 900)
    assert metric(capsys)["CurrentSpendEUR"] > 10.0
    account.silent = {"budgets"}
    publish(TOLD, account.clients(bucket), NOW + 1800)
    assert metric(capsys)["CurrentSpendEUR"] > 10.0
    assert bucket.stored(Billed).actual_usd == 11.5


@pytest.mark.story("OPS-002")
def test_cost_explorer_is_asked_once_a_day_or_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    bucket, account = Bucket(TARIFF, LEDGER, Billed(month=MONTH, at=NOW)), Account(explored=13.8)
    for quarter in range(8):
        publish(TOLD, account.clients(bucket), NOW + 900 * quarter)
    assert [each["TimePeriod"] for each in account.asked] == [
        {"Start": "2026-11-01", "End": "2026-11-11"}
    ]
    assert "Filter" not in account.asked[0]
    publish(TOLD, account.clients(bucket), NOW + 86_400)
    assert len(account.asked) == 2
    account.silent = {"ce"}
    for quarter in range(4):
        publish(TOLD, account.clients(bucket), NOW + 2 * 86_400 + 900 * quarter)
    assert len(account.asked) == 3, "one that refused was asked again, at a cent each time"
    literal = replace(TOLD, cost_source="costExplorer", cost_scope="tag")
    for quarter in range(4):
        publish(literal, account.clients(bucket), NOW + 3 * 86_400 + 900 * quarter)
    assert len(account.asked) == 7
    assert account.asked[-1]["Filter"] == {"Tags": {"Key": "env", "Values": ["tinyllama"]}}
    capsys.readouterr()


def test_without_a_tariff_or_with_a_bucket_that_fails_nothing_is_published(
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(TOLD, Account(actual=5.0).clients(Bucket(LEDGER)), NOW)
    assert "CurrentSpendEUR" not in capsys.readouterr().out
    bucket = Bucket(TARIFF)
    bucket.refuses = REFUSED
    with pytest.raises(Exception, match="ThrottlingException"):
        publish(TOLD, Account().clients(bucket), NOW)


@pytest.mark.story("OPS-003")
def test_where_the_guardian_is_dead_it_counts_and_has_the_nodes_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = replace(LEDGER, at=NOW - 2 * HOUR_S, node_s=14 * HOUR_S, running=["i-0"])
    bucket, account = Bucket(TARIFF, old), Account(nodes=(NOW - HOUR_S,))
    told = replace(TOLD, stop_topic_arn="arn:stop")
    publish(told, account.clients(bucket), NOW)
    [message] = account.published
    assert message["TopicArn"] == "arn:stop"
    assert "of the cap of €20.00; the guardian is dead" in message["Message"]
    assert bucket.stored(Billed).ledger.node_s == 17 * HOUR_S
    account.silent = {"ec2", "sns"}
    publish(told, account.clients(bucket), NOW + 900)
    assert "stop not asked for" in capsys.readouterr().out


@pytest.mark.story("OPS-002")
def test_all_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four documents of 0.1 s each, Budgets and EC2: 0.6 s one after the other."""
    bucket, account = Bucket(TARIFF, LEDGER), Account()
    for owner, name in ((bucket, "get_object"), (account, "describe_budget")):
        method = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda method=method, **asked: time.sleep(0.1) or method(**asked)
        )
    began = time.monotonic()
    publish(TOLD, account.clients(bucket), NOW)
    assert time.monotonic() - began < 0.4
    assert publishing.ASKERS == 7


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize(("metered_ago_s", "closes"), [(120, False), (1_200, True), (None, True)])
def test_where_the_meter_is_dead_it_closes_the_stage_by_what_aws_billed(
    metered_ago_s: float | None, closes: bool
) -> None:
    bucket, account = Bucket(TARIFF, LEDGER), Account(actual=25.0)
    if metered_ago_s is not None:
        bucket = Bucket(TARIFF, LEDGER, Metered(month=MONTH, at=NOW - metered_ago_s))
    publish(TOLD, account.clients(bucket), NOW)
    assert bool(account.patched) == closes
    assert all(0 < float(each["value"]) <= 10 for each in account.patched)
