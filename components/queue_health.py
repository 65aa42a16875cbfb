"""GET /queue-health: the function behind it, and the alarm that says the queue is not well
(RED-004).
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import pricing
from components.alerts import Alerts
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, VpcPlacement
from components.queue import Queue
from tlfif import environment, names

TIMEOUT_S = 5
MEMORY_MB = 256


@dataclass(frozen=True, kw_only=True)
class QueueHealthArgs:
    stack: str
    queue: Queue
    vpc: VpcPlacement
    alerts: Alerts


class QueueHealth(pulumi.ComponentResource):
    """The alarm rings when each of two periods of five minutes had a failure."""

    def __init__(
        self, name: str, args: QueueHealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:QueueHealth", name, None, opts)
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="queue_health",
                stack=args.stack,
                timeout_s=TIMEOUT_S,
                memory_mb=MEMORY_MB,
                environment=environment.QueueHealth.variables(stack=args.stack, **args.queue.told),
                vpc=args.vpc,
                usual_ms=5,
                starts_traces=False,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.cloudwatch.MetricAlarm(
            f"{name}-fails",
            alarm_description="The queue does not answer a ping, or not within 200 ms; or nobody asks it.",
            namespace=names.NAMESPACE_QUEUE,
            metric_name=names.METRIC_QUEUE_HEALTHY,
            dimensions={"Stack": args.stack},
            statistic="Minimum",
            period=300,
            evaluation_periods=2,
            threshold=1,
            comparison_operator="LessThanThreshold",
            treat_missing_data="breaching",
            alarm_actions=[args.alerts.topic.arn],
            ok_actions=[args.alerts.topic.arn],
            opts=pulumi.ResourceOptions(parent=self),
        )
        alarm = pricing.line("alarm", 1, "alarm: the queue's health", resource=pricing.ALARM)
        self.cost_lines = [*self.function.cost_lines, alarm]
        self.register_outputs({"function_arn": self.function.function.arn})
