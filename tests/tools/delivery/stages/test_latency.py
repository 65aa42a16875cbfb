"""`make latency`, with moto's X-Ray and traces as Lambda and API Gateway leave them."""

import json
import secrets
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from tools.delivery import latency
from tools.delivery.latency import percentile

pytestmark = pytest.mark.story("LAM-005")

ROUTER = "tl-fif-dev-router"
ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{ROUTER}"


@pytest.fixture
def asked() -> list[str]:
    """What X-Ray was to filter by."""
    return []


@pytest.fixture
def outputs(
    account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> Path:
    def unfiltered(params: dict[str, Any], **_: Any) -> None:
        asked.append(params.pop("FilterExpression"))

    def client(service: str, region: str) -> Any:
        made = boto3.client(service, region_name=region)
        # moto filters nothing, and says so.
        made.meta.events.register("before-parameter-build.xray.GetTraceSummaries", unfiltered)
        return made

    monkeypatch.setattr(latency, "client", client)
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({"router_arn": ARN}))
    return file


def trace(
    ms: float,
    *,
    method: str = "POST",
    path: str = "/infer",
    status: int = 202,
    function: str = ROUTER,
    parts: dict[str, float] | None = None,
    ago_s: float = 5,
    version: str | None = None,
) -> None:
    """A request of which the function's segment took so long; `parts` are its subsegments, in
    ms. It may name the version that had it, or an alias.
    """
    now = time.time() - ago_s
    common = {"trace_id": f"1-{int(now):08x}-{secrets.token_hex(12)}", "start_time": now}
    api = {
        "name": "tl-fif/v1",
        "origin": "AWS::ApiGateway::Stage",
        "end_time": now + 0.5,
        "http": {
            "request": {"url": f"https://a.execute-api/v1{path}", "method": method},
            "response": {"status": status},
        },
    }
    subsegments = [
        {"id": secrets.token_hex(8), "name": name, "start_time": now, "end_time": now + each / 1000}
        for name, each in (parts or {}).items()
    ]
    called = {
        "name": function,
        "origin": "AWS::Lambda::Function",
        "end_time": now + ms / 1000,
        "subsegments": subsegments,
        "aws": {"function_arn": f"{ARN}:{version}" if version else ARN},
    }
    documents = [
        json.dumps({"id": secrets.token_hex(8), **common, **each}) for each in (api, called)
    ]
    boto3.client("xray").put_trace_segments(TraceSegmentDocuments=documents)


def test_p95_of_the_warm_prompts_is_judged(
    run: Any, outputs: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for ms in range(10, 30):
        trace(ms)
    assert run(latency.main, "--outputs", outputs) == 0
    said = capsys.readouterr().out
    assert "p50 19.0 ms, p95 28.0 ms, at most 29.0 ms for 20 prompts, warm" in said
    router = 'service(id(name: "tl-fif-dev-router", type: "AWS::Lambda::Function"))'
    assert asked == [f'{router} AND http.method = "POST"']
    for _ in range(2):
        trace(61)
    assert run(latency.main, "--outputs", outputs) == 1
    assert "p95 61.0 ms" in capsys.readouterr().err
    assert run(latency.main, "--outputs", outputs, "--limit", "61.5") == 0


def test_what_is_no_warm_accepted_prompt_does_not_count(
    run: Any, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(10):
        trace(20)
    trace(900, parts={"Initialization": 700, "Invocation": 100})
    trace(900, method="GET", path="/status")
    trace(900, path="/stop")
    trace(900, status=429)
    trace(900, function="tl-fif-prod-router")
    # What Lambda does afterwards nobody waits for.
    trace(900, parts={"Invocation": 30, "Overhead": 870})
    assert run(latency.main, "--outputs", outputs) == 0
    assert "at most 30.0 ms for 11 prompts" in capsys.readouterr().out


def test_fewer_than_ten_are_not_judged_and_no_failure(
    run: Any, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(9):
        trace(20)
    assert run(latency.main, "--outputs", outputs, "--wait", "0") == 0
    said = capsys.readouterr().err
    assert (
        "warning: X-Ray has 9 traces of prompts to the warm router in the last 10 minutes" in said
    )
    assert said.count("\n") == 1


def test_what_was_before_the_smoke_test_or_another_versions_does_not_count(
    run: Any, outputs: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (None, "prod", "7"):
        for _ in range(4):
            trace(20, version=version)
    trace(900, version="6")
    trace(900, ago_s=100)
    since = ("--since", str(time.time() - 60))
    assert run(latency.main, "--outputs", outputs, *since, "--version", "7") == 0
    assert "at most 20.0 ms for 12 prompts" in capsys.readouterr().out
    assert run(latency.main, "--outputs", outputs, *since) == 1
    assert "at most 900.0 ms for 13 prompts" in capsys.readouterr().err


def test_traces_that_come_late_are_waited_for(
    run: Any, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        for _ in range(5):
            trace(20)

    monkeypatch.setattr(latency.time, "sleep", sleep)
    assert run(latency.main, "--outputs", outputs) == 0
    assert waited == [5.0, 5.0]


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0], 1), ([float(n) for n in range(1, 101)], 95), ([1.0, 2.0], 2)]
)
def test_a_percentile_is_one_of_the_values(values: list[float], expected: float) -> None:
    assert percentile(values, 95) == expected
