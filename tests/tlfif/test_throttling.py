"""When the API's stage is throttled, and to what."""

from dataclasses import replace
from typing import Any

import pytest
from support.money import NOW, USD
from support.money import tariff_of_requests as tariff

from tlfif import names
from tlfif.money import deciding, months, throttling
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered
from tlfif.money.throttling import Known

pytestmark = pytest.mark.story("OPS-003")


def known(spent: float, now: float = NOW, **changed: Any) -> Known:
    """A month in which so many USD of requests were asked, and nothing else."""
    units = {"REST request": spent / USD}
    return Known(
        tariff=changed.pop("tariff", tariff()),
        ledger=changed.pop("ledger", Ledger(month="2026-11", at=now)),
        metered=Metered(month="2026-11", at=now, units=units),
        billed=changed.pop("billed", None),
    )


def test_it_closes_when_the_cap_is_passed_and_before_by_the_ledgers_word() -> None:
    assert throttling.degree(known(8.0), NOW) is Degree.OPEN
    assert throttling.degree(known(10.1), NOW) is Degree.TRICKLE
    closed = Ledger(month="2026-11", at=NOW, degree=Degree.TRICKLE.value)
    assert throttling.degree(known(0, ledger=closed), NOW) is Degree.TRICKLE
    stopped = Ledger(month="2026-11", at=NOW, degree=Degree.LATCHED.value)
    assert throttling.degree(known(0, ledger=stopped), NOW) is Degree.LATCHED
    last_month = Ledger(month="2026-10", at=NOW, degree=Degree.TRICKLE.value)
    assert throttling.degree(known(0, ledger=last_month), NOW) is Degree.OPEN
    billed = Billed(month="2026-11", at=NOW, actual_usd=23.0)
    assert throttling.degree(known(0, billed=billed), NOW) is Degree.TRICKLE


def test_of_a_dead_guardian_the_worst_is_assumed() -> None:
    hour = 3_600.0
    running = Ledger(month="2026-11", at=NOW - 60, node_s=14 * hour, running=["i-1"])
    assert throttling.degree(known(0, ledger=running), NOW) is Degree.OPEN
    dead = replace(running, at=NOW - 5 * hour)
    assert throttling.degree(known(0, ledger=dead), NOW) is Degree.TRICKLE
    idle = replace(dead, running=[])
    assert throttling.degree(known(0, ledger=idle), NOW) is Degree.OPEN


def test_of_a_dead_guardian_the_publishers_count_goes_on() -> None:
    dead = Ledger(month="2026-11", at=NOW - 72_000, running=["i-1"])
    assert throttling.degree(known(0, ledger=dead), NOW) is Degree.TRICKLE
    counted = Ledger(month="2026-11", at=NOW - 300).fields()
    billed = Billed(month="2026-11", at=NOW - 300, counted=counted)
    assert throttling.degree(known(0, ledger=dead, billed=billed), NOW) is Degree.OPEN


@pytest.mark.parametrize("spent", [10.0, 10.1, 10.15, 10.3])
@pytest.mark.parametrize("day", [1, 12, 29])
def test_a_trickle_costs_no_more_than_its_reserve(spent: float, day: int) -> None:
    now = months.begin(NOW) + (day - 1) * 86_400 + 60
    month_end, step = months.end(now), 3_600.0
    due = tariff().fixed_usd
    while now < month_end:
        state = known(spent, now)
        rate = sum(
            rate * (names.TRICKLING_METHODS - len(names.PREFLIGHTS) if path == "*/*" else 1)
            for path, (rate, _) in throttling.wanted(Degree.TRICKLE, state, now).items()
        )
        spent += rate * step * USD
        now += step
    least = throttling.LEAST_RATE * names.TRICKLING_METHODS * 31 * 86_400 * USD
    assert spent + due <= max(23.0 + deciding.RESERVE_USD, 23.3) + least


def test_a_trickle_still_answers() -> None:
    state = known(10.0)
    rates = throttling.wanted(Degree.TRICKLE, state, NOW)
    assert set(rates) == set(names.THROTTLES) - set(names.CHECKED)
    assert all(rate > 0 and burst >= 5 for rate, burst in rates.values())
