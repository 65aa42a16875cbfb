"""Alarms on what the functions say of the stack: jobs that wait, what fails, money."""

from dataclasses import dataclass

import pulumi

from components.component import Component, Metric
from components.guardrails import STOP_PERCENT, WARN_PERCENT
from tlfif import names

SPEND_PERIOD_S = 900


@dataclass(frozen=True, kw_only=True)
class WatchArgs:
    """`topic_arn` hears of all of it; what `stop_topic_arn` leads to stops the nodes when `cap_eur`
    is spent.
    """

    stack: str
    cap_eur: float
    topic_arn: pulumi.Input[str]
    stop_topic_arn: pulumi.Input[str]


class Watch(Component):
    """What the guardian says each minute and cost_publisher each quarter of an hour, each with the
    line at which somebody is told.
    """

    def __init__(
        self, name: str, args: WatchArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self._watch_jobs()
        self._watch_failures(
            "dead-letters",
            names.METRIC_DEAD_LETTERS,
            "dead letters",
            f"A job failed {names.MAX_DELIVERIES} times and was given up; its id is in "
            f"{names.DEAD_STREAM}.",
        )
        self._watch_failures(
            "failed-boots",
            names.METRIC_FAILED_BOOTS,
            "failed boots",
            "A node was started, could take no job, and was stopped; it was paid for all the same.",
        )
        self._watch_spend()
        self.register_outputs({})

    def _metric(self, namespace: str, name: str, statistic: str, threshold: float) -> Metric:
        return {
            "namespace": namespace,
            "metric_name": name,
            "dimensions": {"Stack": self._args.stack},
            "statistic": statistic,
            "threshold": threshold,
        }

    def _watch_jobs(self) -> None:
        limit_s = names.UNSERVED_LIMIT_S
        self._alarm(
            "oldest-job",
            "age of the oldest job",
            f"A job has waited for {limit_s} s and nobody works on it; it expires after "
            f"{names.JOB_TTL_S} s.",
            [self._args.topic_arn],
            **self._metric(names.NAMESPACE_QUEUE, names.METRIC_OLDEST_JOB_S, "Maximum", limit_s),
            period=60,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )

    def _watch_failures(self, role: str, metric: str, what: str, description: str) -> None:
        """Rings for each: none of them is usual."""
        self._alarm(
            role,
            what,
            description,
            [self._args.topic_arn],
            **self._metric(names.NAMESPACE_QUEUE, metric, "Sum", 1),
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )

    def _watch_spend(self) -> None:
        """Two lines of one metric. The first also tells that nobody publishes it, so that
        cost_publisher needs no alarm of its own; the second stops the nodes, and stays as it is
        while nothing comes.
        """
        topic, cap = self._args.topic_arn, self._args.cap_eur
        warn, stop = (round(cap * percent / 100, 2) for percent in (WARN_PERCENT, STOP_PERCENT))
        self._alarm(
            "spend-warns",
            f"{WARN_PERCENT} % of the cap",
            f"{WARN_PERCENT} % of the month's {cap:g} EUR are spent; or nobody has said for half "
            "an hour how much is.",
            [topic],
            **self._metric(names.NAMESPACE_COST, names.METRIC_CURRENT_SPEND_EUR, "Maximum", warn),
            period=SPEND_PERIOD_S,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="missing",
        )
        self._alarm(
            "spend-stops",
            "the cap",
            f"The month's {cap:g} EUR are spent: the nodes stop, and nothing starts until the "
            "month ends.",
            [topic],
            acting=[self._args.stop_topic_arn],
            **self._metric(names.NAMESPACE_COST, names.METRIC_CURRENT_SPEND_EUR, "Maximum", stop),
            period=SPEND_PERIOD_S,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="ignore",
        )
