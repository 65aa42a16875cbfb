"""The picture of a dashboard: what is drawn of which metrics."""

import math
from pathlib import Path
from typing import Any

import pytest
from support.recordings import evaluate

from tools import drawing, observability

pytestmark = pytest.mark.story("OPS-004")

PNG = b"\x89PNG"


def scene(ask: drawing.Ask) -> drawing.Scene:
    return drawing.Scene(
        ask=ask,
        begin=1_000.0,
        end=1_060.0,
        minute_s=2.0,
        states={},
        caption="half an hour",
        absent={"TLFIF/GPU": "no GPU"},
    )


def graph(**changes: Any) -> dict[str, Any]:
    row = ["TLFIF/Queue", "QueueDepth", "Stack", "dev", {"label": "depth"}]
    return {"stat": "Maximum", "period": 300, "metrics": [row], **changes}


def test_the_deployed_dashboard_becomes_a_picture_and_each_metric_is_asked_for(
    tmp_path: Path,
) -> None:
    asked: set[tuple[str, str]] = set()

    def ask(stat: str, namespace: str, name: str, *_: Any) -> float | None:
        asked.add((namespace, name))
        return None if namespace == "TLFIF/GPU" else 1.0

    body = observability.body(evaluate("dev"))
    drawing.draw(body, scene(ask), tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(PNG)
    rows = [row for each in body["widgets"] for row in each["properties"].get("metrics", [])]
    assert asked == {(row[0], row[1]) for row in rows if len(row) > 1}


def test_periods_are_of_the_scaled_clock() -> None:
    asked: list[tuple[float, float]] = []

    def ask(stat: str, namespace: str, name: str, of: Any, begin: float, end: float) -> float:
        asked.append((begin, end))
        return end - begin

    [(label, points)] = drawing._series(graph(), scene(ask))
    assert label == "depth"
    assert asked[:2] == [(1_000.0, 1_010.0), (1_010.0, 1_020.0)]
    assert list(points) == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]


def test_a_share_is_drawn_in_place_of_its_parts() -> None:
    of = ["TLFIF/GPU", "used", "InstanceId", "i-0", {"id": "u0", "visible": False}]
    whole = ["TLFIF/GPU", "total", "InstanceId", "i-0", {"id": "t0", "visible": False}]
    share = [{"expression": "100*u0/t0", "label": "node 0", "id": "v0"}]
    values = {"used": 4.0, "total": 16.0}
    found = drawing._series(
        graph(metrics=[share, of, whole]), scene(lambda stat, space, name, *_: values[name])
    )
    assert [(label, set(points.values())) for label, points in found] == [("node 0", {25.0})]
    with pytest.raises(ValueError, match="is no share in percent"):
        drawing._shares("u0+t0", {})


def test_no_line_is_drawn_where_there_is_no_data() -> None:
    minutes, values = drawing._with_gaps({0.0: 1.0, 1.0: 2.0, 5.0: 3.0}, 1.0)
    assert minutes == [0.0, 1.0, 5.0, 5.0]
    assert values[:2] == [1.0, 2.0]
    assert math.isnan(values[2])
