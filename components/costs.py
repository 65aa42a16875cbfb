"""The stack's bill: the components' cost lines, what later parts will add, and what the cap leaves for GPU hours."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pulumi

from components import pricing
from components.pricing import BillRow, CostLine
from components.settings import Settings
from tlfif import names

# One test run and one walk through the pipeline per push; one bake a month.
TEST_MINUTES, PIPELINE_MINUTES = 5, 17
BAKE_HOURS, BAKE_BUILD_MINUTES = 0.2, 3


class Billed(Protocol):
    """A component that says what its resources cost."""

    cost_lines: list[CostLine]


def planned(settings: Settings) -> list[CostLine]:
    """Lines for parts that the program does not declare yet; whoever declares one takes its line from here."""
    costs = settings.costs
    asked = 4 * pricing.HOURS if costs.source == "costExplorer" else 31
    often = "every 15 minutes" if costs.source == "costExplorer" else "once a day"
    lines = [
        pricing.line("Cost Explorer request", asked, f"spend metric asks Cost Explorer {often}", key="costs:source"),
        pricing.line("build minute arm1.medium", TEST_MINUTES * costs.pushes_per_month, "pipeline: test stage"),
        pricing.line("pipeline minute", PIPELINE_MINUTES * costs.pushes_per_month, "pipeline: actions"),
        pricing.line("m7i.large", BAKE_HOURS, "pipeline: one image bake"),
        pricing.line("build minute arm1.medium", BAKE_BUILD_MINUTES, "pipeline: waiting for the bake"),
        pricing.line("dashboard", 1, "dashboard"),
    ]
    return [pricing.as_planned(each) for each in lines]


def metrics() -> CostLine:
    """What the functions and the nodes emit: every name in tlfif.names has one fixed set of dimensions."""
    emitted = [name for name in vars(names) if name.startswith("METRIC_")]
    return pricing.line("custom metric", len(emitted), "metrics of functions and nodes")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A month of the stack, in EUR, and the GPU-hours that the cap leaves beside it."""

    rows: Sequence[BillRow]
    fixed_usd: float
    fixed_eur: float
    gpu_hour_usd: float
    gpu_hours_left: float
    warning: str | None

    def table(self) -> str:
        """The bill as text: fixed lines, dearest first, the total, and what the cap leaves."""
        fixed = [row for row in self.rows if row.line.per == "month"]
        running = [row for row in self.rows if row.line.per == "gpu-hour"]
        lines = [_shown(row) for row in sorted(fixed, key=lambda row: -row.usd)]
        total = f"{self.fixed_usd:9.2f} $/month fixed = €{self.fixed_eur:.2f}"
        rest = f"{self.gpu_hours_left:9.1f} GPU-hours left under the cap"
        return "\n".join([*lines, total, *(_shown(row) for row in running), rest])


def _shown(row: BillRow) -> str:
    each, price = row.line, row.price
    unit = f"{each.quantity:,.4g} × {price.unit}" if each.quantity < 1e4 else f"{each.quantity:,.0f} × {price.unit}"
    notes = [f"{row.free:,.6g} free"] if row.free else []
    notes += ["planned"] if each.planned else []
    notes += [each.key] if each.key else []
    amount = f"{row.usd:9.2f} $/month" if each.per == "month" else f"{row.usd:9.3f} $/GPU-hour"
    return f"{amount}  {each.what}: {unit}{' (' + ', '.join(notes) + ')' if notes else ''}"


def summarise(settings: Settings, parts: Iterable[Billed]) -> Summary:
    """The bill of these components under the stack's settings."""
    lines = [line for part in parts for line in part.cost_lines] + [metrics(), *planned(settings)]
    rows = pricing.bill(lines, settings.region)
    fixed, running = pricing.total_usd(rows), pricing.total_usd(rows, "gpu-hour")
    hours = max(0.0, (settings.cap_usd - fixed) / running)
    return Summary(
        rows=rows,
        fixed_usd=fixed,
        fixed_eur=fixed / settings.costs.usd_per_eur,
        gpu_hour_usd=running,
        gpu_hours_left=hours,
        warning=_warning(settings, rows, hours),
    )


def _warning(settings: Settings, rows: Sequence[BillRow], hours: float) -> str | None:
    if hours >= settings.costs.min_gpu_hours:
        return None
    dearest = sorted((row for row in rows if row.line.per == "month"), key=lambda row: -row.usd)
    changed = [key for row in dearest for key in row.line.key.split(", ") if key and not settings.is_default(key)]
    change = f"Change back {', '.join(dict.fromkeys(changed))}, or raise" if changed else "Raise"
    return (
        f"The cap of €{settings.budget.cap_eur:g} leaves {hours:.1f} GPU-hours a month, fewer than costs:minGpuHours = "
        f"{settings.costs.min_gpu_hours:g}. {change} budget:capEur."
    )


def report(summary: Summary) -> None:
    """Logs the bill, and the warning if there is one, at preview and up; exports the figures."""
    pulumi.log.info(f"what this stack costs\n{summary.table()}")
    if summary.warning:
        pulumi.log.warn(summary.warning)
    pulumi.export("cost_fixed_monthly_eur", round(summary.fixed_eur, 2))
    pulumi.export("cost_gpu_hours_left", round(summary.gpu_hours_left, 1))
    pulumi.export("cost_lines", [_exported(row) for row in summary.rows])


def _exported(row: BillRow) -> dict[str, Any]:
    """A row as plain data, in the provider's camelCase spelling."""
    return {**asdict(row.line), "unit": row.price.unit, "unitUsd": row.price.usd, "free": row.free, "usd": row.usd}
