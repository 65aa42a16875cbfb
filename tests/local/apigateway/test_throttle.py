"""Throttling is a token bucket for each method."""

import pytest
from support.gateways import Cloud, client, parse


async def test_stage_throttle_is_a_token_bucket_for_each_method(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("local.apigateway.throttle.time.monotonic", lambda: now)
    throttles = {"*/*": (2.0, 3), "open/fixed/POST": (1.0, 1)}
    async with client(cloud.gateway(parse(throttles=throttles))) as http:
        assert [(await http.post("/open")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert [(await http.post("/open/fixed")).status_code for _ in range(2)] == [200, 429]
        now += 0.5
        assert [(await http.post("/open")).status_code for _ in range(2)] == [200, 429]
