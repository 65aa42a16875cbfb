"""What a router's answers and their traces in queue and log are held against."""

import asyncio
import json
from functools import cache
from typing import Any

import yaml
from jsonschema import Draft4Validator
from support.world import STACK, World

from components.openapi import OPENAPI
from tlfif import names


async def accepted(world: World) -> None:
    """Waits for the first job in the queue."""
    async with asyncio.timeout(30):
        while world.queue.xlen(names.STREAM) == 0:  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(0.01)


def metrics(output: str) -> dict[str, float]:
    """The sums of all metrics in what was printed."""
    sums: dict[str, float] = {}
    for line in output.splitlines():
        document = json.loads(line)
        for group in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert group["Dimensions"] == [["Stack"]]
            assert document["Stack"] == STACK
            for metric in group["Metrics"]:
                sums[metric["Name"]] = sums.get(metric["Name"], 0) + document[metric["Name"]]
    return sums


def documented(schema: str, body: dict[str, Any]) -> None:
    """The body is what openapi.yaml says it is."""
    _schema(schema).validate(body)


@cache
def _schema(name: str) -> Draft4Validator:
    spec = yaml.safe_load(OPENAPI.read_text())
    return Draft4Validator(json.loads(json.dumps(spec["components"]["schemas"][name])))


def only_a_mark_is_left(world: World) -> None:
    """Of a job that was taken back: for the same call sent again.

    What became of the start is the stack's, not the job's.
    """
    [mark] = set(world.queue.keys("*")) - {
        names.STREAM,
        names.START_FAILURE,
        names.EMPTY_ZONES,
    }
    assert mark.startswith("withdrawn:")
    assert 0 < world.queue.ttl(mark) <= 10
