"""The simulated month: the cap holds in whatever happens, and the page has its table."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.money import TARIFF
from support.recordings import evaluate

from bench.month import __main__ as month
from bench.month.load import BEGIN, DAY_S, HOUR_S, LEAD_S, Load, Span, load
from bench.month.plot import picture
from bench.month.rows import ALLOWED_EUR, COLUMNS, failures, priced, rows, simulate
from bench.month.world import GUARDS, World
from components.prices import PRICES

DAYS, DAYS_IN_ALL = 2, 32
TIMES = st.floats(BEGIN - LEAD_S, BEGIN + DAYS * DAY_S)
LENGTHS = st.floats(60, 2 * DAY_S)


def spans(most_rate: float = 0.0) -> st.SearchStrategy[tuple[Span, ...]]:
    rate = st.floats(0.01, most_rate) if most_rate else st.just(0.0)
    one = st.builds(lambda at, lasts, rate: Span(at, at + lasts, rate), TIMES, LENGTHS, rate)
    return st.lists(one, max_size=4).map(tuple)


LOADS = st.builds(
    Load,
    seed=st.just(0),
    profile=st.sampled_from(("usual", "siege")),
    sessions=spans(),
    stuck=spans(),
    polls=spans(2_000),
    dead=spans(),
    refused=st.integers(0, 3),
    skew_s=st.floats(-90, 90),
    ec2_skew_s=st.floats(-5, 5),
    lag_s=st.floats(0, DAY_S),
    price_at=TIMES,
    price_factor=st.floats(0.5, 1.1),
    counters_late_s=st.floats(0, 180),
)


# The trickle after it was once reckoned by the list's prices, of which these are a tenth above.
DEAR_FLOOD = Load(
    seed=0,
    profile="usual",
    sessions=(),
    stuck=(),
    dead=(),
    refused=0,
    skew_s=0.0,
    ec2_skew_s=0.0,
    counters_late_s=0.0,
    polls=(Span(BEGIN - 11.5 * HOUR_S, BEGIN + 8 * HOUR_S, 2_000.0),),
    price_at=BEGIN - DAY_S,
    price_factor=1.0999,
    lag_s=DAY_S / 2,
)


@pytest.mark.story("OPS-003")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(LOADS, st.floats(14.5, 18.0), st.integers(1, 2))
@example(DEAR_FLOOD, 15.0, 1)
def test_nothing_that_happens_passes_the_cap(made: Load, cap_usd: float, count: int) -> None:
    """A cap that leaves some hours, so that a few days are enough to reach it."""
    tariff = priced(replace(TARIFF, cap_usd=cap_usd, gpu_count=count))
    record = World(tariff, made, GUARDS).run(BEGIN + DAYS * DAY_S)
    assert record.spent_usd <= cap_usd + ALLOWED_EUR * tariff.usd_per_eur


@pytest.mark.story("OPS-003")
def test_no_month_passes_the_cap_and_what_is_published_is_so() -> None:
    tariff, seeds = priced(month.tariff_of(evaluate("dev"))), [3, 4]
    [every, *_] = rows(tariff)
    records = simulate(tariff, every, seeds)
    assert failures(tariff, seeds, records) == []
    assert all(each.starts and each.latched_at for each in records)
    drawn = picture(tariff, seeds, records)
    assert drawn.count("<polyline") == 4


def test_one_guard_alone_bounds_what_it_is_for() -> None:
    tariff = priced(TARIFF)
    for row in rows(tariff)[1:]:
        [record] = simulate(tariff, row, [3])
        assert record.spent_usd <= row.bound_usd, row.name


@pytest.mark.story("OPS-002", "OPS-003")
def test_the_guards_themselves_cost_a_few_cents() -> None:
    """What they do in a month, at its prices: four documents read each minute by the guardian and
    every 15 minutes by the publisher, which asks Cost Explorer 31 times.
    """
    [record] = simulate(priced(TARIFF), rows(priced(TARIFF))[0], [5])
    stored = record.calls["ledger stored"] + record.calls["figure stored"]
    asked = record.calls["published"]
    reads = 4 * (DAYS_IN_ALL * 1_440 + asked)
    assert asked == DAYS_IN_ALL * 96
    assert stored < 12_000
    usd = stored * price("S3 write") + reads * price("S3 read")
    assert usd + 31 * price("Cost Explorer request") < 0.50
    assert evaluated("Cost Explorer request") == 31


def price(item: str) -> float:
    return PRICES[item]["us-east-1"].usd


def evaluated(item: str) -> float:
    return sum(row["quantity"] for row in evaluate("dev").bill if row["item"] == item)


def test_the_page_has_the_table() -> None:
    found = month.BLOCK.search(month.PAGE.read_text())
    assert found
    head, _, *lines = found.group().splitlines()[1:-1]
    assert tuple(cell.strip() for cell in head.strip("|").split("|")) == COLUMNS
    made = rows(priced(TARIFF))
    assert [line.split("|")[1].strip() for line in lines] == [row.name for row in made]
    for line in lines:
        spent, _, bound = (float(each.replace(",", "")) for each in re.findall(
            r"[\d,]+\.\d\d", line)[:3])  # fmt: skip
        assert spent <= bound
    assert month.written("<!-- month -->\nold\n<!-- /month -->\n", "new") == (
        "<!-- month -->\nnew\n<!-- /month -->\n"
    )
    assert month.PICTURE.read_text().startswith("<svg")


def test_a_seed_has_the_same_month_each_time() -> None:
    assert load(5) == load(5) != load(11)
    assert math.isinf(load(5, prices_change=False).price_at)
