"""A bill's arithmetic: lines of so many units, priced by region, and their sums.

A month has 730 hours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from components import billed, prices
from components.prices import PRICES, Price

HOURS = 730
MINUTES = HOURS * 60
Per = Literal["month", "gpu-hour", "spot-hour", "lane-hour", "worst-hour"]


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of the bill: what, how many units of an item, and whether it is due each month, each
    GPU-hour, or each hour that the instant lane runs. What is due each spot-hour is an estimate of
    the same GPU-hour: nothing is decided by it. A worst-hour is one in which a surface is used as
    much as its limits allow.

    `resource` is the type of the resources it pays for; `key` the configuration key to change when
    it is too much.
    """

    item: str
    quantity: float
    what: str
    per: Per = "month"
    resource: str = ""
    key: str = ""


class _Options(TypedDict, total=False):
    per: Per
    resource: str
    key: str


def line(item: str, quantity: float, what: str, **options: Unpack[_Options]) -> CostLine:
    """A line for `quantity` units of an item of the price list, free tier not yet taken off;
    KeyError if unknown.
    """
    if item not in PRICES:
        raise KeyError(f"{item!r} has no price; the price list has: {', '.join(PRICES)}")
    return CostLine(item=item, quantity=quantity, what=what, **options)


def gpu_hour_lines(instance_type: str) -> list[CostLine]:
    """What one running node costs per hour; KeyError for a type without a price, which Settings
    refuses first.
    """
    what, key = f"{instance_type} on demand", "gpu:instanceType"
    address = "public IPv4 address"
    return [
        line(instance_type, 1, what, per="gpu-hour", resource=billed.INSTANCE, key=key),
        line(address, 1, f"its {address}", per="gpu-hour", resource=billed.INSTANCE),
    ]


def spot_hour_lines(instance_type: str) -> list[CostLine]:
    """What a running spot node probably costs per hour; KeyError as gpu_hour_lines."""
    item, address = prices.spot_item(instance_type), "public IPv4 address"
    what = f"{instance_type} as spot, which moves; the cap counts on demand"
    return [
        line(item, 1, what, per="spot-hour", resource=billed.INSTANCE, key="gpu:spot"),
        line(address, 1, f"its {address}", per="spot-hour", resource=billed.INSTANCE),
    ]


def lane_hour_lines(memory_mb: int, disk_mb: int) -> list[CostLine]:
    """What the instant lane costs for each hour that it runs, when the free tier is used up."""
    return [
        line(
            item,
            3600 * gb,
            f"instant lane, beyond the free tier: {what}",
            per="lane-hour",
            resource=billed.FUNCTION,
            key="cpu:memoryMb" if what == "run time" else "cpu:diskMb",
        )
        for item, gb, what in prices.run_time("x86_64", memory_mb, disk_mb)
    ]


@dataclass(frozen=True, kw_only=True)
class BillRow:
    """A line, its price and what is left after the free tier: USD per month, or per hour."""

    line: CostLine
    price: Price
    free: float
    usd: float


def bill(lines: Iterable[CostLine], region: str) -> list[BillRow]:
    """The lines, priced in their order; the first lines of a month use up the free tier of their
    item, or of all the items that share it.
    """
    there = [each[region] for each in PRICES.values() if region in each]
    left = {each.pool: each.free for each in there}
    rows: list[BillRow] = []
    for each in lines:
        price = PRICES[each.item][region]
        free = min(left[price.pool], each.quantity) if each.per == "month" else 0
        left[price.pool] -= free
        usd = price.usd * (each.quantity - free)
        rows.append(BillRow(line=each, price=price, free=free, usd=usd))
    return rows


def total_usd(rows: Iterable[BillRow], per: Per = "month") -> float:
    """The sum of what is due each month, or each hour of the one kind or the other."""
    return sum(row.usd for row in rows if row.line.per == per)
