"""The stack's bill: the components' cost lines, and what the cap leaves for GPU hours."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

import pulumi

from components import deployed, fit, pricing, surfaces
from components.component import Component
from components.cpu_worker import COST_KEY, answer_lines
from components.gpus import gpu_of, needs_own_image
from components.pricing import BillRow, CostLine
from components.settings import Settings
from tlfif import names, serving

WORTH_NAMING_USD = 1.0
ROUNDS_TO_NOTHING_USD = 0.005
ROUNDS_TO_NOTHING_USD_AN_HOUR = 0.0005
FIXED, LEFT = "cost_fixed_monthly_eur", "cost_gpu_hours_left"
SPOT_LEFT = "cost_spot_hours_left"
ANSWERS = "cost_lane_answers_left"
GPU_TYPES, ENGINE = "gpu_types", "engine"
# What the cap leaves is for the one or the other: how each is written, and what it is.
_LEAVES = {
    LEFT: ("{:.1f}", "GPU-hours"),
    SPOT_LEFT: ("{:.1f}", "at the estimated spot price"),
    ANSWERS: ("{:,.0f}", "answers of the instant lane"),
}
_UNITS = {
    "month": "$/month",
    "gpu-hour": "$/GPU-hour",
    "spot-hour": "$/spot-hour",
    "lane-hour": "$/lane-hour",
}
MOST_ANSWERS = 100_000_000
# In how many hours of a month something happens: more than the cap leaves GPU-hours.
EVENTFUL_HOURS = 60


def metrics(settings: Settings) -> list[CostLine]:
    """What functions and nodes emit: every name in tlfif.names has one fixed set of dimensions, and
    is paid for by the hours in which it is emitted (CloudWatch pricing: prorated by the hour).
    """
    every = {value for name, value in vars(names).items() if name.startswith("METRIC_")}
    eventful = len(every - names.STEADY_METRICS)
    share = EVENTFUL_HOURS / pricing.HOURS
    lines = [
        pricing.line("custom metric", len(names.STEADY_METRICS), "metrics of each minute"),
        pricing.line("custom metric", eventful * share, "metrics of what happens"),
    ]
    if settings.gpu.has_nodes:
        agents = len(names.AGENT_METRICS) * settings.gpu.count
        lines.append(pricing.line("custom metric", agents * share, "GPU metrics of running nodes"))
    return lines


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The bill of a month in USD and EUR, and what the cap leaves beside it: GPU-hours, or answers
    of the instant lane; None where the stack has no nodes, no spot nodes, or no lane.
    """

    rows: Sequence[BillRow]
    fixed_eur: float
    gpu_hours_left: float | None
    spot_hours_left: float | None
    lane_answers_left: int | None
    warning: str | None
    gpu_types: Sequence[Mapping[str, Any]]
    engine: Mapping[str, str] | None

    @property
    def figures(self) -> dict[str, float]:
        """What decides, by the names of the outputs."""
        figures = {FIXED: round(self.fixed_eur, 2)}
        if self.gpu_hours_left is not None:
            figures[LEFT] = round(self.gpu_hours_left, 1)
        if self.spot_hours_left is not None:
            figures[SPOT_LEFT] = round(self.spot_hours_left, 1)
        if self.lane_answers_left is not None:
            figures[ANSWERS] = self.lane_answers_left
        return figures


def gpu_table(outputs: Mapping[str, Any]) -> list[str]:
    """What the nodes' engine is like, and the instance types that the model fits, from the outputs
    of a stack; none of it where that has no nodes, or said nothing of it yet.
    """
    engine: Mapping[str, str] = outputs.get(ENGINE) or {}
    said = [engine[name] for name in ("memory", "arguments") if name in engine]
    return [*said, *map(_shown_type, outputs.get(GPU_TYPES) or [])]


def _shown_type(each: Mapping[str, Any]) -> str:
    mark = "*" if each["configured"] else " "
    money = f"{each['eurPerHour']:.3f} €/GPU-hour {each['hoursLeft']:6.1f} hours left"
    image = "  (with an image of yours: gpu:amiId)" if each["ownImage"] else ""
    return f"{mark} {each['instanceType']:13} {money}  {each['gpu']}{image}"


def table(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, float]) -> str:
    """The bill as text, from its `lines` and `figures`: what is due each month, dearest first, and
    what the cap leaves.
    """
    fixed = _dearest_first(rows, "month")
    total = f"{_usd(fixed):9.2f} $/month      together = €{figures[FIXED]:.2f}"
    return "\n".join(
        [
            *map(_shown, fixed),
            total,
            *map(_shown, _by_the_hour(rows)),
            *_at_worst(rows),
            *_at_limits(rows),
            left(figures),
        ]
    )


def message(
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, float],
    before: Mapping[str, float] | None = None,
) -> str:
    """What a deployment says of its bill: the lines that cost something, the others as one, and
    last what decides, against the figures of the deployment `before`.
    """
    fixed = _dearest_first(rows, "month")
    worth = [row for row in fixed if row["usd"] >= ROUNDS_TO_NOTHING_USD]
    rest = fixed[len(worth) :]
    within = "within free tiers" + (" or below half a cent" if _usd(rest) else "")
    others = [f"{_usd(rest):9.2f} $/month      {len(rest)} more {within}"] if rest else []
    shown = [*map(_shown, worth), *others, *map(_shown, _by_the_hour(rows))]
    return "\n".join([*shown, _decisive(figures, before)])


def left(figures: Mapping[str, float]) -> str:
    """What the cap leaves beside the fixed cost, such as `17.3 GPU-hours left under the cap`."""
    either = " or ".join(_counted(name, figures[name]) for name in _LEAVES if name in figures)
    return f"{either} left under the cap"


def _counted(name: str, figure: float) -> str:
    number, unit = _LEAVES[name]
    return f"{number.format(figure)} {unit}"


def _decisive(figures: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    now = f"€{figures[FIXED]:.2f} a month fixed, {left(figures)}"
    if before is None:
        return now
    euros = round(figures[FIXED] - before[FIXED], 2)
    more = {
        name: round(figures[name] - before[name], 1)
        for name in _LEAVES
        if name in figures and name in before
    }
    if not (euros or any(more.values())):
        return f"{now}; as at the last deployment"
    changes = [f"€{euros:+.2f}", *(_changed(name, by) for name, by in more.items())]
    return f"{now}; since the last deployment {' and '.join(changes)}"


def _changed(name: str, by: float) -> str:
    number, unit = _LEAVES[name]
    return f"{number.replace(':', ':+').format(by)} {unit}"


def _dearest_first(rows: Sequence[Mapping[str, Any]], per: str) -> list[Mapping[str, Any]]:
    return sorted((row for row in rows if row["per"] == per), key=lambda row: -row["usd"])


def _by_the_hour(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is due for each hour that a node, or the lane, runs, if it is anything."""
    hourly = [each for each in _UNITS if each != "month"]
    due = [row for per in hourly for row in _dearest_first(rows, per)]
    return [row for row in due if row["usd"] >= ROUNDS_TO_NOTHING_USD_AN_HOUR]


def _at_worst(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the lane would cost that never rests; nodes have their longest lifetime."""
    usd = pricing.HOURS * _usd(_dearest_first(rows, "lane-hour"))
    what = "if the instant lane, one at a time, ran all month"
    return [f"{usd:9.2f} $/month      {what}"] if usd else []


def _at_limits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an hour of each surface costs at most, dearest first."""
    by_surface: dict[str, float] = {}
    for row in rows:
        if row["per"] == "worst-hour":
            by_surface[row["what"]] = by_surface.get(row["what"], 0.0) + row["usd"]
    dearest = sorted(by_surface.items(), key=lambda each: -each[1])
    return [f"{usd:9.2f} $/hour at most  {what}, at their limits" for what, usd in dearest]


def _usd(rows: Iterable[Mapping[str, Any]]) -> float:
    return sum(row["usd"] for row in rows)


def _shown(line: Mapping[str, Any]) -> str:
    digits = 2 if line["per"] == "month" else 3
    amount = f"{line['usd']:9.{digits}f} {_UNITS[line['per']]:11}"
    return f"{amount}  {line['what']}: {quantity(line)}{notes(line)}"


def quantity(line: Mapping[str, Any]) -> str:
    """How many of what, such as `730 hours at $0.0128`."""
    count = line["quantity"]
    number = f"{count:,.0f}" if count >= 1000 else f"{count:.3g}"
    unit = line["unit"] if count == 1 else f"{line['unit']}s"
    price = f"{line['unitUsd']:.10g}"
    return f"{number} {unit} at ${price}".replace("e-0", "e-")


def notes(line: Mapping[str, Any]) -> str:
    """What else there is to say of a line: its free tier, the key that changes it."""
    said = [f"{line['free']:,.6g} free"] if line["free"] else []
    said += [line["key"]] if line["key"] else []
    return f" ({', '.join(said)})" if said else ""


def summarise(settings: Settings, parts: Iterable[Component | None]) -> Summary:
    """The bill of these components under the stack's settings; None is a part that it has not."""
    declared = [line for part in parts if part for line in part.cost_lines]
    every = [
        *declared,
        *metrics(settings),
        *surfaces.worst_lines(settings),
    ]
    rows = pricing.bill(every, settings.region)
    fixed = pricing.total_usd(rows)
    hours, spot_hours = (
        max(0.0, (settings.cap_usd - fixed) / running) if running else None
        for running in (pricing.total_usd(rows, per) for per in ("gpu-hour", "spot-hour"))
    )
    answers = _lane_answers(settings, every) if settings.cpu.enabled else None
    return Summary(
        rows=rows,
        fixed_eur=fixed / settings.costs.usd_per_eur,
        gpu_hours_left=hours,
        spot_hours_left=spot_hours,
        lane_answers_left=answers,
        warning=_closed(settings, rows) or _warning(settings, rows, hours),
        gpu_types=_gpu_types(settings, fixed),
        engine=_engine(settings),
    )


def _gpu_types(settings: Settings, fixed_usd: float) -> list[Mapping[str, Any]]:
    """What the cap leaves on each instance type that the model fits, cheapest first."""
    if not settings.gpu.has_nodes:
        return []
    left_eur = max(0.0, settings.cap_usd - fixed_usd) / settings.costs.usd_per_eur

    def told(instance_type: str) -> Mapping[str, Any]:
        eur, gpu = settings.eur_per_hour(instance_type), gpu_of(instance_type)
        return {
            "instanceType": instance_type,
            "gpu": f"{gpu.name}, {gpu.memory_gb:g} GB",
            "eurPerHour": round(eur, 4),
            "hoursLeft": round(left_eur / eur, 1),
            "configured": instance_type == settings.gpu.instance_type,
            "ownImage": needs_own_image(instance_type),
        }

    types = fit.fitting(settings.model, settings.gpu.slots, settings.region)
    return [told(each) for each in types]


def _engine(settings: Settings) -> Mapping[str, str] | None:
    """How vLLM is started on the nodes, and what it takes of their GPU."""
    if not settings.gpu.has_nodes:
        return None
    arguments = serving.arguments(settings.model.served, gpu_of(settings.gpu.instance_type))
    return {
        "memory": fit.told(settings.model, settings.gpu),
        "arguments": f"vllm serve {' '.join(arguments)}",
    }


def _lane_answers(settings: Settings, every: Iterable[CostLine]) -> int:
    """How many answers a month of the instant lane fit under the cap while no node runs."""
    others = [each for each in every if each.key != COST_KEY]
    one = answer_lines(settings.cpu)

    def usd(answers: int) -> float:
        lane = [replace(each, quantity=answers * each.quantity) for each in one]
        return pricing.total_usd(pricing.bill([*others, *lane], settings.region))

    return max(0, bisect_right(range(MOST_ANSWERS), settings.cap_usd, key=usd) - 1)


def _closed(settings: Settings, rows: Sequence[BillRow]) -> str | None:
    """What to say of a cap that is not above the fixed cost: what is there all the time, and the
    use that the estimate assumes, the instant lane's answers too.
    """
    rate, cap = settings.costs.usd_per_eur, settings.budget.cap_eur
    fixed = pricing.total_usd(rows) / rate
    if fixed < cap:
        return None
    always = pricing.total_usd([each for each in rows if each.line.item not in surfaces.COUNTED])
    spent = "from a month's first minute on" if always / rate >= cap else "before a month is over"
    hourly = settings.gpu_eur_per_hour if settings.gpu.has_nodes else 0.0
    enough = ceil(fixed + max(1.0, settings.costs.min_gpu_hours * hourly))
    change = _change(settings, rows)
    return (
        f"budget:capEur = {cap:g} is below the fixed cost of €{fixed:.2f} a month: {spent} "
        f"every prompt is refused (402). {change} it with: pulumi "
        f"config set --path 'tl-fif:budget.capEur' {enough}"
    )


def _warning(settings: Settings, rows: Sequence[BillRow], hours: float | None) -> str | None:
    """What to say of a cap that leaves few GPU-hours, where there are nodes."""
    wanted = settings.costs.min_gpu_hours
    if hours is None or hours >= wanted:
        return None
    cap = f"The cap of €{settings.budget.cap_eur:g} leaves {hours:.1f} GPU-hours a month"
    fewer = f"fewer than costs:minGpuHours = {wanted:g}"
    return f"{cap}, {fewer}. {_change(settings, rows)} budget:capEur."


def _change(settings: Settings, rows: Iterable[BillRow]) -> str:
    """The keys that could be changed back, if any, or else raise the cap."""
    changed = [key for key in _dear_keys(rows) if not settings.is_default(key)]
    return f"Change back {', '.join(changed)}, or raise" if changed else "Raise"


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
    for name, value in summary.figures.items():
        pulumi.export(name, value)
    pulumi.export(GPU_TYPES, summary.gpu_types)
    pulumi.export(ENGINE, summary.engine)
    said = message(lines(summary), summary.figures, _deployed())
    pulumi.log.info(f"what this stack costs\n{said}")
    if nodes := gpu_table({GPU_TYPES: summary.gpu_types, ENGINE: summary.engine}):
        pulumi.log.info("\n".join(["what the nodes serve, and on which GPUs it fits", *nodes]))
    if summary.warning:
        pulumi.log.warn(summary.warning)


def _deployed() -> dict[str, float] | None:
    """The figures that the stack's last deployment exported; None before the first, and where
    nobody can tell.
    """
    outputs = deployed.outputs()
    try:
        return {
            name: float(outputs[name])
            for name in (FIXED, *_LEAVES)
            if name in outputs or name == FIXED
        }
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
