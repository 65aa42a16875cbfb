"""Calls of a deployed stack's own functions, by whoever runs a command."""

import json
from typing import Any

import boto3
from botocore.config import Config


class CallError(RuntimeError):
    """The function failed; the message says how, and where its log is."""


def region_of(arn: str) -> str:
    """The region in an ARN."""
    return arn.split(":")[3]


def call(function_arn: str, payload: dict[str, Any], within_s: float) -> Any:
    """What the function answers, which is called once and waited for. Raises CallError, and
    botocore's errors.
    """
    config = Config(
        connect_timeout=10,
        read_timeout=within_s,
        tcp_keepalive=True,
        retries={"total_max_attempts": 1},
    )
    client = boto3.client("lambda", region_name=region_of(function_arn), config=config)
    answer = client.invoke(FunctionName=function_arn, Payload=json.dumps(payload).encode())
    said = json.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError"):
        name = function_arn.rpartition(":")[2]
        raise CallError(
            f"the function {name} failed: {said.get('errorMessage')}; its log is /aws/lambda/{name}"
        )
    return said
