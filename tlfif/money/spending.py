"""The sums: what was spent until now, and what the month will have cost."""

from collections.abc import Mapping

from tlfif.money import months
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

HOUR_S = 3600.0


def usage_usd(tariff: Tariff, units: Mapping[str, float]) -> float:
    """What so many units of a month cost, free tiers taken off."""
    left = {str(price["pool"]): float(price["free"]) for price in tariff.prices.values()}
    due = 0.0
    for item, count in units.items():
        price = tariff.prices[item]
        free = min(left[price["pool"]], count)
        left[price["pool"]] -= free
        due += price["usd"] * (count - free)
    return due


def units(tariff: Tariff, ledger: Ledger, metered: Metered) -> dict[str, float]:
    """What was used, the instant lane included: whichever count of it is the higher."""
    used = dict(metered.units)
    lane_s = max(ledger.lane_s, metered.lane_s)
    for item, each in tariff.lane_units.items():
        used[item] = used.get(item, 0.0) + each * lane_s
    return used


def own_usd(tariff: Tariff, ledger: Ledger, metered: Metered, now: float) -> float:
    """What the month has cost until now by our own count."""
    nodes = ledger.node_s / HOUR_S * tariff.gpu_usd_per_hour
    used = usage_usd(tariff, units(tariff, ledger, metered))
    return tariff.fixed_usd * months.elapsed(now) + nodes + used


def spend_usd(own: float, billed: Billed | None, now: float) -> float:
    """What is reported: the own count, or the last billed figure and what was counted since."""
    if billed is None or billed.month != months.month(now):
        return own
    return max(own, billed.actual_usd + max(0.0, own - billed.own_usd))


def rest_usd(tariff: Tariff, now: float) -> float:
    """What the rest of the month costs though nobody asks anything but what the preview assumes."""
    return (tariff.fixed_usd + tariff.assumed_usd) * (1 - months.elapsed(now))


def gpu_hours_left(tariff: Tariff, spent: float, now: float) -> float:
    """For how many hours a node could run yet; at a month's begin what the preview says."""
    left = tariff.cap_usd - spent - rest_usd(tariff, now)
    return max(0.0, left / tariff.gpu_usd_per_hour) if tariff.gpu_usd_per_hour else 0.0
