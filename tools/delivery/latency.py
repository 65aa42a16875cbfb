"""`make latency`: how long the router of a deployed stack takes for a prompt when it is warm, by
X-Ray's traces of the last minutes. LAM-005: p95 at most 60 ms.

A trace counts if it is of a POST /infer that was accepted, by a function that did not have to
start. Fewer than ten are not judged, which is a warning and no failure: `make smoke` leaves enough.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tools.calling import region_of
from tools.outputs import amount, stack_outputs, stack_parser
from tools.stage import StageError, client, ended

NEEDED = ("router_arn",)
LIMIT_MS, LEAST, MINUTES = 60.0, 10, 10.0
POLL_S = 5.0
# BatchGetTraces takes so many ids at once.
_BATCH = 5
_FUNCTION = "AWS::Lambda::Function"
# What X-Ray calls the phase of a cold start in a function's segment.
_COLD, _INVOCATION = ("Initialization", "Init"), "Invocation"


def main() -> int:
    """0 when p95 is within the limit or cannot be judged, 1 with one line of error."""
    parser = stack_parser("python -m tools.delivery.latency", __doc__, "whose router")
    parser.add_argument(
        "--minutes", type=amount, default=MINUTES, help="how far back (default: %(default)g)"
    )
    parser.add_argument(
        "--since", type=amount, help="epoch s before which nothing counts (default: --minutes ago)"
    )
    parser.add_argument(
        "--version", help="traces that name another version do not count (default: all do)"
    )
    parser.add_argument(
        "--limit", type=amount, default=LIMIT_MS, help="ms of the p95 (default: %(default)g)"
    )
    parser.add_argument(
        "--wait",
        type=amount,
        default=60,
        help=f"s to wait for {LEAST} traces: X-Ray has them a little later (default: %(default)g)",
    )
    given = parser.parse_args()
    return ended(lambda: _judge(given))


def _judge(given: argparse.Namespace) -> int:
    outputs = stack_outputs(given.stack, given.outputs, NEEDED, "make latency")
    arn = outputs["router_arn"]
    xray, until = client("xray", region_of(arn)), time.monotonic() + given.wait
    since = given.since or time.time() - given.minutes * 60
    while len(found := warm(xray, arn, since, given.version)) < LEAST:
        if time.monotonic() >= until:
            break
        time.sleep(POLL_S)
    if len(found) < LEAST:
        print(
            f"tl-fif: warning: X-Ray has {len(found)} traces of prompts to the warm router in the "
            f"last {(time.time() - since) / 60:.0f} minutes, and fewer than {LEAST} say nothing: "
            f"how long it takes was not judged; make smoke STACK={given.stack} leaves some",
            file=sys.stderr,
        )
        return 0
    p95 = percentile(found, 95)
    said = (
        f"the router took p50 {percentile(found, 50):.1f} ms, p95 {p95:.1f} ms, at most "
        f"{max(found):.1f} ms for {len(found)} prompts, warm"
    )
    if p95 > given.limit:
        raise StageError(f"{said}: p95 is over {given.limit:g} ms")
    print(f"tl-fif: {said}; p95 may be {given.limit:g} ms", flush=True)
    return 0


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def warm(xray: Any, arn: str, since: float, version: str | None = None) -> list[float]:
    """How long the router took, in ms, for each prompt since then (epoch s) that it accepted
    without having to start; not those of which a trace says that another version had them.
    """
    return [
        took
        for trace in _traces(xray, arn, since)
        if (took := _took(trace, arn)) is not None
        and (version is None or _versions(trace, arn) <= {version})
    ]


def _versions(segments: Sequence[dict[str, Any]], arn: str) -> set[str]:
    """The router's versions that a trace names: of most an alias is all that is known."""
    named = (str(value) for each in segments for value in each.get("aws", {}).values())
    ends = (each.removeprefix(f"{arn}:") for each in named if each.startswith(f"{arn}:"))
    return {each for each in ends if each.isdigit()}


def _traces(xray: Any, arn: str, since: float) -> Iterator[list[dict[str, Any]]]:
    """The segments of each trace that met the router."""
    name = arn.split(":")[6]
    met = f'service(id(name: "{name}", type: "{_FUNCTION}"))'
    pages = xray.get_paginator("get_trace_summaries").paginate(
        StartTime=datetime.fromtimestamp(since, UTC),
        EndTime=datetime.now(UTC),
        FilterExpression=f'{met} AND http.method = "POST"',
    )
    ids = sorted(each["Id"] for page in pages for each in page["TraceSummaries"])
    for at in range(0, len(ids), _BATCH):
        found = xray.get_paginator("batch_get_traces").paginate(TraceIds=ids[at : at + _BATCH])
        for trace in (trace for page in found for trace in page["Traces"]):
            yield [json.loads(each["Document"]) for each in trace["Segments"]]


def _took(segments: Sequence[dict[str, Any]], arn: str) -> float | None:
    """What the router took, if it was warm and its answer was a 202 to POST /infer."""
    http = next((each["http"] for each in segments if "request" in each.get("http", {})), {})
    request, status = http.get("request", {}), http.get("response", {}).get("status")
    path = request.get("url", "").partition("?")[0]
    if (request.get("method"), status) != ("POST", 202) or not path.endswith("/infer"):
        return None
    name = arn.split(":")[6]
    of_router = (
        each for each in segments if (each.get("origin"), each.get("name")) == (_FUNCTION, name)
    )
    for each in of_router:
        parts = {part.get("name"): part for part in each.get("subsegments", ())}
        if parts.keys() & set(_COLD):
            return None
        # What Lambda does after the answer is in the segment, and nobody waits for it.
        span = parts.get(_INVOCATION, each)
        return (span["end_time"] - span["start_time"]) * 1000 if "end_time" in span else None
    return None


if __name__ == "__main__":
    sys.exit(main())
