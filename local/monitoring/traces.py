"""X-Ray, as far as somebody asks it here: the traces of requests whose client had them sampled."""

import json
import re
import secrets
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from local.apigateway.call import ApiCall, Response, ms
from local.aws.answers import Ask, json_answer
from local.aws.messages import Answer
from local.aws.requests import AwsRequest

MAX_TRACES = 2_000
_SAMPLED = re.compile(r"Root=(1-[0-9a-f]{8}-[0-9a-f]{24});(?:\w+=[\w.:|-]+;)*Sampled=1")
Segment = dict[str, Any]


class Traces:
    """The latest traces: API Gateway's segment, and the function's, as X-Ray has them.

    Left out: cold starts, which are told by a call's answer here, and what the functions themselves
    trace. A filter is not understood: who asks gets all of the time range.
    """

    def __init__(self) -> None:
        self._traces: deque[tuple[str, float, list[Segment]]] = deque(maxlen=MAX_TRACES)

    def answered(self, call: ApiCall, response: Response) -> None:
        """The API answered a request."""
        found = _SAMPLED.search(call.header("x-amzn-trace-id") or "")
        if found is None:
            return
        now, took_s = time.time(), ms(call.started) / 1000
        segments = [_api(call, response, now - took_s, now)]
        arn = call.target.integration.function_arn if call.target else ""
        if arn and call.integration_ms is not None:
            segments.append(_function(arn, now - call.integration_ms / 1000, now))
        self._traces.append((found[1], now, segments))

    async def summaries(self, request: AwsRequest, ask: Ask) -> Answer:
        """GetTraceSummaries."""
        begins, ends = (_seconds(request.params[name]) for name in ("StartTime", "EndTime"))
        found = [
            {"Id": trace, "ResponseTime": segments[0]["end_time"] - segments[0]["start_time"]}
            for trace, at, segments in self._traces
            if begins <= at <= ends
        ]
        return json_answer({"TraceSummaries": found, "TracesProcessedCount": len(found)})

    async def batch(self, request: AwsRequest, ask: Ask) -> Answer:
        """BatchGetTraces."""
        wanted = set(request.params["TraceIds"])
        found = [
            {"Id": trace, "Segments": [_document(each) for each in segments]}
            for trace, _, segments in self._traces
            if trace in wanted
        ]
        known = {each["Id"] for each in found}
        return json_answer({"Traces": found, "UnprocessedTraceIds": sorted(wanted - known)})


def _api(call: ApiCall, response: Response, began: float, ended: float) -> Segment:
    host = call.header("host") or ""
    return {
        **_segment(f"{call.spec.api_id}/{call.spec.stage}", began, ended),
        "origin": "AWS::ApiGateway::Stage",
        "http": {
            "request": {"url": f"https://{host}{call.raw_path}", "method": call.method},
            "response": {"status": response.status},
        },
    }


def _function(arn: str, began: float, ended: float) -> Segment:
    segment = _segment(arn.split(":")[6], began, ended)
    return {**segment, "origin": "AWS::Lambda::Function", "resource_arn": arn}


def _document(segment: Segment) -> dict[str, str]:
    return {"Id": segment["id"], "Document": json.dumps(segment)}


def _segment(name: str, began: float, ended: float) -> Segment:
    return {"id": secrets.token_hex(8), "name": name, "start_time": began, "end_time": ended}


def _seconds(told: datetime) -> float:
    """A time that botocore read without a zone, which is UTC."""
    return told.replace(tzinfo=UTC).timestamp()
