"""The program's schedules run on this machine, faster (OPS-002's clock, the guardian's)."""

import asyncio
import json

import pytest

from local.lambda_ import schedules
from recording.model import Recording, Resource


def resource(kind: str, name: str, inputs: dict[str, object]) -> Resource:
    outputs = {**inputs, "name": name, "arn": f"arn:aws:events:us-east-1:123456789012:rule/{name}"}
    return Resource(
        urn=f"urn:{name}",
        type=kind,
        name=name,
        parent="",
        inputs=inputs,
        outputs=outputs,
        id=name,
        dependencies=[],
        custom=True,
    )


def recording(expression: str) -> Recording:
    rule = resource(schedules.RULE, "tick", {"scheduleExpression": expression})
    target = resource(schedules.TARGET, "target", {"rule": "tick", "arn": "arn:function"})
    return Recording(stack="dev", resources=[rule, target], outputs={})


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [("rate(1 minute)", 1), ("rate(15 minutes)", 15), ("rate(8 hours)", 480)],
)
def test_a_rate_is_read_in_minutes(expression: str, minutes: int) -> None:
    assert [each.minutes for each in schedules.of(recording(expression))] == [minutes]


def test_another_expression_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="cron"):
        schedules.of(recording("cron(0 1 * * ? *)"))


async def test_the_function_is_called_again_after_it_failed() -> None:
    events: list[bytes] = []
    thrice = asyncio.Event()

    async def invoke(arn: str, event: bytes) -> None:
        events.append(event)
        if len(events) == 3:
            thrice.set()
        raise RuntimeError("broken")

    async with schedules.running(schedules.of(recording("rate(1 minute)")), invoke, 0.01):
        await asyncio.wait_for(thrice.wait(), 5)
    assert json.loads(events[0])["detail-type"] == "Scheduled Event"
    seen = len(events)
    await asyncio.sleep(0.05)
    assert len(events) == seen, "nothing is called after the block"
