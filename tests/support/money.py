"""A tariff, a bucket in memory and the nodes that EC2 shows, for tests of the month's money."""

import io
from typing import Any

from tlfif.money.documents import Document, Tariff
from tlfif.nodes import Node

HOUR_S = 3600.0
# Noon of 2026-11-10, by UTC.
NOW = 1_793_491_200.0 + 9.5 * 86_400
TARIFF = Tariff(
    stack="dev",
    cap_usd=23.0,
    usd_per_eur=1.15,
    fixed_usd=13.29,
    assumed_usd=0.88,
    gpu_usd_per_hour=0.531,
    gpu_count=1,
    lane_units={"Lambda compute x86": 2.9375, "Lambda disk": 0.5},
    prices={
        "Lambda compute": {"usd": 1.33334e-05, "free": 400_000, "pool": "run time"},
        "Lambda compute x86": {"usd": 1.66667e-05, "free": 400_000, "pool": "run time"},
        "Lambda disk": {"usd": 3.09e-08, "free": 0, "pool": "Lambda disk"},
        "Lambda request": {"usd": 2e-07, "free": 1_000_000, "pool": "Lambda request"},
        "REST request": {"usd": 3.5e-06, "free": 0, "pool": "REST request"},
        "S3 read": {"usd": 4e-07, "free": 0, "pool": "S3 read"},
        "log ingestion": {"usd": 0.5, "free": 5, "pool": "log ingestion"},
    },
)


def running(launched_at: float, name: str = "i-1") -> Node:
    return Node(name, "running", launched_at=launched_at)


def stopped(launched_at: float, stopped_at: float, name: str = "i-1") -> Node:
    return Node(name, "stopped", launched_at=launched_at, stopped_at=stopped_at)


class Bucket:
    """S3's client for one bucket of documents; `refuses` is an error that every call raises."""

    class exceptions:
        class NoSuchKey(Exception):
            pass

    def __init__(self, *documents: Document) -> None:
        self.objects = {each.KEY: each.text() for each in documents}
        self.calls: list[tuple[str, str]] = []
        self.refuses: Exception | None = None

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self.calls.append(("get", Key))
        if self.refuses:
            raise self.refuses
        if Key not in self.objects:
            raise self.exceptions.NoSuchKey
        return {"Body": io.BytesIO(self.objects[Key].encode())}

    def put_object(self, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:
        self.calls.append(("put", Key))
        if self.refuses:
            raise self.refuses
        assert ContentType == "application/json"
        self.objects[Key] = Body.decode()

    def stored(self, kind: type[Any]) -> Any:
        return kind.parse(self.objects[kind.KEY])


# What a request costs by the tariff below.
USD = 3.5e-6


def tariff_of_requests(**changed: Any) -> Tariff:
    """A tariff by which requests alone cost something."""
    items = ["REST request", "trace", "log ingestion", "S3 read", "S3 write", "S3 storage"]
    items += ["CloudWatch request", "data out", "Lambda request", "Lambda compute", "Lambda disk"]
    prices = {item: {"usd": USD if item == "REST request" else 0.0} for item in items}
    prices = {item: {**each, "free": 0, "pool": item} for item, each in prices.items()}
    known = {
        "stack": "test",
        "cap_usd": 23.0,
        "usd_per_eur": 1.15,
        "fixed_usd": 13.0,
        "assumed_usd": 1.0,
        "gpu_usd_per_hour": 0.531,
        "gpu_count": 1,
        "prices": prices,
    }
    return Tariff(**{**known, **changed})
