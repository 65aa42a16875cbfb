"""The guardian's count of the month's money, on a queue and a bucket in memory."""

from collections.abc import Iterator
from dataclasses import replace

import fakeredis
import pytest
import redis
from botocore.exceptions import ClientError
from support.money import HOUR_S, NOW, TARIFF, Bucket, running, stopped

from guardian.money import Money
from tlfif import names
from tlfif.money import months, spending
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff
from tlfif.queue import accepting, scripts

MONTH = months.month(NOW)
LATER = replace(Ledger(month=MONTH, at=NOW - 60), node_s=3600.0)


@pytest.fixture
def queue() -> Iterator["redis.Redis"]:
    with fakeredis.FakeRedis(decode_responses=True, version=(7, 2)) as client:
        yield client


def status(queue: "redis.Redis") -> dict[str, object]:
    return scripts.run(queue, accepting.status()).money or {}


def test_a_stack_without_a_tariff_does_no_money_work(
    queue: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = Bucket()
    assert Money(queue, bucket, "b").keep([running(NOW)], NOW) is None
    assert bucket.calls == [("get", Tariff.KEY)]
    assert queue.keys() == []
    assert "no tariff yet" in capsys.readouterr().out


@pytest.mark.story("OPS-003")
def test_a_run_counts_tells_status_and_stores_the_ledger(queue: "redis.Redis") -> None:
    bucket = Bucket(TARIFF, LATER)
    queue.hset(names.LANE_USE, MONTH, "120.5")
    decision = Money(queue, bucket, "b").keep([running(NOW - 30)], NOW)
    assert decision is not None
    assert decision.degree is Degree.OPEN
    ledger = bucket.stored(Ledger)
    assert (ledger.node_s, ledger.lane_s, ledger.running) == (3630, 120.5, ["i-1"])
    told = status(queue)
    own = TARIFF.fixed_usd * months.elapsed(NOW) + 3630 / HOUR_S * TARIFF.gpu_usd_per_hour
    assert told["spend_eur"] == pytest.approx(own / 1.15, abs=0.001)
    left = spending.gpu_hours_left(TARIFF, own, NOW)
    assert told["gpu_hours_left"] == pytest.approx(left, abs=0.01)
    assert (told["month"], told["degree"], told["why"]) == (MONTH, "open", "")
    projected = own + spending.rest_usd(TARIFF, NOW)
    assert told["projected_eur"] == pytest.approx(projected / 1.15, abs=0.001)
    assert 0 < queue.ttl(names.MONEY) <= names.MONEY_TTL_S


def test_a_ledger_in_which_nothing_changed_is_stored_every_15_minutes(
    queue: "redis.Redis",
) -> None:
    bucket = Bucket(TARIFF, replace(LATER, tariff=TARIFF.digest))
    money = Money(queue, bucket, "b")
    for minute in range(31):
        money.keep([stopped(NOW - 9_000, NOW - 8_000)], NOW + 60 * minute)
    assert [call for call in bucket.calls if call[0] == "put"] == [("put", Ledger.KEY)] * 2
    money.keep([running(NOW + 1_850)], NOW + 1_860)
    assert bucket.stored(Ledger).node_s == pytest.approx(3610)


def test_a_queue_that_lost_its_memory_is_told_what_the_bucket_knows(queue: "redis.Redis") -> None:
    bucket = Bucket(TARIFF, replace(LATER, at=NOW - 600))
    money = Money(queue, bucket, "b")
    money.keep([running(NOW - 100)], NOW)
    ledger = bucket.stored(Ledger)
    assert (ledger.node_s, ledger.unseen_s) == (3700, 500)
    queue.flushall()
    money.keep([running(NOW - 100)], NOW + 60)
    assert bucket.stored(Ledger).node_s == 3760


def test_a_bucket_that_does_not_answer_costs_nothing_that_was_counted(
    queue: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = Bucket(TARIFF, LATER, Metered(month=MONTH, at=NOW))
    money = Money(queue, bucket, "b")
    money.keep([running(NOW - 30)], NOW)
    bucket.refuses = ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")
    for minute in range(1, 4):
        assert money.keep([running(NOW - 30)], NOW + 60 * minute) is not None
    assert "SlowDown" in capsys.readouterr().out
    bucket.refuses = None
    money.keep([running(NOW - 30)], NOW + 240)
    assert bucket.stored(Ledger).node_s == 3630 + 240


def test_a_clock_that_is_behind_takes_no_lane_along_into_the_new_month(
    queue: "redis.Redis",
) -> None:
    begin = months.end(NOW)
    queue.hset(names.LANE_USE, mapping={MONTH: "500", months.month(begin): "7"})
    bucket = Bucket(TARIFF, Ledger(month=months.month(begin), at=begin + 1))
    Money(queue, bucket, "b").keep([running(begin)], begin - 2)
    Money(queue, bucket, "b").keep([running(begin)], begin + 60)
    assert bucket.stored(Ledger).lane_s == 7


def test_the_publishers_count_is_gone_on_from_where_it_counted_last(queue: "redis.Redis") -> None:
    counted = replace(LATER, at=NOW - 300, node_s=9_000.0, running=["i-1"])
    billed = Billed(month=MONTH, at=NOW - 300, counted=counted.fields())
    bucket = Bucket(TARIFF, replace(LATER, at=NOW - 86_400), billed)
    Money(queue, bucket, "b").keep([running(NOW - 40_000)], NOW)
    assert bucket.stored(Ledger).node_s == 9_300


@pytest.mark.story("OPS-003")
def test_money_that_ends_is_said_and_leaves_no_hours(queue: "redis.Redis") -> None:
    bucket = Bucket(TARIFF, replace(LATER, node_s=16 * HOUR_S, running=["i-1"]))
    decision = Money(queue, bucket, "b").keep([running(NOW - 7_200)], NOW)
    assert decision is not None
    assert decision.degree is Degree.TRICKLE
    told = status(queue)
    assert (told["degree"], told["gpu_hours_left"]) == ("trickle", 0.0)
    assert "of the cap of €20.00" in str(told["why"])
    assert bucket.stored(Ledger).degree == "trickle"
