"""What things cost: USD list prices by region, ex VAT, each with its date, source and mark; and the arithmetic of a bill.

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
    """One line of the bill: what, how many units of an item, and whether it is due each month or each GPU-hour.

    `resource` is the type of the resources it pays for; `key` the configuration key to change when it is too much;
    `planned` marks a part that the program does not declare yet.
    """

    item: str
    quantity: float
    what: str
    per: Per = "month"
    resource: str = ""
    key: str = ""
    planned: bool = False


class _Options(TypedDict, total=False):
    per: Per
    resource: str
    key: str
    planned: bool


def line(item: str, quantity: float, what: str, **options: Unpack[_Options]) -> CostLine:
    """A line for `quantity` units of an item of the price list, free tier not yet taken off; KeyError if unknown."""
    if item not in PRICES:
        raise KeyError(f"{item!r} has no price; the price list has: {', '.join(PRICES)}")
    return CostLine(item=item, quantity=quantity, what=what, **options)


@dataclass(frozen=True, kw_only=True)
class BillRow:
    """A line with its price and what is left after the free tier: USD per month, or per GPU-hour."""

    line: CostLine
    price: Price
    free: float
    usd: float


def bill(lines: Iterable[CostLine], region: str) -> list[BillRow]:
    """The lines in their order, priced; each free tier is used up by the first lines of its item."""
    left = {item: by_region[region].free for item, by_region in PRICES.items()}
    rows: list[BillRow] = []
    for each in lines:
        price = PRICES[each.item][region]
        free = min(left[each.item], each.quantity)
        left[each.item] -= free
        rows.append(BillRow(line=each, price=price, free=free, usd=price.usd * (each.quantity - free)))
    return rows


def total_usd(rows: Iterable[BillRow], per: Per = "month") -> float:
    """The sum of what is due each month, or each GPU-hour."""
    return sum(row.usd for row in rows if row.line.per == per)


# --- the price list

# (us-east-1, eu-west-1, eu-central-1), or one price for all; likewise their marks.
_Rates = float | tuple[float, float, float]
_MARKS: dict[str, tuple[Mark, Mark, Mark]] = {
    "H": ("H", "H", "H"),
    "M": ("M", "M", "M"),
    "L": ("L", "L", "L"),
    "HLL": ("H", "L", "L"),
    "HMM": ("H", "M", "M"),
    "MLL": ("M", "L", "L"),
}


def _item(item: str, usd: _Rates, unit: str, marks: str, source: str, free: float = 0) -> Iterator[Price]:
    rates = usd if isinstance(usd, tuple) else (usd, usd, usd)
    for rate, mark in zip(rates, _MARKS[marks], strict=True):
        yield Price(item=item, usd=rate, unit=unit, source=source, mark=mark, free=free)


def _price_list() -> Iterator[Iterator[Price]]:
    cache = "ElastiCache, AWS Price List API"
    yield _item("cache.t4g.micro valkey", (0.0128, 0.0144, 0.0152), "hour", "HLL", cache)
    yield _item("cache.t4g.small valkey", (0.0256, 0.0280, 0.0304), "hour", "HLL", cache)
    yield _item("cache.t4g.micro redis", (0.0160, 0.0180, 0.0190), "hour", "HLL", cache)
    yield _item("cache.t4g.small redis", (0.0320, 0.0350, 0.0380), "hour", "HLL", cache)
    yield _item("g4dn.xlarge", (0.526, 0.587, 0.658), "hour", "HMM", "EC2 on-demand price list, Linux")
    yield _item("public IPv4 address", 0.005, "hour", "M", "VPC pricing; charged only while a node runs")
    yield _item("gp3 volume", (0.08, 0.088, 0.0952), "GB-month", "HLL", "EBS pricing")
    yield _item("EBS snapshot", (0.05, 0.05, 0.054), "GB-month", "MLL", "EBS pricing, standard tier")
    yield _item("NLB", (0.0225, 0.0252, 0.0270), "hour", "HLL", "Elastic Load Balancing pricing")
    yield _item("NLB capacity", 0.006, "LCU-hour", "MLL", "Elastic Load Balancing pricing")
    yield _item("public certificate", 0.0, "certificate", "H", "ACM pricing: free on a load balancer")
    yield _item("interface endpoint", (0.01, 0.011, 0.012), "hour", "HLL", "PrivateLink pricing, per zone")
    yield _item("canary run", 0.0012, "run", "MLL", "CloudWatch pricing, Synthetics", free=100)
    yield _item("alarm", 0.10, "alarm-month", "H", "CloudWatch pricing, standard resolution", free=10)
    yield _item("custom metric", 0.30, "metric-month", "H", "CloudWatch pricing, first 10,000", free=10)
    yield _item("dashboard", 3.00, "dashboard-month", "H", "CloudWatch pricing", free=3)
    yield _item("log ingestion", (0.50, 0.57, 0.63), "GB", "MLL", "CloudWatch pricing, standard class", free=5)
    yield _item("trace", 0.000005, "trace", "L", "X-Ray pricing, recorded traces", free=100_000)
    yield _item("REST request", (0.0000035, 0.0000035, 0.0000037), "request", "HLL", "API Gateway price list")
    yield _item("Lambda request", 0.0000002, "request", "MLL", "Lambda pricing", free=1_000_000)
    yield _item("Lambda compute", 0.0000133334, "GB-second", "HLL", "Lambda pricing, arm64", free=400_000)
    yield _item("S3 storage", (0.023, 0.023, 0.0245), "GB-month", "L", "S3 pricing, standard class")
    yield _item("S3 write", (0.000005, 0.000005, 0.0000054), "request", "L", "S3 pricing, PUT and LIST")
    yield _item("S3 read", (0.0000004, 0.0000004, 0.00000043), "request", "L", "S3 pricing, GET")
    yield _item("monthly active user", 0.0055, "user", "M", "Cognito pricing, Lite", free=10_000)
    yield _item("mail", 0.00002, "mail", "L", "SNS pricing", free=1_000)
    yield _item("budget", 0.0, "budget", "M", "Budgets pricing: free without actions")
    yield _item("Cost Explorer request", 0.01, "request", "H", "Cost Explorer FAQ, per page")
    yield _item("pipeline minute", 0.002, "action-minute", "H", "CodePipeline V2 pricing", free=100)
    yield _item("build minute arm1.medium", 0.0070, "minute", "M", "CodeBuild pricing")
    yield _item("m7i.large", (0.1008, 0.1124, 0.1208), "hour", "L", "EC2 on-demand price list, Linux")


def _by_region(prices: Iterator[Price]) -> tuple[str, dict[str, Price]]:
    known = list(prices)
    return known[0].item, dict(zip(REGIONS, known, strict=True))


PRICES: dict[str, dict[str, Price]] = dict(_by_region(prices) for prices in _price_list())


# --- which resources cost money

INSTANCE = "aws:ec2/instance:Instance"
FUNCTION = "aws:lambda/function:Function"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
BUCKET = "aws:s3/bucket:Bucket"
STAGE = "aws:apigateway/stage:Stage"
BALANCER = "aws:lb/loadBalancer:LoadBalancer"

# --- what the settings need before there is any component

GPU_INSTANCE_TYPES = ("g4dn.xlarge",)


def gpu_instance_types() -> list[str]:
    """The GPU instance types that have a price."""
    return sorted(set(GPU_INSTANCE_TYPES) & PRICES.keys())


def cache_item(engine: str, node_type: str) -> str:
    """The price list's name of a cache node."""
    return f"{node_type} {engine}"


def cache_node_types(engine: str) -> list[str]:
    """The ElastiCache node types that have a price with this engine."""
    return sorted(item.split()[0] for item in PRICES if item.startswith("cache.") and item.endswith(f" {engine}"))


def gpu_hour_lines(instance_type: str) -> list[CostLine]:
    """What one running node costs per hour; KeyError for a type without a price, which Settings refuses first."""
    return [
        line(instance_type, 1, f"{instance_type} on demand", per="gpu-hour", resource=INSTANCE, key="gpu:instanceType"),
        line("public IPv4 address", 1, "its public IPv4 address", per="gpu-hour", resource=INSTANCE),
    ]
