"""What is remembered of every call: who asked for what, and what came of it."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.aws.principals import Principal
from local.aws.requests import AwsRequest

MAX_CALLS = 50_000

# The tags of instances and images by id.
Tags = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an AWS API.

    `action` is IAM's name; `params` are what boto3's call was given, without blobs.

    `role_arn` is None for the operator and for unsigned calls; `instance_arn` is the instance whose
    credentials were used (`ec2:SourceInstanceARN`); `resource_tags` are the tags, at that time, of
    the instances or the image the call names, by id; `status` is None when no answer was sent (a
    hang, a reset, a client that left).
    """

    time: float
    duration_ms: float
    role_arn: str | None
    instance_arn: str | None
    service: str
    operation: str
    action: str
    params: Mapping[str, Any]
    resource_tags: Tags
    status: int | None


@dataclass
class Trace:
    """What becomes known of a call while it is answered."""

    principal: Principal = field(default_factory=Principal)
    resource_tags: Tags = field(default_factory=dict)
    status: int | None = None


class Records:
    """The latest calls, the oldest first."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=MAX_CALLS)

    @contextlib.contextmanager
    def keeping(self, request: AwsRequest) -> Iterator[Trace]:
        """Records the call when the block ends, however it ends, with what its trace then says."""
        started = time.perf_counter()
        trace = Trace()
        try:
            yield trace
        finally:
            self.calls.append(_call(request, trace, time.perf_counter() - started))


def _call(request: AwsRequest, trace: Trace, duration_s: float) -> Call:
    return Call(
        time=time.time() - duration_s,
        duration_ms=duration_s * 1000,
        role_arn=trace.principal.role_arn,
        instance_arn=trace.principal.instance_arn,
        service=request.service,
        operation=request.operation,
        action=request.action,
        params=request.params,
        resource_tags=trace.resource_tags,
        status=trace.status,
    )
