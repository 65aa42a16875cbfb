"""Operations that others answer than moto: how they are registered with the endpoint, and what they
return.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from local.aws.messages import Answer
from local.aws.requests import AwsRequest

# What moto answers to the same request.
Ask = Callable[[], Awaitable[Answer]]
# Answers a request; raises AwsError.
Handler = Callable[[AwsRequest, Ask], Awaitable[Answer]]


def json_answer(body: Mapping[str, Any]) -> Answer:
    """An answer of a service that speaks JSON."""
    headers = [(b"content-type", b"application/x-amz-json-1.1")]
    return Answer(200, headers, json.dumps(body).encode())
