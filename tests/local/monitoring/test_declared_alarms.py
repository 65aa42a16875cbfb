"""What the program's alarms do with what a small team's stack says, and when it says nothing."""

from collections.abc import Sequence

import pytest
from support.recordings import evaluate

from local.monitoring.alarms import OK, RINGS, UNKNOWN, Alarm, judged
from local.monitoring.metrics import Sample, statistic
from recording import kinds

ALARM = kinds.monitoring.METRIC_ALARM.token
PROBES_MS, COLD_MS, SLOW_MS = (18, 25), 1_200, 450


def alarm(name: str) -> Alarm:
    inputs = evaluate("dev").one(ALARM, name).inputs
    return Alarm(arn="", name=name, inputs=inputs)


def all_alarms() -> list[Alarm]:
    return [alarm(each.name) for each in evaluate("dev").of_type(ALARM)]


def p95(minutes: Sequence[Sequence[float]]) -> list[float | None]:
    return [statistic("p95", [Sample(0, ms, 1) for ms in each]) for each in minutes]


@pytest.mark.story("API-004")
def test_slow_answers_of_one_person_ring_and_a_cold_start_does_not() -> None:
    quiet, slow = list(PROBES_MS), [*PROBES_MS, SLOW_MS]
    latency = alarm("gateway-slow")
    busiest = max(len(quiet), len(slow))
    assert busiest < 10 / (1 - 0.95), "with `ignore` CloudWatch would judge none of these minutes"
    assert judged(latency, p95([quiet, slow, quiet, slow, slow]))[0] == RINGS
    assert judged(latency, p95([quiet, quiet, [*quiet, COLD_MS], quiet, quiet]))[0] == OK
    assert judged(latency, p95([quiet] * 5))[0] == OK


@pytest.mark.story("OPS-004")
def test_before_there_is_data_nobody_is_told_that_anything_is_wrong() -> None:
    for each in all_alarms():
        state, _ = judged(each, [None] * each.inputs["evaluationPeriods"])
        assert state != RINGS, each.name
        if each.inputs["treatMissingData"] in ("missing", "ignore"):
            assert state == UNKNOWN == each.state, "no change, so no action"


@pytest.mark.story("API-005", "RED-004", "OPS-002")
def test_who_should_always_speak_and_falls_silent_is_told_of() -> None:
    silent = {"health-ping-fails", "queue-health-fails", "guardian-fails", "watch-spend-warns"}
    told = {each.name for each in all_alarms() if each.inputs.get("insufficientDataActions")}
    assert silent <= told
    for name in told:
        each = alarm(name)
        each.state = OK
        assert judged(each, [None] * each.inputs["evaluationPeriods"])[0] == UNKNOWN


@pytest.mark.story("OPS-003")
def test_a_cap_that_was_passed_is_not_taken_back_by_silence() -> None:
    stops = alarm("watch-spend-stops")
    assert judged(stops, [19.99])[0] == OK
    assert judged(stops, [20.0])[0] == RINGS
    stops.state = RINGS
    assert judged(stops, [None])[0] == RINGS
