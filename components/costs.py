"""The stack's bill: the components' cost lines, what later parts will add, and what the cap leaves
for GPU hours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pulumi

from components import deployed, pricing
from components.component import Component
from components.pricing import BillRow, CostLine
from components.settings import Settings
from tlfif import names

# One test run and one walk through the pipeline per push; one bake a month.
TEST_MINUTES, PIPELINE_MINUTES = 5, 17
BAKE_HOURS, BAKE_BUILD_MINUTES = 0.2, 3
WORTH_NAMING_USD = 1.0
ROUNDS_TO_NOTHING_USD = 0.005
FIXED, LEFT = "cost_fixed_monthly_eur", "cost_gpu_hours_left"


def planned(settings: Settings) -> list[CostLine]:
    """Lines for parts that the program does not declare yet; whoever declares one takes its line
    from here.
    """
    by_asking = settings.costs.source == "costExplorer"
    asked = 4 * pricing.HOURS if by_asking else 31
    spend = f"spend metric asks Cost Explorer {'every 15 minutes' if by_asking else 'once a day'}"
    pushes, key = settings.costs.pushes_per_month, "costs:pushesPerMonth"
    building, waiting = "build minute arm1.medium", "pipeline: waiting for the bake"
    walking = PIPELINE_MINUTES * pushes
    lines = [
        pricing.line("Cost Explorer request", asked, spend, key="costs:source"),
        pricing.line(building, TEST_MINUTES * pushes, "pipeline: test stage", key=key),
        pricing.line("pipeline minute", walking, "pipeline: actions", key=key),
        pricing.line("m7i.large", BAKE_HOURS, "pipeline: one image bake"),
        pricing.line(building, BAKE_BUILD_MINUTES, waiting),
        pricing.line("dashboard", 1, "dashboard"),
    ]
    return [pricing.as_planned(each) for each in lines]


def metrics() -> CostLine:
    """What the functions and the nodes emit: every name in tlfif.names has one fixed set of
    dimensions.
    """
    emitted = [name for name in vars(names) if name.startswith("METRIC_")]
    return pricing.line("custom metric", len(emitted), "metrics of functions and nodes")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The bill of a month in USD and EUR, and the GPU-hours that the cap leaves beside it."""

    rows: Sequence[BillRow]
    fixed_eur: float
    gpu_hours_left: float
    warning: str | None


def table(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, float]) -> str:
    """The bill as text, from its `lines` and `figures`: what is due each month, dearest first, and
    what the cap leaves.
    """
    fixed, running = _dearest_first(rows, "month"), _dearest_first(rows, "gpu-hour")
    total = f"{_usd(fixed):9.2f} $/month     together = €{figures[FIXED]:.2f}"
    left = f"{figures[LEFT]:9.1f} GPU-hours     left under the cap"
    return "\n".join([*map(_shown, fixed), total, *map(_shown, running), left])


def message(
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, float],
    before: Mapping[str, float] | None = None,
) -> str:
    """What a deployment says of its bill: the lines that cost something, the others as one, and
    last what decides, against the figures of the deployment `before`.
    """
    fixed, running = _dearest_first(rows, "month"), _dearest_first(rows, "gpu-hour")
    worth = [row for row in fixed if row["usd"] >= ROUNDS_TO_NOTHING_USD]
    rest = fixed[len(worth) :]
    within = "within free tiers" + (" or below half a cent" if _usd(rest) else "")
    others = [f"{_usd(rest):9.2f} $/month     {len(rest)} more {within}"] if rest else []
    shown = [*map(_shown, worth), *others, *map(_shown, running)]
    return "\n".join([*shown, _decisive(figures, before)])


def _decisive(figures: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    now = f"€{figures[FIXED]:.2f} a month fixed, {figures[LEFT]:.1f} GPU-hours left under the cap"
    if before is None:
        return now
    euros, hours = (figures[name] - before[name] for name in (FIXED, LEFT))
    if round(euros, 2) == round(hours, 1) == 0:
        return f"{now}; as at the last deployment"
    return f"{now}; since the last deployment €{euros:+.2f} and {hours:+.1f} GPU-hours"


def _dearest_first(rows: Sequence[Mapping[str, Any]], per: str) -> list[Mapping[str, Any]]:
    return sorted((row for row in rows if row["per"] == per), key=lambda row: -row["usd"])


def _usd(rows: Iterable[Mapping[str, Any]]) -> float:
    return sum(row["usd"] for row in rows)


def _shown(line: Mapping[str, Any]) -> str:
    monthly = line["per"] == "month"
    amount = f"{line['usd']:9.2f} $/month   " if monthly else f"{line['usd']:9.3f} $/GPU-hour"
    return f"{amount}  {line['what']}: {quantity(line)}{notes(line)}"


def quantity(line: Mapping[str, Any]) -> str:
    """How many of what, such as `730 hours at $0.0128`."""
    count = line["quantity"]
    number = f"{count:,.0f}" if count >= 1000 else f"{count:.3g}"
    unit = line["unit"] if count == 1 else f"{line['unit']}s"
    price = f"{line['unitUsd']:.10g}"
    return f"{number} {unit} at ${price}".replace("e-0", "e-")


def notes(line: Mapping[str, Any]) -> str:
    """What else there is to say of a line: its free tier, whether it is planned, the key that
    changes it.
    """
    said = [f"{line['free']:,.6g} free"] if line["free"] else []
    said += ["planned"] if line["planned"] else []
    said += [line["key"]] if line["key"] else []
    return f" ({', '.join(said)})" if said else ""


def summarise(settings: Settings, parts: Iterable[Component | None]) -> Summary:
    """The bill of these components under the stack's settings; None is a part that it has not."""
    declared = [line for part in parts if part for line in part.cost_lines]
    rows = pricing.bill([*declared, metrics(), *planned(settings)], settings.region)
    fixed, running = pricing.total_usd(rows), pricing.total_usd(rows, "gpu-hour")
    hours = max(0.0, (settings.cap_usd - fixed) / running)
    return Summary(
        rows=rows,
        fixed_eur=fixed / settings.costs.usd_per_eur,
        gpu_hours_left=hours,
        warning=_warning(settings, rows, hours),
    )


def _warning(settings: Settings, rows: Iterable[BillRow], hours: float) -> str | None:
    if hours >= settings.costs.min_gpu_hours:
        return None
    changed = [key for key in _dear_keys(rows) if not settings.is_default(key)]
    change = f"Change back {', '.join(changed)}, or raise" if changed else "Raise"
    return (
        f"The cap of €{settings.budget.cap_eur:g} leaves {hours:.1f} GPU-hours a month, fewer than "
        f"costs:minGpuHours = {settings.costs.min_gpu_hours:g}. {change} budget:capEur."
    )


def _dear_keys(rows: Iterable[BillRow]) -> list[str]:
    """The keys that set what costs most, dearest first, each once."""
    worth = [row for row in rows if row.line.per == "month" and row.usd >= WORTH_NAMING_USD]
    dearest = sorted(worth, key=lambda row: -row.usd)
    keys = [key for row in dearest for key in row.line.key.split(", ") if key]
    return list(dict.fromkeys(keys))


def report(summary: Summary) -> None:
    """Exports the figures and logs the bill, at preview and at up, with the warning if there is
    one.
    """
    figures = {FIXED: round(summary.fixed_eur, 2), LEFT: round(summary.gpu_hours_left, 1)}
    for name, value in figures.items():
        pulumi.export(name, value)
    said = message(lines(summary), figures, _deployed())
    pulumi.log.info(f"what this stack costs\n{said}")
    if summary.warning:
        pulumi.log.warn(summary.warning)


def _deployed() -> dict[str, float] | None:
    """The figures that the stack's last deployment exported; None before the first, and where
    nobody can tell.
    """
    outputs = deployed.outputs()
    try:
        return {name: float(outputs[name]) for name in (FIXED, LEFT)}
    except (KeyError, TypeError, ValueError) as error:
        pulumi.log.debug(f"no last deployment to compare the costs with: {error}")
        return None


def lines(bill: Summary) -> list[dict[str, Any]]:
    """The bill's rows as plain data."""
    return [_plain(row) for row in bill.rows]


def _plain(row: BillRow) -> dict[str, Any]:
    return {
        **asdict(row.line),
        "unit": row.price.unit,
        "unitUsd": row.price.usd,
        "free": row.free,
        "usd": row.usd,
    }
