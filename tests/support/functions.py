"""Hosts of functions that tests write."""

import json
from collections.abc import Callable
from typing import Any

from local.lambda_.host import FunctionHost
from local.lambda_.model import InvokeResult

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"
MakeHost = Callable[..., FunctionHost]


async def call(host: FunctionHost, event: object = None, **options: Any) -> Any:
    result = await host.invoke(json.dumps(event).encode(), **options)
    assert result.error is None, result.payload
    return json.loads(result.payload)


def failure(result: InvokeResult) -> dict[str, Any]:
    assert result.error == "Unhandled"
    return json.loads(result.payload)
