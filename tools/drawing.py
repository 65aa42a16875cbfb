"""A dashboard's body as a picture, drawn from whatever has its metrics. Wants matplotlib."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Statistic, namespace, metric, dimensions, begin and end in epoch s: the value, or None.
Ask = Callable[[str, str, str, Mapping[str, str], float, float], float | None]
# A label, and values by the minute in which their period begins.
Series = tuple[str, dict[float, float]]

_INCH_X, _INCH_Y = 0.62, 0.42
_SHARE = re.compile(r"100\*(\w+)/(\w+)")
_STATES = {"OK": "#2ca02c", "ALARM": "#d62728", "INSUFFICIENT_DATA": "#9e9e9e"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn: metrics of the time from `begin` to `end` (epoch s), in which a minute took
    `minute_s`; `states` of alarms by name; `caption` is the picture's title, and `absent` says of a
    namespace why there is nothing of it.
    """

    ask: Ask
    begin: float
    end: float
    minute_s: float
    states: Mapping[str, str]
    caption: str
    absent: Mapping[str, str]


def draw(body: Mapping[str, Any], scene: Scene, path: Path) -> None:
    """Writes the picture, a PNG or SVG by its name."""
    widgets = body["widgets"]
    wide = max(each["x"] + each["width"] for each in widgets)
    high = max(each["y"] + each["height"] for each in widgets)
    rcParams["svg.hashsalt"] = "tl-fif"
    figure = Figure(figsize=(wide * _INCH_X, high * _INCH_Y + 0.5))
    figure.suptitle(scene.caption, fontsize=11, y=0.995)
    for widget in widgets:
        left, bottom = widget["x"] / wide, 1 - (widget["y"] + widget["height"]) / high
        width, height = widget["width"] / wide, widget["height"] / high
        box = (left + 0.028, 0.97 * bottom + 0.03 * height + 0.012)
        axes = figure.add_axes((*box, width - 0.045, 0.97 * height * 0.66))
        if widget["type"] == "alarm":
            _draw_states(axes, widget["properties"], scene)
        else:
            _draw_graph(axes, widget["properties"], scene)
    figure.savefig(path, dpi=90)


def _draw_states(axes: Axes, properties: Mapping[str, Any], scene: Scene) -> None:
    names = [arn.rpartition(":alarm:")[2] for arn in properties["alarms"]]
    axes.set_title(properties["title"], fontsize=9, loc="left")
    axes.set_axis_off()
    for number, name in enumerate(names):
        state = scene.states.get(name, "INSUFFICIENT_DATA")
        column, row = divmod(number, 3)
        # Pulumi ends each name with seven digits of its own.
        text = f"{re.sub(r'-[0-9a-f]{7}$', '', name)}: {state}"
        at = (column / ((len(names) + 2) // 3), 0.85 - row * 0.36)
        axes.text(*at, text, fontsize=7, color=_STATES[state], transform=axes.transAxes)


def _draw_graph(axes: Axes, properties: Mapping[str, Any], scene: Scene) -> None:
    axes.set_title(properties["title"], fontsize=9, loc="left")
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.25)
    period = properties["period"] / 60
    shown = [each for each in _series(properties, scene) if each[1]]
    if properties["stacked"]:
        _stack(axes, shown, period)
    else:
        for label, points in shown:
            axes.plot(*_with_gaps(points, period), marker="o", markersize=2.5, label=label)
    marks = properties.get("annotations", {}).get("horizontal", [])
    for mark in marks:
        axes.axhline(mark["value"], color=mark["color"], linestyle="--", linewidth=1)
        axes.annotate(
            f"{mark['label']} ({mark['value']:g})",
            (0.01, mark["value"]),
            xycoords=("axes fraction", "data"),
            fontsize=6,
            color=mark["color"],
            verticalalignment="bottom",
        )
    if shown:
        axes.legend(fontsize=6, loc="upper right", framealpha=0.6)
    else:
        reason = scene.absent.get(_namespace(properties), "nothing happened")
        axes.text(0.5, 0.5, f"no data: {reason}", fontsize=7, ha="center", transform=axes.transAxes)
    limits, values = properties["yAxis"]["left"], [mark["value"] for mark in marks]
    values += [value for _, points in shown for value in points.values()]
    axes.set_xlim(0, (scene.end - scene.begin) / scene.minute_s)
    axes.set_ylim(limits["min"], limits.get("max") or 1.2 * max(values, default=1) or 1)


def _with_gaps(points: Mapping[float, float], period: float) -> tuple[list[float], list[float]]:
    """Minutes and values, with a hole where periods have none: no line is drawn across it."""
    minutes: list[float] = []
    values: list[float] = []
    for minute, value in points.items():
        if minutes and minute - minutes[-1] > 1.5 * period:
            minutes.append(minute)
            values.append(math.nan)
        minutes.append(minute)
        values.append(value)
    return minutes, values


def _namespace(properties: Mapping[str, Any]) -> str:
    return next(row[0] for row in properties["metrics"] if len(row) > 1)


def _stack(axes: Axes, shown: Sequence[Series], period: float) -> None:
    """Bars on one another: what is sparse is no area."""
    tops: dict[float, float] = {}
    for label, points in shown:
        below = [tops.get(minute, 0.0) for minute in points]
        axes.bar([*points], [*points.values()], period, bottom=below, align="edge", label=label)
        tops |= {minute: tops.get(minute, 0.0) + value for minute, value in points.items()}


def _series(properties: Mapping[str, Any], scene: Scene) -> list[Series]:
    """What is visible of a widget's metrics."""
    asked: dict[str, dict[float, float]] = {}
    visible: list[Series] = []
    for row in properties["metrics"]:
        if len(row) > 1:
            options = row[-1] if isinstance(row[-1], dict) else {}
            points = _points(row, properties, scene)
            asked[options.get("id", "")] = points
            if options.get("visible", True):
                visible.append((options.get("label", row[1]), points))
    sums = [row[0] for row in properties["metrics"] if len(row) == 1]
    return visible + [(each["label"], _shares(each["expression"], asked)) for each in sums]


def _points(row: Sequence[Any], properties: Mapping[str, Any], scene: Scene) -> dict[float, float]:
    """Values by the minute in which their period begins."""
    namespace, name, *pairs = [cell for cell in row if not isinstance(cell, dict)]
    dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
    period_s = properties["period"] / 60 * scene.minute_s
    points: dict[float, float] = {}
    for number in range(int((scene.end - scene.begin) / period_s) + 1):
        since = scene.begin + number * period_s
        stat = properties["stat"]
        value = scene.ask(stat, namespace, name, dimensions, since, since + period_s)
        if value is not None:
            points[number * period_s / scene.minute_s] = value
    return points


def _shares(expression: str, asked: Mapping[str, dict[float, float]]) -> dict[float, float]:
    """The one expression that the dashboard has. Raises ValueError for any other."""
    found = _SHARE.fullmatch(expression)
    if found is None:
        raise ValueError(f"{expression!r} is no share in percent")
    part, whole = asked[found[1]], asked[found[2]]
    return {minute: 100 * part[minute] / whole[minute] for minute in part if whole.get(minute)}
