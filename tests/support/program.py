"""The program's recordings as the tests of components/ read them."""

import json
from collections.abc import Iterator
from typing import Any

from support.recordings import evaluate

from recording import kinds
from recording.model import Recording

__all__ = ["evaluate"]

ALARM = kinds.monitoring.METRIC_ALARM.token
FUNCTION = kinds.lambda_.FUNCTION.token
INSTANCE = kinds.ec2.INSTANCE.token
LOG_GROUP = kinds.monitoring.LOG_GROUP.token
PERMISSION = kinds.lambda_.PERMISSION.token
POLICY = kinds.iam.ROLE_POLICY.token
SUBSCRIPTION = kinds.monitoring.TOPIC_SUBSCRIPTION.token

# A stack's configuration with which it has a delivery pipeline.
CONNECTION = (
    "arn:aws:codeconnections:us-east-1:123456789012:connection/11111111-2222-4333-8444-555555555555"
)
PIPED = {"tl-fif:delivery": {"connectionArn": CONNECTION, "repository": "example/tl-fif"}}


def variables(recording: Recording, function: str) -> dict[str, str]:
    return recording.one(FUNCTION, function).inputs["environment"]["variables"]


def statements(recording: Recording, policy: str) -> dict[str, dict[str, Any]]:
    document = json.loads(recording.one(POLICY, policy).inputs["policy"])
    return {statement["Sid"]: statement for statement in document["Statement"]}


def body(recording: Recording) -> dict[str, Any]:
    return json.loads(recording.one(kinds.apigateway.REST_API.token).inputs["body"])


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from keys(item)
