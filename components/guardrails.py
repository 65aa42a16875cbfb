"""What keeps the bill under the cap: a monthly budget that speaks up before it is spent."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, pricing
from components.settings import Settings
from tlfif.names import ENV_TAG, ENV_VALUE

ASSUMED_MAILS = 20
WARN_PERCENT, STOP_PERCENT = 75, 100


@dataclass(frozen=True, kw_only=True)
class GuardrailsArgs:
    settings: Settings
    stack: str
    account_id: str


class Guardrails(pulumi.ComponentResource):
    """A budget in USD, the account's currency, that publishes to a topic at 75 % and 100 % of the cap."""

    def __init__(self, name: str, args: GuardrailsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tl-fif:components:Guardrails", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        # Not encrypted with SNS's default key: with that neither Budgets nor alarms can publish.
        self.topic = aws.sns.Topic(f"{name}-alerts", opts=self._child)
        policy = aws.sns.TopicPolicy(
            f"{name}-alerts-policy",
            arn=self.topic.arn,
            policy=pulumi.Output.json_dumps(
                iam.document(iam.publish_from("budgets.amazonaws.com", self.topic.arn, args.account_id))
            ),
            opts=self._child,
        )
        self._subscribe()
        self._create_budget(policy)
        mails = pricing.line("mail", ASSUMED_MAILS, "warnings by mail", resource=pricing.SUBSCRIPTION)
        self.cost_lines = [mails] if args.settings.alerts.email else []
        self.register_outputs({"topic_arn": self.topic.arn})

    def _subscribe(self) -> None:
        email = self._args.settings.alerts.email
        if email is not None:
            aws.sns.TopicSubscription(
                f"{self._name}-email", topic=self.topic.arn, protocol="email", endpoint=email, opts=self._child
            )

    def _create_budget(self, policy: aws.sns.TopicPolicy) -> None:
        by_tag = [aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:{ENV_TAG}${ENV_VALUE}"])]
        aws.budgets.Budget(
            f"{self._name}-budget",
            name=f"tl-fif-{self._args.stack}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{self._args.settings.cap_usd:.2f}",
            limit_unit="USD",
            cost_filters=by_tag if self._args.settings.budget.scope == "tag" else None,
            notifications=[self._notification(percent) for percent in (WARN_PERCENT, STOP_PERCENT)],
            # Budgets tries the topic when it is named.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

    def _notification(self, percent: int) -> aws.budgets.BudgetNotificationArgs:
        return aws.budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            notification_type="ACTUAL",
            threshold=percent,
            threshold_type="PERCENTAGE",
            subscriber_sns_topic_arns=[self.topic.arn],
        )
