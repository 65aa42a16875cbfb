"""The meter: once a minute, what the stack has used by the platform's own counters, and the API's
throttle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components import billed, bundle, iam, prices, pricing, surfaces
from components.component import Component
from components.gateway import Gateway
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, function_name
from components.rest_api import STAGE
from components.storage import RepliesBucket
from tlfif import environment, names
from tlfif.money import counting
from tlfif.money.documents import Metered

SOURCE = "meter"
FAILURES = 3
MEMORY_MB = 256
# What can cost much within minutes is asked for each minute, the rest every 15.
SLOW_MINUTES = 15


@dataclass(frozen=True, kw_only=True)
class MeterArgs:
    """`counted` are the components whose use it counts, `gateway` the one whose stage it throttles;
    what it counts goes to `replies_bucket`; `topic_arn` hears of its failures.
    """

    stack: str
    counted: Sequence[Component | None]
    gateway: Gateway
    replies_bucket: RepliesBucket
    topic_arn: pulumi.Input[str]


class Meter(Component):
    """A function on a schedule, outside the VPC: what it asks has no dual-stack hosts."""

    def __init__(
        self, name: str, args: MeterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        bucket = args.replies_bucket.arn
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source=SOURCE,
                stack=args.stack,
                timeout_s=names.SCHEDULED_TIMEOUT_S,
                memory_mb=MEMORY_MB,
                environment=self._variables(),
                statements=[
                    iam.read_metrics(),
                    iam.read_money(bucket),
                    iam.see_missing(bucket),
                    iam.write_money(bucket, Metered.KEY),
                    iam.throttle_stage(args.gateway.stage.arn),
                ],
                usual_ms=400,
                traced=False,
            ),
            opts=self._child(),
        )
        self.function.run_every("1 minute")
        self._watch()
        self._bill(*self._cost_lines())
        self.register_outputs({"function_arn": self.function.function.arn})

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        args = self._args
        functions, log_groups = self._counted()
        return environment.Meter.variables(
            replies_bucket=args.replies_bucket.name,
            api_id=args.gateway.api.id,
            api_name=args.gateway.api.name,
            stage=STAGE,
            functions=counting.pack(functions),
            log_groups=",".join(log_groups),
        )

    def _counted(self) -> tuple[list[counting.Function], list[str]]:
        """All functions and log groups of the stack: its own, too."""
        parts = [each for each in self._args.counted if each]
        name = function_name(self._args.stack, SOURCE)
        own = prices.run_time(bundle.architecture(SOURCE), MEMORY_MB, prices.FREE_DISK_MB)
        functions = [each for part in parts for each in part.functions]
        log_groups = [each for part in parts for each in part.log_groups]
        return (
            [*functions, surfaces.function(SOURCE, name, own)],
            [*log_groups, f"/aws/lambda/{name}"],
        )

    def _watch(self) -> None:
        self._alarm(
            "fails",
            "the meter fails",
            "The meter fails or is not called: nobody counts what requests cost, or closes the API "
            "when the money ends.",
            [self._args.topic_arn],
            **self.function.failures(FAILURES),
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="missing",
        )

    def _cost_lines(self) -> list[pricing.CostLine]:
        functions, log_groups = self._counted()
        # The API's three and its access log are fast, the other logs and the bucket's size slow.
        fast = 4 + sum(each.fast for each in functions)
        slow = len(log_groups) + sum(not each.fast for each in functions)
        asked = pricing.MINUTES * (fast + slow / SLOW_MINUTES)
        return [
            pricing.line("CloudWatch request", asked, "meter: counters", resource=billed.FUNCTION),
            *surfaces.document_lines("meter", pricing.MINUTES),
        ]
