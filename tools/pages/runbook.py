"""The table of docs/runbook.md: each alarm that a stack has, when it rings, and what to do then."""

import re
from collections.abc import Mapping
from typing import Any

from components.billed import ALARM
from recording.evaluate import evaluate
from recording.shipped import stacks

# By the alarm's logical name; queue nodes are numbered, and one line is for all of them.
TO_DO = {
    "cost-publisher-fails": "The log of the function `cost_publisher`: a right that it lacks, or "
    "Budgets that does not answer. The guardian goes on counting by itself; `CurrentSpendEUR` is "
    "old, and neither of its two alarms can ring.",
    "delivery-api-errors": "During a canary, nothing: the deployment takes the traffic back, and "
    "says so. Otherwise as *errors of the API*, which rings later and is slower to end.",
    "delivery-router-errors": "During a canary, nothing: the deployment takes the traffic back, "
    "and says so. Otherwise the log of the function `router`, at that minute, and `make rollback` "
    "if the version that serves is new.",
    "gateway-slow": "Which route: the saved query `tl-fif-<stack>/api_latency`. Several slow "
    "minutes in a row are the queue (*the queue's memory*, `GET /queue-health`) or AWS, not a cold "
    "start.",
    "gateway-errors": "`GET /status` first: 503 with `start_failure` is EC2 without a machine, and "
    "passes. 500 and 502 are ours: the log of the function `router`, at that minute.",
    "guardian-fails": "The log of the function `guardian`. No line at all: the schedule is off, or "
    "the account's concurrency is used up. Until it runs again, stop nodes by hand with `POST "
    "/stop`.",
    "guardrails-killer-fails": "Stop the nodes now: `aws ec2 stop-instances --instance-ids "
    "…` with the ids of `pulumi stack output gpu_instance_ids --stack …`; then the log of the "
    "function `budget_killer`. The guardian, if it runs, has stopped and latched them a minute "
    "later.",
    "health-ping-fails": "Ask `ping_url` from inside the VPC. 403: the fence has another address "
    "block than the VPC, `pulumi up`. No data: the log of the function `ping_probe`.",
    "meter-fails": "The log of the function `meter`. Until it runs again the spending lacks "
    "requests, functions and logs, and the API is not closed when the cap is passed. "
    "The requests on the dashboard say whether somebody floods the API; by hand it is closed with "
    "`aws apigateway update-stage --rest-api-id … --stage-name v1 --patch-operations "
    "'op=replace,path=/*/*/throttling/rateLimit,value=0.1'`, until the meter opens it.",
    "queue-health-fails": "`GET /queue-health` says which of its four limits is passed; [the "
    "queue by hand](queue.md).",
    "queue-memory": "[The queue by hand](queue.md#what-is-in-it): which keys grow. If these are "
    "jobs, clients send faster than nodes answer: `gpu:count`, or a larger `queue:nodeType`.",
    "watch-oldest-job": "`GET /status`: `start_failure` says why no node came; with nodes up, "
    "[the watcher's log](access.md).",
    "watch-dead-letters": "`XRANGE jobs:dead - +` has id and reason; the same reason again and "
    "again is the engine, [once](operating.md#when-the-engine-fails) is the job's own.",
    "watch-failed-boots": "`GET /status`: `start_failure` has the code, and [this "
    "table](operating.md#when-a-node-stops-and-when-it-cannot) the log to read. After three in a "
    "row no node is started any more.",
    "watch-spend-warns": "`GET /status`: `spend_eur` and `gpu_hours_left`. Nothing is closed yet; "
    "whoever needs more raises `budget:capEur`. No data: the log of the function "
    "`cost_publisher`.",
    "watch-spend-stops": "Nothing has to be done: the nodes stop, jobs are refused with 402 until "
    "the month ends. To go on before, raise `budget:capEur`, `pulumi up`, then `make unlatch`.",
}
_SHOWN = {"GreaterThanOrEqualToThreshold": "≥", "LessThanThreshold": "<"}


def table() -> str:
    """A row for each alarm of any stack; KeyError for one that nobody says what to do about, and
    for a line that no alarm has.
    """
    alarms: dict[str, Mapping[str, Any]] = {}
    for stack in stacks():
        for alarm in evaluate(stack).of_type(ALARM):
            alarms.setdefault(re.sub(r"-\d+$", "", alarm.name), alarm.inputs)
    if alarms.keys() != TO_DO.keys():
        raise KeyError(
            f"alarms and tools/pages/runbook.py differ in {alarms.keys() ^ TO_DO.keys()}"
        )
    rows = [_row(name, alarms[name]) for name in sorted(alarms)]
    head = "| alarm | it rings when | which means | what to do |"
    return "\n".join([head, "|---|---|---|---|", *rows])


def _row(name: str, inputs: Mapping[str, Any]) -> str:
    means = inputs["alarmDescription"].partition(" What to do:")[0]
    return f"| `{name}` | {_when(inputs)} | {means} | {TO_DO[name]} |"


def _when(inputs: Mapping[str, Any]) -> str:
    """Such as `QueueDepth` (Maximum of 1 min) ≥ 3, twice in a row; or no data."""
    statistic = inputs.get("extendedStatistic") or inputs["statistic"]
    of = inputs["evaluationPeriods"]
    hits = inputs.get("datapointsToAlarm", of)
    sign = _SHOWN[inputs["comparisonOperator"]]
    said = [
        f"`{inputs['metricName']}`, {statistic} of {inputs['period'] // 60} min, "
        f"{sign} {inputs['threshold']:g}"
    ]
    if of > 1:
        said.append(f"{hits} times of {of}")
    silent = inputs.get("insufficientDataActions")
    return ", ".join(said) + ("; or there is no data any more" if silent else "")
