"""One dashboard for money, answers and GPUs: what is drawn is one pure function's result.

Every threshold in it is an alarm's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import billed, pricing
from components.component import Alarm, Component
from tlfif import names

# CloudWatch's grid is 24 wide; three widgets a row, below one of all the alarms.
COLUMNS, WIDTH, HEIGHT, ALARMS_HEIGHT = 3, 8, 6, 3
MINUTE_S, FIVE_MINUTES_S, QUARTER_S = 60, 300, 900
SHOWN_AT_FIRST = "-PT6H"
RED, ORANGE = "#d62728", "#ff7f0e"

# A widget, or a row of its metrics, as CloudWatch's reference has them (Dashboard Body Structure).
Widget = dict[str, Any]
Row = list[Any]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a dashboard is of. `api` and `stage` name the API, `queue_nodes` its cache nodes,
    `nodes` the instances; `alarms` are all that the stack has.
    """

    region: str
    stack: str
    api: pulumi.Input[str]
    stage: pulumi.Input[str]
    queue_nodes: Sequence[pulumi.Input[str]]
    nodes: Sequence[pulumi.Input[str]]
    alarms: Sequence[Alarm]


class Dashboard(Component):
    """The stack's dashboard; `url` leads to it in the console."""

    def __init__(self, name: str, shown: Shown, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        dashboard = aws.cloudwatch.Dashboard(
            name,
            dashboard_name=f"tl-fif-{shown.stack}",
            dashboard_body=pulumi.Output.json_dumps(body(shown)),
            opts=self._child(),
        )
        self._bill(pricing.line("dashboard", 1, "dashboard", resource=billed.DASHBOARD))
        console = f"https://{shown.region}.console.aws.amazon.com/cloudwatch/home"
        place = f"?region={shown.region}#dashboards/dashboard/"
        self.url = pulumi.Output.concat(console, place, dashboard.dashboard_name)
        self.register_outputs({"url": self.url})


def body(shown: Shown) -> Widget:
    """The whole dashboard, as CloudWatch takes it."""
    graphs = [*_money(shown), *_jobs(shown), *_answers(shown), *_gpus(shown), *_inside(shown)]
    placed = [_placed(number, graph, shown) for number, graph in enumerate(graphs)]
    return {
        "start": SHOWN_AT_FIRST,
        "periodOverride": "inherit",
        "widgets": [_alarms(shown), *placed],
    }


def _alarms(shown: Shown) -> Widget:
    return {
        "type": "alarm",
        "x": 0,
        "y": 0,
        "width": COLUMNS * WIDTH,
        "height": ALARMS_HEIGHT,
        "properties": {
            "title": "alarms",
            "alarms": [alarm.arn for alarm in shown.alarms],
        },
    }


def _placed(number: int, graph: Widget, shown: Shown) -> Widget:
    return {
        "type": "metric",
        "x": number % COLUMNS * WIDTH,
        "y": ALARMS_HEIGHT + number // COLUMNS * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {"region": shown.region, "view": "timeSeries", **graph},
    }


def _graph(
    shown: Shown,
    title: str,
    rows: Sequence[Row],
    *,
    stat: str,
    period: int = MINUTE_S,
    stacked: bool = False,
    most: float | None = None,
) -> Widget:
    """A graph from zero up, to `most` if there is such a thing, with the alarms' thresholds."""
    axis = {"min": 0} if most is None else {"min": 0, "max": most}
    graph = {
        "title": title,
        "metrics": rows,
        "stat": stat,
        "period": period,
        "stacked": stacked,
        "yAxis": {"left": axis},
    }
    drawn = {(row[0], row[1]) for row in rows if len(row) > 1}
    lines = [alarm for alarm in shown.alarms if (alarm.namespace, alarm.metric) in drawn]
    if not lines:
        return graph
    highest = max(line.threshold for line in lines)
    marks = [
        {
            "label": f"{line.caption}: alarm",
            "value": line.threshold,
            "color": RED if line.threshold == highest else ORANGE,
        }
        for line in _distinct(lines)
    ]
    return {**graph, "annotations": {"horizontal": marks}}


def _distinct(lines: Sequence[Alarm]) -> list[Alarm]:
    """One of those that would be the same line: an alarm for each of several nodes."""
    return list({(line.metric, line.threshold): line for line in lines}.values())


def _own(shown: Shown, namespace: str, captions: Mapping[str, str]) -> list[Row]:
    """Rows of our own metrics, by name and caption."""
    return [
        [namespace, name, "Stack", shown.stack, {"label": caption}]
        for name, caption in captions.items()
    ]


def _money(shown: Shown) -> list[Widget]:
    spend = _own(shown, names.NAMESPACE_COST, {names.METRIC_CURRENT_SPEND_EUR: "CurrentSpendEUR"})
    left = _own(shown, names.NAMESPACE_QUEUE, {names.METRIC_GPU_HOURS_LEFT: "GPU-hours left"})
    state = {names.METRIC_NODES_READY: "ready", names.METRIC_NODES_COMING: "starting, loading"}
    nodes = _own(shown, names.NAMESPACE_QUEUE, state)
    return [
        _graph(shown, "spent this month, EUR", spend, stat="Maximum", period=QUARTER_S),
        _graph(shown, "GPU-hours left under the cap", left, stat="Minimum", period=FIVE_MINUTES_S),
        _graph(shown, "nodes by state", nodes, stat="Maximum", stacked=True),
    ]


def _jobs(shown: Shown) -> list[Widget]:
    space = names.NAMESPACE_QUEUE
    depth = _own(shown, space, {names.METRIC_QUEUE_DEPTH: "queue depth"})
    oldest = _own(shown, space, {names.METRIC_OLDEST_JOB_S: "seconds that nobody works on it"})
    endings = {
        names.METRIC_JOBS_DONE: "done",
        names.METRIC_JOBS_FAILED: "failed",
        names.METRIC_JOBS_EXPIRED: "expired",
        names.METRIC_JOBS_CANCELLED: "cancelled",
        names.METRIC_DEAD_LETTERS: "dead letters",
    }
    ended = _own(shown, space, endings)
    return [
        _graph(shown, "queue depth", depth, stat="Maximum"),
        _graph(shown, "the oldest job, s", oldest, stat="Maximum"),
        _graph(shown, "jobs by outcome", ended, stat="Sum", period=FIVE_MINUTES_S),
    ]


def _answers(shown: Shown) -> list[Widget]:
    api = ["ApiName", shown.api, "Stage", shown.stage]
    latency = [["AWS/ApiGateway", "Latency", *api, {"label": "p95"}]]
    asked = {"Count": "requests", "4XXError": "4xx", "5XXError": "5xx"}
    requests = [["AWS/ApiGateway", name, *api, {"label": label}] for name, label in asked.items()]
    lost = [
        *_own(
            shown,
            names.NAMESPACE_ROUTER,
            {
                names.METRIC_RATE_LIMIT_BREACHES: "over a user's rate",
                names.METRIC_REDIS_ENQUEUE_FAIL: "queue does not answer",
                names.METRIC_EC2_CAPACITY_ERRORS: "no machine",
            },
        ),
    ]
    return [
        _graph(shown, "p95 latency of the API, ms", latency, stat="p95"),
        _graph(shown, "requests and errors", requests, stat="Sum", period=FIVE_MINUTES_S),
        _graph(shown, "refused, and why", lost, stat="Sum", period=FIVE_MINUTES_S),
    ]


def _gpus(shown: Shown) -> list[Widget]:
    """Of each node; none of them where there are no nodes yet, or never."""
    boots = {
        names.METRIC_BOOT_MACHINE_S: "until the watcher runs",
        names.METRIC_BOOT_ENGINE_S: "until a completion works",
    }
    phases = _graph(
        shown,
        "boots and their phases, s",
        [
            *_own(shown, names.NAMESPACE_QUEUE, boots),
            *_own(shown, names.NAMESPACE_QUEUE, {names.METRIC_FAILED_BOOTS: "failed boots"}),
        ],
        stat="Maximum",
        period=FIVE_MINUTES_S,
        stacked=True,
    )
    if not shown.nodes:
        return [phases]
    busy, used, total = names.AGENT_METRICS
    gpu = names.NAMESPACE_GPU
    utilisation: list[Row] = []
    memory: list[Row] = []
    for number, node in enumerate(shown.nodes):
        label = f"node {number}"
        of = ["InstanceId", node]
        utilisation.append([gpu, busy, *of, {"label": label}])
        share = {"expression": f"100*u{number}/t{number}", "label": label, "id": f"v{number}"}
        memory += [
            [share],
            [gpu, used, *of, {"id": f"u{number}", "visible": False}],
            [gpu, total, *of, {"id": f"t{number}", "visible": False}],
        ]
    return [
        _graph(shown, "GPU utilisation, %", utilisation, stat="Average", most=100),
        _graph(shown, "VRAM, %", memory, stat="Average", most=100),
        phases,
    ]


def _inside(shown: Shown) -> list[Widget]:
    memory = [
        ["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "CacheClusterId", node]
        for node in shown.queue_nodes
    ]
    moves = [
        *_own(shown, names.NAMESPACE_ROUTER, {names.METRIC_EC2_STARTS: "nodes started"}),
        *_own(shown, names.NAMESPACE_GPU, {names.METRIC_AUTO_STOPS: "stopped by themselves"}),
        *_own(shown, names.NAMESPACE_COST, {names.METRIC_BUDGET_STOPS: "stopped by the budget"}),
    ]
    health = [
        *_own(shown, names.NAMESPACE_QUEUE, {names.METRIC_QUEUE_HEALTHY: "the queue is well"}),
        *_own(shown, names.NAMESPACE_API, {names.METRIC_PING_SUCCESS: "/ping answers"}),
    ]
    return [
        _graph(shown, "the queue's memory, %", memory, stat="Maximum", most=100),
        _graph(shown, "nodes started and stopped", moves, stat="Sum", period=FIVE_MINUTES_S),
        _graph(shown, "health: 1 is well", health, stat="Minimum", most=1),
    ]
