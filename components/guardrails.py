"""What keeps the bill under the cap: a monthly budget that speaks up in time."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.component import Component
from tlfif.names import ENV_TAG, ENV_VALUE

WARN_PERCENT, STOP_PERCENT = 75, 100


@dataclass(frozen=True, kw_only=True)
class GuardrailsArgs:
    """`cap_usd` is the month's cap in USD; `by_tag` counts only what is tagged as this product's.

    `topic_arn` is told.
    """

    stack: str
    cap_usd: float
    by_tag: bool
    topic_arn: pulumi.Input[str]


class Guardrails(Component):
    """A budget in USD, the account's currency, that speaks up at 75 % and 100 % of the cap."""

    def __init__(
        self, name: str, args: GuardrailsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.budget = self._create_budget()
        self.register_outputs({"budget_name": self.budget.name})

    def _create_budget(self) -> aws.budgets.Budget:
        ours = aws.budgets.BudgetCostFilterArgs(
            name="TagKeyValue", values=[f"user:{ENV_TAG}${ENV_VALUE}"]
        )
        return aws.budgets.Budget(
            f"{self._name}-budget",
            name=f"tl-fif-{self._args.stack}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{self._args.cap_usd:.2f}",
            limit_unit="USD",
            cost_filters=[ours] if self._args.by_tag else None,
            notifications=[self._notification(percent) for percent in (WARN_PERCENT, STOP_PERCENT)],
            opts=self._child(),
        )

    def _notification(self, percent: int) -> aws.budgets.BudgetNotificationArgs:
        return aws.budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            notification_type="ACTUAL",
            threshold=percent,
            threshold_type="PERCENTAGE",
            subscriber_sns_topic_arns=[self._args.topic_arn],
        )
