"""What keeps the bill under the cap though our own count fails: AWS's monthly budget, and the
function that stops the stack when it is spent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam
from components.access import FleetAccess
from components.component import Component
from components.lambda_function import (
    DUALSTACK,
    LambdaFunction,
    LambdaFunctionArgs,
    VpcPlacement,
)
from tlfif import environment
from tlfif.money.documents import Latch
from tlfif.names import ENV_TAG, ENV_VALUE

WARN_PERCENT, STOP_PERCENT = 75, 100
# A node that is pending can be stopped only when it runs.
KILLER_TIMEOUT_S, KILLER_MS = 60, 5_000
# Budgets and the spend alarm say it once a month each, and Lambda tries a failed call twice more.
KILLER_CALLS = 6


@dataclass(frozen=True, kw_only=True)
class GuardrailsArgs:
    """`cap_usd` is the month's cap in USD; `by_tag` counts only what is tagged as this product's.

    `fleet` is what is stopped. `topic_arn` is told in time, `stop_arn` when the cap is reached, and
    what comes there stops the stack; `failure_arns` hear when it does not.
    """

    fleet: FleetAccess
    vpc: VpcPlacement
    cap_usd: float
    by_tag: bool
    topic_arn: pulumi.Input[str]
    stop_arn: pulumi.Input[str]
    failure_arns: Sequence[pulumi.Input[str]]


class Guardrails(Component):
    """A budget in USD, the account's currency, that speaks up at 75 % of the cap, and at 100 % to
    the function that stops every node and latches them (OPS-003).
    """

    def __init__(
        self, name: str, args: GuardrailsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.killer = self._create_killer()
        hears = self._subscribe()
        self.budget = self._create_budget(hears)
        self._ring_when_it_fails()
        self.register_outputs({"budget_name": self.budget.name})

    def _create_killer(self) -> LambdaFunction:
        fleet = self._args.fleet
        where = (fleet.region, fleet.account_id, fleet.stack)
        told = environment.BudgetKiller.variables(
            stack=fleet.stack, replies_bucket=fleet.replies_bucket.name, **fleet.queue
        )
        nodes = [iam.stop_nodes(*where), iam.latch_nodes(*where, lift=False)]
        return LambdaFunction(
            f"{self._name}-killer",
            LambdaFunctionArgs(
                source="budget_killer",
                stack=fleet.stack,
                timeout_s=KILLER_TIMEOUT_S,
                environment={**told, **DUALSTACK},
                statements=[
                    iam.describe_nodes(),
                    *(nodes if fleet.gpu.has_nodes else []),
                    iam.write_money(fleet.replies_bucket.arn, Latch.KEY),
                ],
                vpc=self._args.vpc,
                monthly_calls=KILLER_CALLS,
                usual_ms=KILLER_MS,
                traced=False,
            ),
            opts=self._child(),
        )

    def _subscribe(self) -> list[pulumi.Resource]:
        topic_arn = self._args.stop_arn
        allowed = self.killer.allow_invoke("stop", "sns.amazonaws.com", topic_arn)
        heard = aws.sns.TopicSubscription(
            f"{self._name}-stop",
            topic=topic_arn,
            protocol="lambda",
            endpoint=self.killer.function.arn,
            # From the first message on it may be called.
            opts=self._child(depends_on=[allowed]),
        )
        return [heard]

    def _create_budget(self, hears: Sequence[pulumi.Resource]) -> aws.budgets.Budget:
        args = self._args
        ours = aws.budgets.BudgetCostFilterArgs(
            name="TagKeyValue", values=[f"user:{ENV_TAG}${ENV_VALUE}"]
        )
        return aws.budgets.Budget(
            f"{self._name}-budget",
            name=f"tl-fif-{args.fleet.stack}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.cap_usd:.2f}",
            limit_unit="USD",
            cost_filters=[ours] if args.by_tag else None,
            notifications=[
                _notification(WARN_PERCENT, args.topic_arn),
                _notification(STOP_PERCENT, args.stop_arn),
            ],
            # Of an account that has spent more already it speaks up at once.
            opts=self._child(depends_on=hears),
        )

    def _ring_when_it_fails(self) -> None:
        self._alarm(
            "killer-fails",
            "the budget's stop fails",
            "The budget is spent, and the function that stops the stack failed: nodes may run on.",
            self._args.failure_arns,
            **self.killer.failures(1),
            period=60,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )


def _notification(percent: int, topic_arn: pulumi.Input[str]) -> aws.budgets.BudgetNotificationArgs:
    return aws.budgets.BudgetNotificationArgs(
        comparison_operator="GREATER_THAN",
        notification_type="ACTUAL",
        threshold=percent,
        threshold_type="PERCENTAGE",
        subscriber_sns_topic_arns=[topic_arn],
    )
