"""What things cost: USD list prices by region, ex VAT, each with its date and source; and the lines of the bill."""

from dataclasses import dataclass
from typing import Literal

REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")


@dataclass(frozen=True, kw_only=True)
class Price:
    """A unit price in USD."""

    usd: float
    unit: str
    read: str
    source: str


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of the bill: what, how many units of a price, and whether it is due each month or each GPU-hour."""

    what: str
    price: Price
    quantity: float = 1.0
    per: Literal["month", "gpu-hour"] = "month"

    @property
    def usd(self) -> float:
        """USD per month, or per GPU-hour."""
        return self.price.usd * self.quantity


def _hourly(usd: float, source: str, read: str = "2026-11") -> Price:
    return Price(usd=usd, unit="hour", read=read, source=source)


_EC2 = "EC2 on-demand price list, Linux"
GPU_INSTANCES: dict[tuple[str, str], Price] = {
    ("us-east-1", "g4dn.xlarge"): _hourly(0.526, _EC2),
    ("eu-west-1", "g4dn.xlarge"): _hourly(0.587, _EC2),
    ("eu-central-1", "g4dn.xlarge"): _hourly(0.658, _EC2),
}
# The same in every region, and charged only while the node runs: a stop releases the address.
PUBLIC_IPV4 = _hourly(0.005, "VPC pricing, public IPv4 addresses")


def gpu_instance_types(region: str) -> list[str]:
    """The GPU instance types with a price in `region`."""
    return sorted(kind for where, kind in GPU_INSTANCES if where == region)


def gpu_hour_lines(region: str, instance_type: str) -> list[CostLine]:
    """What one running node costs per hour; KeyError for a pair without a price, which Settings refuses first."""
    return [
        CostLine(what=f"EC2 {instance_type}", price=GPU_INSTANCES[region, instance_type], per="gpu-hour"),
        CostLine(what="public IPv4 address", price=PUBLIC_IPV4, per="gpu-hour"),
    ]
