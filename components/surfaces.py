"""Every surface that costs by use: by which counter it is counted, and what it costs at most."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components import billed, prices, pricing
from components.pricing import CostLine
from components.settings import Settings
from tlfif import callers, names
from tlfif.money import counting
from tlfif.money.counting import Function

HOUR_S = 3600
# What one call of a function takes: of the router with its memory of 512 MB for 50 ms, and of the
# authorizer, which refuses a token within 5 ms; what each writes to its log.
_ROUTER_GB_S, _AUTHORIZER_GB_S = 0.5 * 0.05, 0.5 * 0.005
_ROUTER_LOG_GB, _AUTHORIZER_LOG_GB, _ACCESS_LOG_GB = 1e-6, 0.2e-6, 0.25e-6
_API = "`AWS/ApiGateway` IntegrationLatency (its samples), Count and 4XXError"
# Routes that a token opens, and that a refused one reaches too: each has a throttle of its own.
_TOKEN_ROUTES = 5

# The items of the price list that the meter counts; all others are due for what is there.
COUNTED = frozenset(
    {
        "CloudWatch request",
        "Lambda compute",
        "Lambda compute x86",
        "Lambda disk",
        "Lambda request",
        "REST request",
        "S3 read",
        "S3 storage",
        "S3 write",
        "data out",
        "log ingestion",
        "trace",
    }
)
# What else a function's calls stand for, by its folder.
_ROLES = {
    "cpu_worker": "lane",
    "meter": "meter",
    "queue_health": "probed",
    "router": "router",
}
# What callers can have called as often as they like.
_FAST = frozenset({"authorizer", "cpu_worker", "router"})
# How many documents a call reads and writes.
_READS = {"cost_publisher": 4, "cpu_worker": 42, "guardian": 5, "meter": 1.2}
_WRITES = {"cost_publisher": 1, "guardian": 0.07, "meter": 0.2}


def document_lines(source: str, calls: float) -> list[CostLine]:
    """What so many calls of a guard read and write of what the guards tell each other."""
    reads, writes = calls * _READS[source], calls * _WRITES[source]
    what = f"{source}: the guards' documents"
    return [
        pricing.line("S3 read", reads, what, resource=billed.BUCKET),
        pricing.line("S3 write", writes, what, resource=billed.BUCKET),
    ]


def function(source: str, name: str, run_time: Sequence[tuple[str, float, str]]) -> Function:
    """A function as the meter counts it; `run_time` is components.prices.run_time's."""
    item, gb, _ = run_time[0]
    return Function(
        name=name,
        item=item,
        gb=gb,
        disk_gb=sum(each for _, each, _ in run_time[1:]),
        reads=_READS.get(source, 0.0),
        writes=_WRITES.get(source, 0.0),
        role=_ROLES.get(source, ""),
        fast=source in _FAST,
    )


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What can cost, who bounds it, and how much of which items an hour takes at that bound.

    `counted` names CloudWatch's counters of it, and how often the meter asks for them; `metered` is
    whether it is the meter that counts it, and not the guardian.
    """

    name: str
    bound: str
    counted: str
    hourly: Mapping[str, float] = field(default_factory=dict[str, float])
    metered: bool = True


def surfaces(settings: Settings) -> list[Surface]:
    """All of them, under a stack's settings."""
    found = [_callers(), _preflights(), _refused()]
    if settings.cpu.enabled:
        found.append(_lane(settings))
    if settings.gpu.has_nodes:
        found.append(_nodes(settings))
    return [*found, _replies(settings)]


def _callers() -> Surface:
    rate, burst = names.CALLER_THROTTLE
    number = callers.KEYS * rate * HOUR_S
    return Surface(
        name="requests with a good token",
        bound=f"{callers.KEYS} keys with {rate:g} a second each (burst {burst}), and "
        f"{names.CALLER_REQUESTS_PER_DAY:,} a day",
        counted=f"{_API}; `AWS/Lambda` Duration of router and authorizer, "
        "`AWS/Logs` IncomingBytes of the access log: each minute; of the functions' logs: every 15",
        hourly={
            "REST request": number,
            "trace": HOUR_S + counting.TRACED_SHARE * number,
            "Lambda request": number,
            "Lambda compute": number * _ROUTER_GB_S,
            "log ingestion": number * (_ROUTER_LOG_GB + _ACCESS_LOG_GB),
            "data out": number * counting.ANSWER_GB,
        },
    )


def _preflights() -> Surface:
    rate, burst = names.PREFLIGHT_THROTTLE
    number = len(names.PREFLIGHTS) * rate * HOUR_S
    return Surface(
        name="preflights, which need no token",
        bound=f"{len(names.PREFLIGHTS)} routes with {rate:g} a second each (burst {burst})",
        counted=f"{_API}: each minute",
        hourly={
            "REST request": number,
            "trace": HOUR_S + counting.TRACED_SHARE * number,
            "log ingestion": number * _ACCESS_LOG_GB,
        },
    )


def _refused() -> Surface:
    """API Gateway charges nothing for them; the authorizer is called for each new token."""
    rate, burst = names.STAGE_THROTTLE
    number = _TOKEN_ROUTES * rate * HOUR_S
    return Surface(
        name="tokens that are refused",
        bound=f"{_TOKEN_ROUTES} routes with {rate:g} a second each (burst {burst})",
        counted="`AWS/Lambda` Duration of the authorizer, `AWS/Logs` IncomingBytes of the access "
        "log: each minute",
        hourly={
            "Lambda request": number,
            "Lambda compute": number * _AUTHORIZER_GB_S,
            "log ingestion": number * (_AUTHORIZER_LOG_GB + _ACCESS_LOG_GB),
        },
    )


def _lane(settings: Settings) -> Surface:
    cpu = settings.cpu
    run_time = prices.run_time("x86_64", cpu.memory_mb, cpu.disk_mb)
    return Surface(
        name="the instant lane",
        bound="one at a time, by the queue's own token",
        counted="`AWS/Lambda` Duration of it, and the queue's own count: each minute",
        hourly={item: HOUR_S * gb for item, gb, _ in run_time},
        metered=False,
    )


def _nodes(settings: Settings) -> Surface:
    gpu = settings.gpu
    return Surface(
        name="the nodes",
        bound=f"`gpu:count` = {gpu.count}, and their longest lifetime",
        counted="EC2's state of each, by the guardian: each minute",
        hourly={
            gpu.instance_type: gpu.count,
            "public IPv4 address": gpu.count,
        },
        metered=False,
    )


def _replies(settings: Settings) -> Surface:
    gpu, cpu = settings.gpu, settings.cpu
    nodes = gpu.count * gpu.slots if gpu.has_nodes else 0
    slots = nodes + (cpu.slots if cpu.enabled else 0)
    return Surface(
        name="replies as they are written",
        bound=f"{slots} jobs at once on nodes and lane, each written once a second",
        counted="none: from the calls of the router, and for how long nodes and lane ran",
        hourly={"S3 write": slots * counting.WRITES_PER_S * HOUR_S},
    )


def worst_lines(settings: Settings) -> list[CostLine]:
    """What each surface costs at most, for each hour at its limits, free tiers used up."""
    return [
        pricing.line(item, count, each.name, per="worst-hour")
        for each in surfaces(settings)
        for item, count in each.hourly.items()
    ]


def unseen_usd_per_hour(settings: Settings, rows: Iterable[pricing.BillRow]) -> dict[str, float]:
    """What may be spent while the meter does not look: its surfaces, from the bill."""
    metered = {each.name for each in surfaces(settings) if each.metered}
    usd = worst_usd_per_hour(rows)
    return {name: usd[name] for name in usd if name in metered}


def worst_usd_per_hour(rows: Iterable[pricing.BillRow]) -> dict[str, float]:
    """By surface, from the bill."""
    found: dict[str, float] = {}
    for row in rows:
        if row.line.per == "worst-hour":
            found[row.line.what] = found.get(row.line.what, 0.0) + row.usd
    return found
