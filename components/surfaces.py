"""Every surface that costs by use: by which counter it is counted, and what it costs at most."""

from collections.abc import Sequence

from tlfif.money.counting import Function

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
_READS = {"cost_publisher": 4, "cpu_worker": 42, "guardian": 4, "meter": 1.2}
_WRITES = {"cost_publisher": 1, "meter": 0.2}


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
