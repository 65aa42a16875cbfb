"""What things cost this stack, for the functions that count its money: made of the bill, so that
they and the preview cannot say two things.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components import prices, pricing
from components.component import Component
from components.pricing import BillRow
from components.settings import Settings
from components.storage import RepliesBucket
from components.surfaces import COUNTED
from tlfif.money.documents import Tariff


@dataclass(frozen=True, kw_only=True)
class TariffArgs:
    """`rows` is the stack's bill; `worst_usd_per_hour` what each surface costs at most."""

    settings: Settings
    stack: str
    bucket: RepliesBucket
    rows: Sequence[BillRow]
    worst_usd_per_hour: Mapping[str, float] = field(default_factory=dict[str, float])


class TariffObject(Component):
    """A document in the stack's bucket."""

    def __init__(
        self, name: str, args: TariffArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        told = tariff(args.settings, args.stack, args.rows, args.worst_usd_per_hour)
        aws.s3.BucketObjectv2(
            f"{name}-document",
            bucket=args.bucket.name,
            key=Tariff.KEY,
            content=told.text(),
            content_type="application/json",
            opts=self._child(),
        )
        self.register_outputs({})


def tariff(
    settings: Settings,
    stack: str,
    rows: Sequence[BillRow],
    worst_usd_per_hour: Mapping[str, float] | None = None,
) -> Tariff:
    """What a stack with this bill pays for what; fixed and assumed are the bill's monthly total."""
    monthly = [row for row in rows if row.line.per == "month"]
    assumed = [row for row in monthly if row.line.item in COUNTED]
    cpu, gpu = settings.cpu, settings.gpu
    lane = prices.run_time("x86_64", cpu.memory_mb, cpu.disk_mb) if cpu.enabled else []
    region = settings.region
    return Tariff(
        stack=stack,
        cap_usd=settings.cap_usd,
        usd_per_eur=settings.costs.usd_per_eur,
        fixed_usd=pricing.total_usd([row for row in monthly if row.line.item not in COUNTED]),
        assumed_usd=pricing.total_usd(assumed),
        gpu_usd_per_hour=pricing.total_usd(rows, "gpu-hour"),
        gpu_count=gpu.count if gpu.has_nodes else 0,
        lane_units={item: gb for item, gb, _ in lane},
        prices={
            item: {"usd": each[region].usd, "free": each[region].free, "pool": each[region].pool}
            for item, each in prices.PRICES.items()
            if region in each and item in COUNTED
        },
        worst_usd_per_hour=dict(worst_usd_per_hour or {}),
    )
