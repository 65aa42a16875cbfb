"""GET /queue-health: the function behind it, and the alarm that says the queue is not well
(RED-004).
"""

from dataclasses import dataclass

import pulumi

from components.access import QueueFields
from components.component import Component
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, VpcPlacement
from tlfif import environment, names

TIMEOUT_S = 5
MEMORY_MB = 256


@dataclass(frozen=True, kw_only=True)
class QueueHealthArgs:
    """`queue` says where the queue is; `topic_arn` hears when it is not well."""

    stack: str
    queue: QueueFields
    vpc: VpcPlacement
    topic_arn: pulumi.Input[str]


class QueueHealth(Component):
    """The alarm rings when each of two periods of five minutes had a failure."""

    def __init__(
        self, name: str, args: QueueHealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="queue_health",
                stack=args.stack,
                timeout_s=TIMEOUT_S,
                memory_mb=MEMORY_MB,
                environment=environment.QueueHealth.variables(stack=args.stack, **args.queue),
                vpc=args.vpc,
                usual_ms=5,
                starts_traces=False,
            ),
            opts=self._child(),
        )
        self._alarm(
            "fails",
            "the queue's health",
            "The queue does not answer within 200 ms, refuses jobs, is nearly full, or holds jobs "
            "that nobody works on; or nobody asks it. GET /queue-health says which.",
            [args.topic_arn],
            namespace=names.NAMESPACE_QUEUE,
            metric_name=names.METRIC_QUEUE_HEALTHY,
            dimensions={"Stack": args.stack},
            statistic="Minimum",
            period=300,
            evaluation_periods=2,
            threshold=1,
            comparison_operator="LessThanThreshold",
            treat_missing_data="missing",
        )
        self.register_outputs({"function_arn": self.function.function.arn})
