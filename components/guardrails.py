"""What keeps the bill under the cap, and the promises made: a monthly budget, and the guardian."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.alerts import Alerts
from components.fleet import Fleet
from components.guardian import Guardian, GuardianArgs
from tlfif.names import ENV_TAG, ENV_VALUE

WARN_PERCENT, STOP_PERCENT = 75, 100


@dataclass(frozen=True, kw_only=True)
class GuardrailsArgs:
    fleet: Fleet
    alerts: Alerts


class Guardrails(pulumi.ComponentResource):
    """A budget in USD, the account's currency, that speaks up at 75 % and 100 % of the cap."""

    def __init__(
        self, name: str, args: GuardrailsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Guardrails", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._create_budget()
        self.guardian = Guardian(
            "guardian", GuardianArgs(fleet=args.fleet, alerts=args.alerts), opts=self._child
        )
        self.cost_lines = self.guardian.cost_lines
        self.register_outputs({})

    def _create_budget(self) -> None:
        fleet = self._args.fleet
        by_tag = [
            aws.budgets.BudgetCostFilterArgs(
                name="TagKeyValue", values=[f"user:{ENV_TAG}${ENV_VALUE}"]
            )
        ]
        aws.budgets.Budget(
            f"{self._name}-budget",
            name=f"tl-fif-{fleet.stack}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{fleet.settings.cap_usd:.2f}",
            limit_unit="USD",
            cost_filters=by_tag if fleet.settings.budget.scope == "tag" else None,
            notifications=[self._notification(percent) for percent in (WARN_PERCENT, STOP_PERCENT)],
            # Budgets tries the topic when it is named.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._args.alerts.topic_policy]),
        )

    def _notification(self, percent: int) -> aws.budgets.BudgetNotificationArgs:
        return aws.budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            notification_type="ACTUAL",
            threshold=percent,
            threshold_type="PERCENTAGE",
            subscriber_sns_topic_arns=[self._args.alerts.topic.arn],
        )
