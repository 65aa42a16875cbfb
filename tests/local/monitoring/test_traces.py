"""X-Ray as `make latency` asks it: the requests whose client had them sampled."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from support.calls import ClientOf

from local.apigateway.call import Response
from local.aws.endpoint import Endpoint
from local.monitoring.traces import Traces
from tools.delivery.latency import warm

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-005")]

ARN = "arn:aws:lambda:us-east-1:123456789012:function:tl-fif-dev-router"


@pytest_asyncio.fixture
async def traces(endpoint: Endpoint) -> Traces:
    traces = Traces()
    endpoint.answers |= {
        ("xray", "BatchGetTraces"): traces.batch,
        ("xray", "GetTraceSummaries"): traces.summaries,
    }
    return traces


def call(number: int, *, sampled: bool = True, ms: int | None = 20, path: str = "/infer") -> Any:
    header = f"Root=1-00000000-{number:024x};Sampled={int(sampled)}"
    integration = SimpleNamespace(function_arn=f"{ARN}:prod")
    return SimpleNamespace(
        header={"x-amzn-trace-id": header, "host": "localhost:1"}.get,
        started=0.0,
        target=SimpleNamespace(integration=integration),
        integration_ms=ms,
        method="POST",
        raw_path=f"/v1{path}",
        spec=SimpleNamespace(api_id="api", stage="v1"),
    )


async def test_sampled_requests_are_what_latency_judges(
    traces: Traces, client_of: ClientOf
) -> None:
    for number in range(7):
        traces.answered(call(number, ms=number), Response(status=202))
    traces.answered(call(7, sampled=False), Response(status=202))
    traces.answered(call(8, path="/stop"), Response(status=202))
    traces.answered(call(9), Response(status=500))
    # What never came to the function.
    traces.answered(call(10, ms=None), Response(status=202))
    took = await asyncio.to_thread(warm, client_of("xray"), ARN, 1.0)
    assert [round(each) for each in took] == list(range(7))
