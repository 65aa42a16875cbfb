"""The sums: what was spent until now, and what the month will have cost."""

from collections.abc import Mapping

from tlfif.money import billing, months
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

HOUR_S = 3600.0
# What was spent at most, by our own count: all of it, and what is not fixed.
Most = tuple[float, float]
# By how much what is used may cost more than the price list says, until AWS has billed it.
DEARER = 0.10
# What a request to the API takes at most of each item: traced, logged, answered by a function.
REQUEST = {
    "REST request": 1.0,
    "trace": 1.0,
    "Lambda request": 1.0,
    "Lambda compute": 0.025,
    "log ingestion": 2e-6,
    "data out": 8e-6,
}
# Counters are so late, and are not counted on for longer.
LATE_S, LATEST_S = 180.0, 900.0


def usage_usd(tariff: Tariff, units: Mapping[str, float]) -> float:
    """What so many units of a month cost, free tiers taken off; items without a price nothing."""
    left = {str(price["pool"]): float(price["free"]) for price in tariff.prices.values()}
    due = 0.0
    for item, count in units.items():
        if item not in tariff.prices:
            continue
        price = tariff.prices[item]
        free = min(left[price["pool"]], count)
        left[price["pool"]] -= free
        due += price["usd"] * (count - free)
    return due


def units(tariff: Tariff, ledger: Ledger, metered: Metered | None) -> dict[str, float]:
    """What was used, the instant lane included: whichever count of it is the higher."""
    if metered is not None and metered.month != ledger.month:
        metered = None
    lane_s = max(ledger.lane_s, metered.lane_s if metered else 0.0)
    return with_lane(tariff, metered.units if metered else {}, lane_s)


def with_lane(tariff: Tariff, units: Mapping[str, float], lane_s: float) -> dict[str, float]:
    """These units and what so many seconds of the instant lane take."""
    used = dict(units)
    for item, each in tariff.lane_units.items():
        used[item] = used.get(item, 0.0) + each * lane_s
    return used


def request_usd(tariff: Tariff) -> float:
    """What a request to the API costs at most, beyond the free tiers."""
    prices = tariff.prices
    return sum(count * prices[item]["usd"] for item, count in REQUEST.items() if item in prices)


def variable_usd(tariff: Tariff, ledger: Ledger, metered: Metered | None) -> float:
    """What nodes and everything that is used have cost this month, by our own count."""
    used = usage_usd(tariff, units(tariff, ledger, metered))
    return _node_usd(tariff, ledger.node_s) + used


def _node_usd(tariff: Tariff, seconds: float) -> float:
    return seconds / HOUR_S * tariff.gpu_usd_per_hour


def fixed_usd(tariff: Tariff, ledger: Ledger, now: float) -> float:
    """What the month has cost until now for what is there all the time."""
    since = months.elapsed(max(ledger.begun_at, months.begin(now)))
    return tariff.fixed_usd * max(0.0, months.elapsed(now) - since)


def own_usd(tariff: Tariff, ledger: Ledger, metered: Metered | None, now: float) -> float:
    """What the month has cost until now by our own count."""
    return fixed_usd(tariff, ledger, now) + variable_usd(tariff, ledger, metered)


def spend_usd(own: float, billed: Billed | None, now: float) -> float:
    """What is reported: the own count, or the last billed figure and what was counted since."""
    if billed is None or billed.month != months.month(now):
        return own
    return max(own, billed.actual_usd + max(0.0, own - billed.own_usd))


def counted_most(tariff: Tariff, ledger: Ledger, own: float, variable: float) -> Most:
    """The same with what may have run unseen: all of it, and what is not fixed."""
    unseen = _node_usd(tariff, ledger.unseen_s)
    return own + unseen, variable + unseen


def dearest_usd(most: Most, billed: Billed | None, reported: float, now: float) -> float:
    """What was counted may have cost so much: with what may be dearer than we know and is not
    billed yet.
    """
    own, variable = most
    found = own + DEARER * variable
    if billed is not None:
        actual, own_then, variable_then = billing.covered(billed, now)
        since = own - own_then + DEARER * (variable - variable_then)
        found = min(found, actual + max(0.0, since)) if actual else found
    return max(found, reported)


def most_usd(tariff: Tariff, dearest: float, metered: Metered | None, now: float) -> float:
    """What may have been spent at most, which is what decides: what was counted at its dearest, and
    what the counters do not show yet.
    """
    uncounted_s = LATEST_S
    if metered is not None and metered.month == months.month(now):
        uncounted_s = min(LATEST_S, max(0.0, now - metered.at) + LATE_S)
    late = sum(tariff.worst_usd_per_hour.values()) * uncounted_s / HOUR_S
    return dearest + late


def rest_usd(tariff: Tariff, now: float) -> float:
    """What the rest of the month costs though nobody asks anything but what the preview assumes."""
    return (tariff.fixed_usd + tariff.assumed_usd) * (1 - months.elapsed(now))


def gpu_hours_left(tariff: Tariff, spent: float, now: float) -> float:
    """For how many hours a node could run yet; at a month's begin what the preview says."""
    left = tariff.cap_usd - spent - rest_usd(tariff, now)
    return max(0.0, left / tariff.gpu_usd_per_hour) if tariff.gpu_usd_per_hour else 0.0
