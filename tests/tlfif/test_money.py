"""What the month has cost and will, by the sums, the count and AWS's figures; and what closes."""

import math
from dataclasses import replace

import pytest
from support.money import HOUR_S, NOW, TARIFF, running, stopped

from tlfif import nodes
from tlfif.money import billing, deciding, ledgers, looking, months, spending
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

MONTH = "2026-11"
BEGIN = months.begin(NOW)


def ledger(at: float = NOW - 60, **fields: object) -> Ledger:
    return replace(Ledger(month=MONTH, at=at), **fields)


# --- documents and months


def test_a_document_is_what_was_stored_whichever_of_writer_and_reader_is_newer() -> None:
    told = ledger(running=["i-1"], node_s=3.5)
    assert Ledger.parse(told.text()) == told
    assert Ledger.of({"month": MONTH, "at": 1.0, "new": 2}) == Ledger(month=MONTH, at=1.0)
    for text, said in (("[]", "no Ledger"), ("{}", "no Ledger"), ("nothing", "Expecting value")):
        with pytest.raises(ValueError, match=said):
            Ledger.parse(text)


def test_a_month_begins_at_midnight_by_utc() -> None:
    assert months.month(BEGIN - 1) == "2026-10"
    assert (months.month(BEGIN), months.begin(NOW)) == (MONTH, BEGIN)
    assert months.end(BEGIN) - BEGIN == 30 * 86_400
    assert months.elapsed(BEGIN + 15 * 86_400) == 0.5
    assert months.iso(months.end(NOW)) == "2026-12-01T00:00:00Z"


# --- the count


@pytest.mark.parametrize(
    ("before", "node", "counted", "unseen"),
    [
        pytest.param({}, running(NOW - 40), 40, 0, id="just started"),
        pytest.param({"running": ["i-1"]}, running(NOW - 900), 60, 0, id="goes on"),
        pytest.param({"running": ["i-1"]}, stopped(NOW - 900, NOW - 20), 40, 0, id="stopped"),
        pytest.param({"running": ["i-1"]}, stopped(NOW - 900, 0), 60, 0, id="stopped, who knows"),
        pytest.param({}, stopped(NOW - 900, NOW - 600), 0, 0, id="stopped long ago"),
        pytest.param({}, stopped(NOW - 50, NOW - 30), 60, 0, id="a minute at least is billed"),
        pytest.param(
            {"running": ["i-1"]}, stopped(NOW - 900, NOW - 70), -10, 0, id="by another clock"
        ),
        pytest.param({"at": NOW - 600}, running(NOW - 100), 100, 500, id="nobody looked"),
        pytest.param(
            {"at": NOW - 600, "running": ["i-1"]}, running(NOW - 100), 350, 250, id="ran, and again"
        ),
        pytest.param({"running": ["i-9"]}, stopped(0, 0), 60, 0, id="another one is gone"),
    ],
)
def test_a_node_counts_for_as_long_as_it_ran(
    before: dict[str, object], node: nodes.Node, counted: float, unseen: float
) -> None:
    known = replace(ledger(node_s=1000.0), **before)
    found = ledgers.counted(known, [node], NOW)
    assert found.node_s == pytest.approx(1000 + counted)
    assert found.unseen_s == pytest.approx(unseen)
    assert found.running == (["i-1"] if node.state == "running" else [])


def test_a_new_month_begins_with_nothing_and_an_old_clock_changes_nothing() -> None:
    old = Ledger(month="2026-10", at=BEGIN - 30, node_s=9e9, lane_s=5.0, running=["i-1"])
    new = ledgers.counted(old, [running(BEGIN - 900)], BEGIN + 20)
    assert (new.month, new.node_s, new.lane_s) == (MONTH, 20, 0)
    assert ledgers.counted(new, [], BEGIN - 5) == new


def test_the_lane_is_counted_on_when_the_queue_has_lost_its_memory() -> None:
    seen = ledgers.with_lane(ledgers.with_lane(ledger(), 100.0), 130.0)
    lost = ledgers.with_lane(seen, 7.0)
    assert (seen.lane_s, lost.lane_s, lost.lane_seen_s) == (130.0, 137.0, 7.0)


@pytest.mark.parametrize(
    ("reason", "at"),
    [
        ("User initiated (2026-11-10 11:59:00 GMT)", NOW - 60),
        ("User initiated (2026-11-10 12:00:00 UTC)", NOW),
        ("Client.InstanceInitiatedShutdown: Instance initiated shutdown", 0.0),
        ("", 0.0),
    ],
)
def test_ec2s_reason_says_when_a_node_stopped(reason: str, at: float) -> None:
    assert nodes._stopped_at(reason) == at


# --- the sums


def test_a_month_that_nobody_uses_costs_what_the_preview_says() -> None:
    end = months.end(NOW) - 1e-6
    assert spending.own_usd(TARIFF, Ledger(month=MONTH, at=end), None, end) == pytest.approx(13.29)
    left = spending.gpu_hours_left(TARIFF, 0.0, BEGIN)
    assert left == pytest.approx((23 - 13.29 - 0.88) / 0.531)
    assert spending.gpu_hours_left(replace(TARIFF, gpu_usd_per_hour=0.0), 0.0, BEGIN) == 0


def test_a_stack_of_today_has_cost_nothing_before() -> None:
    young = ledgers.begun(NOW)
    assert spending.own_usd(TARIFF, young, None, NOW) == 0
    assert spending.own_usd(TARIFF, young, None, NOW + 86_400) == pytest.approx(13.29 / 30)


def test_free_tiers_are_taken_off_once_and_what_has_no_price_costs_nothing() -> None:
    used = {"Lambda compute": 300_000.0, "Lambda compute x86": 200_000.0, "unheard of": 1e9}
    assert spending.usage_usd(TARIFF, used) == pytest.approx(100_000 * 1.66667e-05)


def test_the_higher_count_of_the_lane_counts() -> None:
    metered = Metered(month=MONTH, at=NOW, units={"REST request": 10.0}, lane_s=50.0)
    used = spending.units(TARIFF, ledger(lane_s=80.0), metered)
    assert used == {"REST request": 10, "Lambda compute x86": 235, "Lambda disk": 40}
    assert spending.units(TARIFF, ledger(), replace(metered, month="2026-10")) == {
        "Lambda compute x86": 0,
        "Lambda disk": 0,
    }


# --- AWS's figures


@pytest.mark.story("OPS-002")
def test_what_is_published_never_falls_below_the_last_figure_of_the_month() -> None:
    billed = billing.seen(None, 12.0, 10.0, (10.0, 6.0), NOW)
    assert spending.spend_usd(10.0, billed, NOW) == 12.0
    assert spending.spend_usd(11.5, billed, NOW) == 13.5
    assert spending.spend_usd(0.0, billed, NOW) == 12.0
    assert billing.seen(billed, 11.0, 10.0, (10.0, 6.0), NOW + 60) == billed
    assert spending.spend_usd(1.0, billed, months.end(NOW)) == 1.0


def test_a_figure_is_the_last_months_until_it_has_fallen() -> None:
    october = Billed(month="2026-10", at=BEGIN - HOUR_S, actual_usd=18.0, asked_at=5.0)
    stale = billing.seen(october, 18.4, 0.1, (0.1, 0.0), BEGIN + HOUR_S)
    assert (stale.month, stale.actual_usd, stale.asked_at) == (MONTH, 0.0, 5.0)
    fallen = billing.seen(stale, 0.2, 0.1, (0.1, 0.0), BEGIN + 2 * HOUR_S)
    assert (fallen.actual_usd, fallen.before_usd) == (0.2, 0.0)
    late = billing.seen(stale, 18.4, 0.4, (0.4, 0.0), BEGIN + 25 * HOUR_S)
    assert late.actual_usd == 0.0, "which is when it would latch the whole new month"
    explained = billing.seen(stale, 18.5, 18.0, (18.6, 5.0), BEGIN + 600 * HOUR_S)
    assert explained.actual_usd == 18.5
    young = billing.seen(None, 500.0, 0.0, (0.0, 0.0), BEGIN + HOUR_S)
    assert young.actual_usd == 0.0
    others = billing.seen(young, 510.0, 0.0, (0.0, 0.0), BEGIN + 25 * HOUR_S)
    assert others.actual_usd == 510.0, "the account's other services"
    assert billing.seen(fallen, 9.0, 0.0, (0.0, 0.0), BEGIN - 1) == fallen


def test_a_figure_covers_what_was_counted_a_day_before_it() -> None:
    billed = None
    for hour in range(0, 73, 8):
        at = NOW + hour * HOUR_S
        billed = billing.seen(billed, 5 + hour / 10, 6 + hour / 10, (6 + hour / 10, hour), at)
    assert billed is not None
    assert billing.covered(billed, billed.at) == pytest.approx((12.2, 10.8, 48))
    assert len(billed.points) <= 5
    assert billing.covered(billed, months.end(NOW)) == (0, 0, 0)


# --- what closes


def left(usd: float) -> float:
    """What may have been spent at most so that so much is left."""
    return TARIFF.cap_usd - spending.rest_usd(TARIFF, NOW) - usd


@pytest.mark.story("OPS-003")
def test_the_stack_closes_by_degrees() -> None:
    tariff = replace(TARIFF, worst_usd_per_hour={"requests": 2.0})
    order = [Degree.TRICKLE, Degree.LATCHED, Degree.NO_STARTS]
    thresholds = deciding.thresholds(tariff)
    assert [degree for degree, _ in thresholds] == order
    assert 0 < thresholds[0][1] < thresholds[1][1] < thresholds[2][1] < 1
    for degree, least in thresholds:
        decision = deciding.decide(tariff, left(least - 1e-6), NOW)
        assert decision.degree is degree
        assert "of the cap of €20.00" in decision.why
    assert deciding.decide(tariff, left(1.0), NOW).degree is Degree.OPEN
    assert deciding.decide(tariff, left(-50.0), NOW).degree is Degree.TRICKLE


def test_what_is_not_billed_yet_may_be_dearer() -> None:
    most = spending.dearest_usd((15.0, 9.0), None, 15.0, NOW)
    assert most == pytest.approx(15.9)
    point = [NOW - 25 * HOUR_S, 14.5, 8.8]
    billed = Billed(month=MONTH, at=NOW - 60, actual_usd=14.5, own_usd=15.0, points=[point])
    confirmed = spending.dearest_usd((15.0, 9.0), billed, 15.0, NOW)
    assert confirmed == pytest.approx(15.02)
    dearer = spending.dearest_usd((15.0, 9.0), billed, 17.0, NOW)
    assert dearer == 17.0


def test_what_the_counters_do_not_show_yet_is_the_worst() -> None:
    tariff = replace(TARIFF, worst_usd_per_hour={"a": 1.0, "b": 2.0})
    metered = Metered(month=MONTH, at=NOW - 120)
    late = spending.most_usd(tariff, 1.0, metered, NOW)
    assert late == pytest.approx(1 + 3 * 300 / HOUR_S)
    for silent in (None, replace(metered, at=0.0), replace(metered, month="2026-10")):
        most = spending.most_usd(tariff, 1.0, silent, NOW)
        assert most == pytest.approx(1 + 3 * 900 / HOUR_S)


def test_a_trickle_is_what_is_left_and_its_reserve_over_the_rest_of_the_month() -> None:
    each = spending.request_usd(TARIFF) * (1 + spending.DEARER)
    fixed = TARIFF.fixed_usd
    spent = TARIFF.cap_usd - fixed - 0.30
    begins = deciding.trickle(TARIFF, spent, BEGIN)
    assert begins * each * (months.end(NOW) - BEGIN) == pytest.approx(0.45)
    assert deciding.trickle(TARIFF, TARIFF.cap_usd + 1, months.end(NOW) - 60) == 0


# --- one look


def test_where_ec2_is_silent_what_ran_still_runs_and_is_counted_when_it_speaks() -> None:
    known = ledger(at=NOW - 600, running=["i-1"])
    blind = looking.look(TARIFF, known, None, None, None, NOW)
    fixed = spending.own_usd(TARIFF, ledger(), None, NOW)
    assert blind.own_usd - fixed == pytest.approx(600 / HOUR_S * 0.531)
    assert (blind.ledger.at, blind.ledger.node_s) == (known.at, 0)
    sees = looking.look(TARIFF, blind.ledger, None, None, [stopped(NOW - 900, NOW - 500)], NOW + 60)
    assert sees.ledger.node_s == pytest.approx(100)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_another_tariff_changes_nothing_of_what_was_spent_before(factor: float) -> None:
    """`pulumi up` with another instance type, or with less that is there all the time."""
    known = looking.look(TARIFF, ledger(at=NOW - 60, node_s=36_000), None, None, [], NOW)
    changed = replace(
        TARIFF,
        gpu_usd_per_hour=factor * TARIFF.gpu_usd_per_hour,
        fixed_usd=factor * TARIFF.fixed_usd,
    )
    soon = looking.look(changed, known.ledger, None, None, [], NOW + 60)
    assert soon.own_usd == pytest.approx(known.own_usd, abs=0.001)
    day = looking.look(changed, soon.ledger, None, None, [], NOW + 86_460)
    assert day.own_usd - soon.own_usd == pytest.approx(changed.fixed_usd / 30)
    back = looking.look(TARIFF, day.ledger, None, None, [], NOW + 86_520)
    assert back.own_usd == pytest.approx(day.own_usd, abs=0.001)
    december = looking.look(TARIFF, back.ledger, None, None, [], months.end(NOW) + 60)
    assert december.own_usd == pytest.approx(0, abs=0.001)


def test_the_publisher_has_nodes_stopped_only_where_the_guardian_is_dead() -> None:
    spent = replace(ledger(at=NOW - 60), node_s=40 * HOUR_S, running=["i-1"])
    up = [running(NOW - 7200)]
    lives = looking.published(TARIFF, spent, None, None, None, up, NOW)
    assert (lives.stop, lives.billed.counted) == (False, {})
    dead = looking.published(TARIFF, replace(spent, at=NOW - 400), None, None, None, up, NOW)
    assert dead.stop
    assert dead.billed.ledger == dead.seen.ledger
    rich = looking.published(
        TARIFF, replace(spent, node_s=0.0, at=NOW - 400), None, None, None, up, NOW
    )
    assert not rich.stop
    goes_on = looking.published(TARIFF, spent, None, dead.billed, None, up, NOW + 900)
    assert goes_on.seen.ledger.node_s == pytest.approx(dead.seen.ledger.node_s + 900)


def test_a_ledger_is_stored_when_something_changed_and_else_every_15_minutes() -> None:
    stored = ledger()
    assert looking.is_worth_saving(None, stored)
    assert not looking.is_worth_saving(stored, replace(stored, at=NOW + 60, why="€1"))
    assert looking.is_worth_saving(stored, replace(stored, at=NOW + 840))
    assert looking.is_worth_saving(stored, replace(stored, node_s=1.0))
    assert looking.is_worth_saving(stored, replace(stored, degree="no_starts"))


def test_a_tariff_without_nodes_closes_nothing_for_them() -> None:
    tariff = Tariff(
        stack="dev", cap_usd=23, usd_per_eur=1.15, fixed_usd=10, assumed_usd=0,
        gpu_usd_per_hour=0, gpu_count=0,
    )  # fmt: skip
    assert {least for _, least in deciding.thresholds(tariff)} == {deciding.TRICKLE_USD}
    assert math.isclose(looking.look(tariff, ledger(), None, None, [], NOW).decision.left_usd,
                        23 - 10, abs_tol=1e-9)  # fmt: skip
