"""What things cost: USD list prices by region, ex VAT, each with its date, source and mark; and the lines of the bill.

A month has 730 hours. Only free tiers that do not end are counted; an account has each of them once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")
HOURS = 730
READ = "2026-11"
# H: read in an AWS document, API model or price list. M: one third-party source. L: from memory, to be checked.
Mark = Literal["H", "M", "L"]
Per = Literal["month", "gpu-hour"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit of `item` costs, in USD; the first `free` units of a month cost nothing."""

    item: str
    usd: float
    unit: str
    source: str
    mark: Mark
    free: float = 0
    read: str = READ


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of the bill: what, how many units of a price, and whether it is due each month or each GPU-hour.

    `resource` is the type of the resources it pays for; `key` the configuration key to change when it is too much;
    `planned` marks a part that the program does not declare yet.
    """

    what: str
    price: Price
    quantity: float = 1.0
    per: Per = "month"
    resource: str = ""
    key: str = ""
    planned: bool = False

    @property
    def usd(self) -> float:
        """USD per month, or per GPU-hour, before any free tier."""
        return self.price.usd * self.quantity


class _Options(TypedDict, total=False):
    per: Per
    resource: str
    key: str
    planned: bool


def line(item: str, region: str, quantity: float, what: str, **options: Unpack[_Options]) -> CostLine:
    """`quantity` units of `item` at its price in `region`; KeyError for an item without a price."""
    return CostLine(what=what, price=PRICES[item][region], quantity=quantity, **options)


@dataclass(frozen=True, kw_only=True)
class BillRow:
    """A line with what is left of it after the free tiers: `usd` and `eur` per month, or per GPU-hour."""

    line: CostLine
    free: float
    usd: float


def bill(lines: Iterable[CostLine]) -> list[BillRow]:
    """The lines in their order, each free tier used up by the first lines of its item."""
    left: dict[str, float] = {}
    rows: list[BillRow] = []
    for each in lines:
        available = left.setdefault(each.price.item, each.price.free) if each.per == "month" else 0.0
        free = min(available, each.quantity)
        left[each.price.item] = available - free
        rows.append(BillRow(line=each, free=free, usd=each.price.usd * (each.quantity - free)))
    return rows


def total_usd(rows: Iterable[BillRow], per: Per = "month") -> float:
    """The sum of what is due each month, or each GPU-hour."""
    return sum(row.usd for row in rows if row.line.per == per)


# --- unit prices

# (us-east-1, eu-west-1, eu-central-1); one price for all regions stands alone.
_Rates = float | tuple[float, float, float]
_Marks = Literal["H", "M", "L", "HLL", "HMM", "MLL"]


def _item(
    item: str, usd: _Rates, unit: str, marks: _Marks, source: str, free: float = 0
) -> tuple[str, dict[str, Price]]:
    rates = usd if isinstance(usd, tuple) else (usd,) * len(REGIONS)
    by_region = zip(REGIONS, rates, marks * len(REGIONS), strict=False)
    return item, {
        region: Price(item=item, usd=rate, unit=unit, source=source, mark=_mark(mark), free=free)
        for region, rate, mark in by_region
    }


def _mark(letter: str) -> Mark:
    match letter:
        case "H" | "M" | "L":
            return letter
    raise ValueError(f"no such mark: {letter!r}")


def _items() -> Iterator[tuple[str, dict[str, Price]]]:
    hour, month = "hour", "GB-month"
    cache = "ElastiCache, AWS Price List API (EU: from memory, ±10 %)"
    yield _item("cache.t4g.micro valkey", (0.0128, 0.0144, 0.0152), hour, "HLL", cache)
    yield _item("cache.t4g.small valkey", (0.0256, 0.0280, 0.0304), hour, "HLL", cache)
    yield _item("cache.t4g.micro redis", (0.0160, 0.0180, 0.0190), hour, "HLL", cache)
    yield _item("cache.t4g.small redis", (0.0320, 0.0350, 0.0380), hour, "HLL", cache)
    yield _item("g4dn.xlarge", (0.526, 0.587, 0.658), hour, "HMM", "EC2 on-demand price list, Linux")
    yield _item("public IPv4 address", 0.005, hour, "M", "VPC pricing; charged only while the node runs")
    yield _item("gp3 volume", (0.08, 0.088, 0.0952), month, "HLL", "EBS pricing")
    yield _item("EBS snapshot", (0.05, 0.05, 0.054), month, "MLL", "EBS pricing, standard tier")
    yield _item("NLB", (0.0225, 0.0252, 0.0270), hour, "HLL", "Elastic Load Balancing pricing")
    yield _item("NLB capacity unit", 0.006, "LCU-hour", "HLL", "Elastic Load Balancing pricing")
    yield _item("interface endpoint", (0.01, 0.011, 0.012), hour, "HLL", "PrivateLink pricing, per zone")
    yield _item("canary run", 0.0012, "run", "MLL", "CloudWatch pricing, Synthetics", free=100)
    yield _item("alarm", 0.10, "alarm-month", "H", "CloudWatch pricing, standard resolution", free=10)
    yield _item("custom metric", 0.30, "metric-month", "H", "CloudWatch pricing, first 10,000", free=10)
    yield _item("dashboard", 3.00, "dashboard-month", "H", "CloudWatch pricing", free=3)
    yield _item("log ingestion", (0.50, 0.57, 0.63), "GB", "HLL", "CloudWatch pricing, standard class", free=5)
    yield _item("trace", 0.000005, "trace", "MLL", "X-Ray pricing, recorded traces", free=100_000)
    yield _item("REST request", (0.0000035, 0.0000035, 0.0000037), "request", "HLL", "API Gateway price list")
    yield _item("Lambda request", 0.0000002, "request", "MLL", "Lambda pricing", free=1_000_000)
    yield _item("Lambda compute", 0.0000133334, "GB-second", "HLL", "Lambda pricing, arm64", free=400_000)
    yield _item("S3 storage", (0.023, 0.023, 0.0245), month, "MLL", "S3 pricing, standard class")
    yield _item("S3 write", (0.000005, 0.000005, 0.0000054), "request", "MLL", "S3 pricing, PUT and LIST")
    yield _item("monthly active user", 0.0055, "user", "M", "Cognito pricing, Lite", free=10_000)
    yield _item("SNS mail", 0.00002, "mail", "L", "SNS pricing", free=1_000)
    yield _item("budget", 0.0, "budget", "M", "Budgets pricing: without actions free")
    yield _item("Cost Explorer request", 0.01, "request", "H", "Cost Explorer FAQ, per page")
    yield _item("pipeline minute", 0.002, "action-minute", "H", "CodePipeline V2 pricing", free=100)
    yield _item("build minute arm1.small", 0.0034, "minute", "M", "CodeBuild pricing")
    yield _item("build minute arm1.medium", 0.0070, "minute", "M", "CodeBuild pricing")
    yield _item("m7i.large", (0.1008, 0.1124, 0.1208), hour, "MLL", "EC2 on-demand price list, Linux")


PRICES: dict[str, dict[str, Price]] = dict(_items())


# --- what the settings need before there is any component

GPU_INSTANCE_TYPES = ("g4dn.xlarge",)


def gpu_instance_types(region: str) -> list[str]:
    """The GPU instance types with a price in `region`."""
    return sorted(kind for kind in GPU_INSTANCE_TYPES if region in PRICES[kind])


def gpu_hour_lines(region: str, instance_type: str) -> list[CostLine]:
    """What one running node costs per hour; KeyError for a type without a price, which Settings refuses first."""
    return [
        line(instance_type, region, 1, f"EC2 {instance_type}", per="gpu-hour", resource=INSTANCE),
        line("public IPv4 address", region, 1, "public IPv4 address", per="gpu-hour", resource=INSTANCE),
    ]


INSTANCE = "aws:ec2/instance:Instance"
