"""EventBridge's schedules on this machine: the program's rate rules call their functions, on the
scaled clock.
"""

import asyncio
import contextlib
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from recording import kinds
from recording.model import Recording, Resource

RULE, TARGET = kinds.monitoring.EVENT_RULE.token, kinds.monitoring.EVENT_TARGET.token
MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_log = logging.getLogger(__name__)

Invoke = Callable[[str, bytes], Awaitable[object]]


@dataclass(frozen=True)
class Schedule:
    """One rule and one of its targets: every so many minutes this function gets this event."""

    rule_arn: str
    minutes: int
    function_arn: str
    input: str | None


def of(recording: Recording) -> list[Schedule]:
    """The program's schedules; ValueError for an expression that is no rate."""
    rates = [each for each in recording.of_type(RULE) if each.inputs.get("scheduleExpression")]
    rules = {rule.outputs["name"]: rule for rule in rates}
    targets = [each for each in recording.of_type(TARGET) if each.inputs["rule"] in rules]
    return [_schedule(rules[target.inputs["rule"]], target) for target in targets]


def _schedule(rule: Resource, target: Resource) -> Schedule:
    minutes = _minutes(rule.inputs["scheduleExpression"])
    function_arn, event = target.inputs["arn"], target.inputs.get("input")
    return Schedule(rule.outputs["arn"], minutes, function_arn, event)


def _minutes(expression: str) -> int:
    rate = _RATE.fullmatch(expression)
    if rate is None:
        raise ValueError(f"the local cloud runs rate(…) schedules only, not {expression}")
    return int(rate[1]) * MINUTES[rate[2]]


@contextlib.asynccontextmanager
async def running(
    schedules: list[Schedule], invoke: Invoke, seconds_per_minute: float
) -> AsyncIterator[None]:
    """Runs the schedules until the block ends; a call that fails is logged, and the next one comes
    in its time.
    """
    tasks = [asyncio.create_task(_repeat(each, invoke, seconds_per_minute)) for each in schedules]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(schedule: Schedule, invoke: Invoke, seconds_per_minute: float) -> None:
    while True:
        await asyncio.sleep(schedule.minutes * seconds_per_minute)
        try:
            await invoke(schedule.function_arn, (schedule.input or _event(schedule)).encode())
        except Exception as error:
            _log.warning(
                "the schedule %s could not call its function: %s", schedule.rule_arn, error
            )


def _event(schedule: Schedule) -> str:
    """EventBridge's scheduled event."""
    _, _, _, region, account, _ = schedule.rule_arn.split(":", 5)
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [schedule.rule_arn],
        "detail": {},
    }
    return json.dumps(event)
