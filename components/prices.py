"""The price list: USD by region, ex VAT, each with its date, source and mark.

Only free tiers that do not end are counted; an account has each of them once.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")
READ = "2026-11"
# The instance types with a GPU that have a price, and the vCPUs of each.
VCPUS = {
    "g4dn.xlarge": 4,
    "g4dn.2xlarge": 8,
    "g5.xlarge": 4,
    "g6.xlarge": 4,
    "g6f.large": 2,
    "g6f.xlarge": 4,
}
# What part of its on-demand price a spot instance of a family costs. An estimate, from what people
# report (g4dn.xlarge $0.16 to $0.25, g6.xlarge $0.33 to $0.75 an hour): the price moves by the
# hour, the zone and the region, and never above on-demand.
SPOT_SHARES = {"g4dn": 0.40, "g5": 0.50, "g6": 0.60, "g6f": 0.60}
# A function has a disk of so much for nothing.
FREE_DISK_MB = 512
# A gp3 volume reads and writes so much for nothing.
FREE_THROUGHPUT_MBPS = 125
# The items of the sizes of CodeBuild's ARM machines.
BUILD_SIZES = {
    "BUILD_GENERAL1_SMALL": "build minute arm1.small",
    "BUILD_GENERAL1_MEDIUM": "build minute arm1.medium",
}
# H: read in an AWS document, API model or price list. M: one third-party source. L: from memory, to
# be checked.
Mark = Literal["H", "M", "L"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit of `item` costs, in USD; the first `free` units of a month cost nothing.

    They are `free` together for all the items of one `pool`: its own, for most.
    """

    item: str
    usd: float
    unit: str
    source: str
    mark: Mark
    pool: str
    free: float = 0
    read: str = READ


class _Row(NamedTuple):
    """An item of the list: rates in the order of REGIONS, or one for all; likewise the marks. A
    region that has no such thing has None.
    """

    item: str
    usd: float | tuple[float | None, float | None, float | None]
    unit: str
    marks: str
    source: str
    free: float = 0
    pool: str = ""
    read: str = READ


_GPU_READ = "2025-11"
_GPU = "EC2 on-demand price list, Linux; as instances.vantage.sh had it, us-east-1 seen twice since"
_CACHE = "ElastiCache, AWS Price List API"
# One free tier for both architectures.
_LAMBDA = "Lambda run time"
_LIST = [
    _Row("cache.t4g.micro valkey", (0.0128, 0.0144, 0.0152), "hour", "HLL", _CACHE),
    _Row("cache.t4g.small valkey", (0.0256, 0.0280, 0.0304), "hour", "HLL", _CACHE),
    _Row("cache.t4g.micro redis", (0.0160, 0.0180, 0.0190), "hour", "HLL", _CACHE),
    _Row("cache.t4g.small redis", (0.0320, 0.0350, 0.0380), "hour", "HLL", _CACHE),
    _Row("g4dn.xlarge", (0.526, 0.587, 0.658), "hour", "HMM", "EC2 on-demand price list, Linux"),
    _Row("g4dn.2xlarge", (0.752, 0.838, 0.940), "hour", "M", _GPU, read=_GPU_READ),
    _Row("g5.xlarge", (1.006, 1.123, 1.258), "hour", "M", _GPU, read=_GPU_READ),
    _Row("g6.xlarge", (0.8048, None, 1.0064), "hour", "M", _GPU, read=_GPU_READ),
    _Row("g6f.large", (0.202, None, 0.25261), "hour", "M", _GPU, read=_GPU_READ),
    _Row("g6f.xlarge", (0.2375, None, 0.297), "hour", "M", _GPU, read=_GPU_READ),
    _Row("public IPv4 address", 0.005, "hour", "M", "VPC pricing; charged only while a node runs"),
    _Row("gp3 volume", (0.08, 0.088, 0.0952), "GB-month", "HLL", "EBS pricing"),
    _Row("gp3 throughput", (0.04, 0.044, 0.0476), "MB/s-month", "MLL", "EBS pricing, beyond 125"),
    _Row("EBS snapshot", (0.05, 0.05, 0.054), "GB-month", "MLL", "EBS pricing, standard tier"),
    _Row("NLB", (0.0225, 0.0252, 0.0270), "hour", "HLL", "Elastic Load Balancing pricing"),
    _Row("NLB capacity", 0.006, "LCU-hour", "MLL", "Elastic Load Balancing pricing"),
    _Row("public certificate", 0.0, "certificate", "H", "ACM pricing: free on a load balancer"),
    _Row(
        "interface endpoint", (0.01, 0.011, 0.012), "hour", "HLL", "PrivateLink pricing, per zone"
    ),
    _Row("canary run", 0.0012, "run", "MLL", "CloudWatch pricing, Synthetics", free=100),
    _Row("alarm", 0.10, "alarm-month", "H", "CloudWatch pricing, standard resolution", free=10),
    _Row("custom metric", 0.30, "metric-month", "H", "CloudWatch pricing, first 10,000", free=10),
    _Row("dashboard", 3.00, "dashboard-month", "H", "CloudWatch pricing", free=3),
    _Row(
        "log ingestion",
        (0.50, 0.57, 0.63),
        "GB",
        "MLL",
        "CloudWatch pricing, standard class",
        free=5,
    ),
    _Row(
        "CloudWatch request",
        0.00001,
        "request",
        "M",
        "CloudWatch pricing, GetMetricStatistics and most others; GetMetricData has no free tier",
        free=1_000_000,
    ),
    _Row("data out", 0.09, "GB", "M", "EC2 pricing, to the internet, first 10 TB", free=100),
    _Row("trace", 0.000005, "trace", "L", "X-Ray pricing, recorded traces", free=100_000),
    _Row(
        "REST request",
        (0.0000035, 0.0000035, 0.0000037),
        "request",
        "HLL",
        "API Gateway price list",
    ),
    _Row("Lambda request", 0.0000002, "request", "MLL", "Lambda pricing", free=1_000_000),
    _Row(
        "Lambda compute",
        0.0000133334,
        "GB-second",
        "HMM",
        "Lambda pricing, arm64; AWS's calculator of 2022, quoted",
        free=400_000,
        pool=_LAMBDA,
    ),
    _Row(
        "Lambda compute x86",
        0.0000166667,
        "GB-second",
        "HMM",
        "Lambda pricing, x86; AWS's calculator of 2022, quoted",
        free=400_000,
        pool=_LAMBDA,
    ),
    _Row(
        "Lambda disk",
        (0.0000000309, 0.0000000340, 0.0000000367),
        "GB-second",
        "M",
        "Lambda pricing, ephemeral storage beyond 512 MB; AWS's calculator of 2022, quoted",
    ),
    _Row("S3 storage", (0.023, 0.023, 0.0245), "GB-month", "L", "S3 pricing, standard class"),
    _Row("S3 write", (0.000005, 0.000005, 0.0000054), "request", "L", "S3 pricing, PUT and LIST"),
    _Row("S3 read", (0.0000004, 0.0000004, 0.00000043), "request", "L", "S3 pricing, GET"),
    _Row("monthly active user", 0.0055, "user", "M", "Cognito pricing, Lite", free=10_000),
    _Row("mail", 0.00002, "mail", "L", "SNS pricing", free=1_000),
    _Row("budget", 0.0, "budget", "M", "Budgets pricing: free without actions"),
    _Row("Cost Explorer request", 0.01, "request", "H", "Cost Explorer FAQ, per page"),
    _Row("pipeline minute", 0.002, "action-minute", "H", "CodePipeline V2 pricing", free=100),
    _Row("build minute arm1.medium", 0.0070, "minute", "M", "CodeBuild pricing"),
    _Row("build minute arm1.small", 0.0034, "minute", "L", "CodeBuild pricing, Linux", free=100),
    _Row("m7i.large", (0.1008, 0.1124, 0.1208), "hour", "L", "EC2 on-demand price list, Linux"),
]


def _by_region(row: _Row) -> dict[str, Price]:
    rates = row.usd if isinstance(row.usd, tuple) else (row.usd,) * len(REGIONS)
    marks = row.marks if len(row.marks) > 1 else row.marks * len(REGIONS)
    return {
        region: Price(
            item=row.item,
            usd=rate,
            unit=row.unit,
            source=row.source,
            mark=cast(Mark, mark),
            pool=row.pool or row.item,
            free=row.free,
            read=row.read,
        )
        for region, rate, mark in zip(REGIONS, rates, marks, strict=True)
        if rate is not None
    }


PRICES: dict[str, dict[str, Price]] = {row.item: _by_region(row) for row in _LIST}


def spot_item(instance_type: str) -> str:
    """The price list's name of an instance type as spot."""
    return f"{instance_type} spot"


def _as_spot(instance_type: str) -> dict[str, Price]:
    share = SPOT_SHARES[instance_type.partition(".")[0]]
    source = f"{share:.0%} of on-demand: an estimate, it moves"
    item = spot_item(instance_type)
    return {
        region: replace(
            price, item=item, pool=item, usd=round(share * price.usd, 3), source=source, mark="L"
        )
        for region, price in PRICES[instance_type].items()
    }


PRICES |= {spot_item(instance_type): _as_spot(instance_type) for instance_type in VCPUS}


def gpu_instance_types(region: str) -> list[str]:
    """The GPU instance types that have a price in a region."""
    return sorted(each for each in VCPUS.keys() & PRICES.keys() if region in PRICES[each])


def cache_item(engine: str, node_type: str) -> str:
    """The price list's name of a cache node."""
    return f"{node_type} {engine}"


def cache_node_types(engine: str) -> list[str]:
    """The ElastiCache node types that have a price with this engine."""
    items = [item.split() for item in PRICES if item.startswith("cache.")]
    return sorted(node_type for node_type, of in items if of == engine)


def run_time(architecture: str, memory_mb: int, disk_mb: int) -> list[tuple[str, float, str]]:
    """What a second of a function's run time costs: items, how many GB-seconds of each, and what
    they are.
    """
    item = "Lambda compute x86" if architecture == "x86_64" else "Lambda compute"
    parts = [(item, memory_mb / 1024, "run time")]
    if disk_mb > FREE_DISK_MB:
        parts.append(("Lambda disk", (disk_mb - FREE_DISK_MB) / 1024, "disk"))
    return parts
