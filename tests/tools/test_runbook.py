"""The runbook has a line for each alarm, and no line without one."""

import pytest
from support.recordings import evaluate

from tools.pages import runbook


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runbook, "evaluate", evaluate)


@pytest.mark.story("OPS-004")
def test_each_alarm_has_a_line_that_says_when_it_rings_and_what_to_do() -> None:
    table = runbook.table()
    assert "| `watch-spend-stops` | `CurrentSpendEUR`, Maximum of 15 min, ≥ 20 |" in table
    assert "`Latency`, p95 of 1 min, ≥ 300, 3 times of 5 |" in table
    assert "Minimum of 1 min, < 1, 3 times of 5; or there is no data any more" in table
    assert len(table.splitlines()) == 2 + len(runbook.TO_DO)
    assert {line.count("|") for line in table.splitlines()} == {5}, "a | in a cell ends it"


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ({**runbook.TO_DO, "nobody-rings": "Nothing."}, "nobody-rings"),
        ({k: v for k, v in runbook.TO_DO.items() if k != "gateway-slow"}, "gateway-slow"),
    ],
)
def test_an_alarm_without_a_line_is_named_and_a_line_without_an_alarm(
    lines: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runbook, "TO_DO", lines)
    with pytest.raises(KeyError, match=named):
        runbook.table()
