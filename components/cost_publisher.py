"""What the month has cost, as a metric, every 15 minutes (OPS-002)."""

from dataclasses import dataclass

import pulumi

from components import billed, iam, pricing, surfaces
from components.component import Component
from components.gateway import Gateway
from components.lambda_function import LambdaFunction, LambdaFunctionArgs
from components.rest_api import STAGE
from components.settings import Settings
from components.storage import RepliesBucket
from tlfif import environment
from tlfif.money.documents import Billed

# The story's.
TIMEOUT_S = 3
EVERY, CALLS_PER_MONTH, USUAL_MS = "15 minutes", 4 * pricing.HOURS, 400
FAILURES, WITHIN_S = 3, 3600


@dataclass(frozen=True, kw_only=True)
class CostPublisherArgs:
    """`budget_name` is the budget that is asked what AWS has billed; `topic_arn` hears when the
    function fails; `stop_topic_arn` is where the nodes are stopped when the guardian is dead, and
    `gateway` what is closed when the meter is.
    """

    settings: Settings
    stack: str
    account_id: str
    budget_name: pulumi.Input[str]
    bucket: RepliesBucket
    gateway: Gateway
    topic_arn: pulumi.Input[str]
    stop_topic_arn: pulumi.Input[str]


class CostPublisher(Component):
    """A function outside the VPC: neither Budgets nor Cost Explorer is reached over IPv6."""

    def __init__(
        self, name: str, args: CostPublisherArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        source, stack, gpu = "cost_publisher", args.stack, args.settings.gpu
        told = environment.CostPublisher.variables(
            stack=stack,
            replies_bucket=args.bucket.name,
            gpu_count=gpu.count if gpu.has_nodes else 0,
            account_id=args.account_id,
            budget_name=args.budget_name,
            api_id=args.gateway.api.id,
            stage=STAGE,
            cost_source=args.settings.costs.source,
            cost_scope=args.settings.budget.scope,
            stop_topic_arn=args.stop_topic_arn,
        )
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source=source,
                stack=stack,
                timeout_s=TIMEOUT_S,
                environment=told,
                statements=[
                    iam.read_budget(args.account_id, args.budget_name),
                    iam.explore_costs(),
                    *([iam.describe_nodes()] if gpu.has_nodes else []),
                    iam.read_money(args.bucket.arn),
                    iam.see_missing(args.bucket.arn),
                    iam.write_money(args.bucket.arn, Billed.KEY),
                    iam.ask_for_stop(args.stop_topic_arn),
                    iam.throttle_stage(args.gateway.stage.arn),
                ],
                monthly_calls=CALLS_PER_MONTH,
                usual_ms=USUAL_MS,
                traced=False,
            ),
            opts=self._child(),
        )
        self.function.run_every(EVERY)
        self._alarm(
            "fails",
            "the cost publisher fails",
            "The cost publisher fails: CurrentSpendEUR is old, and no alarm on it can ring.",
            [args.topic_arn],
            **self.function.failures(FAILURES),
            period=WITHIN_S,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )
        asks = _explorer_requests(args.settings)
        often = "every 15 minutes" if asks > 31 else "once a day"
        self._bill(
            pricing.line(
                "Cost Explorer request",
                asks,
                f"spend metric asks Cost Explorer {often}",
                resource=billed.FUNCTION,
                key="costs:source",
            )
        )
        self._bill(*surfaces.document_lines(source, CALLS_PER_MONTH))
        self.register_outputs({"function_arn": self.function.function.arn})


def _explorer_requests(settings: Settings) -> int:
    """How often a month Cost Explorer is asked."""
    return CALLS_PER_MONTH if settings.costs.source == "costExplorer" else 31
