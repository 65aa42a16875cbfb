"""Calling AWS from a test, and waiting for what comes of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

REGION = "us-east-1"

# boto3 client of a service, for an access key (default: the operator's).
ClientOf = Callable[..., Any]


async def call(function: Callable[..., Any], /, **params: Any) -> Any:
    """One blocking boto3 call, while this loop goes on serving it."""
    return await asyncio.to_thread(function, **params)


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Waits until something is so."""
    for _ in range(int(timeout_s / 0.02)):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"after {timeout_s:g} s still not so")


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """HTTP status and AWS's code of a refusal."""
    answer: Any = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]
