"""Who hears of trouble: a topic for mails, one that wakes somebody through PagerDuty, and one that
stops the stack.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing, resource_policies
from components.component import Component
from components.settings import AlertSettings

ASSUMED_MAILS = 20
PUBLISHERS = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com")


@dataclass(frozen=True, kw_only=True)
class AlertsArgs:
    """`account_id` is the account whose budgets and alarms may publish; `events` is whether rules
    of EventBridge tell people something, too.
    """

    settings: AlertSettings
    account_id: str
    events: bool = False


class Alerts(Component):
    """Three topics that budgets and alarms of this account may publish to; without addresses nobody
    is told. What comes on the third, `stop_arn`, stops the stack (components/guardrails.py).
    """

    def __init__(
        self, name: str, args: AlertsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.topic_arn = self._create_topic("mail")
        self.pager_arn = self._create_topic("pager")
        self.stop_arn = self._create_topic("stop")
        self._subscribe()
        topics = {"topic": self.topic_arn, "pager": self.pager_arn, "stop": self.stop_arn}
        self.register_outputs({f"{role}_arn": arn for role, arn in topics.items()})

    def _create_topic(self, role: str) -> pulumi.Output[str]:
        """A new topic's ARN, of its policy: Budgets tries a topic as soon as it is named."""
        # Not encrypted with SNS's default key: with that neither Budgets nor alarms can publish.
        topic = aws.sns.Topic(f"{self._name}-{role}", opts=self._child())
        statements = [
            resource_policies.publish_from(service, topic.arn, self._args.account_id)
            for service in PUBLISHERS
        ]
        if role == "mail" and self._args.events:
            statements.append(resource_policies.publish_events(topic.arn))
        return aws.sns.TopicPolicy(
            f"{self._name}-{role}-policy",
            arn=topic.arn,
            policy=iam.text(*statements),
            opts=self._child(),
        ).arn

    def _subscribe(self) -> None:
        settings = self._args.settings
        if settings.email is not None:
            self._subscription("mail-address", self.topic_arn, "email", settings.email)
            mails = "warnings by mail"
            self._bill(pricing.line("mail", ASSUMED_MAILS, mails, resource=billed.SUBSCRIPTION))
        if settings.pager_duty_url is not None:
            # Whoever knows this address can raise an incident.
            url = pulumi.Output.secret(settings.pager_duty_url.get_secret_value())
            self._subscription("pagerduty", self.pager_arn, "https", url)

    def _subscription(
        self,
        role: str,
        topic_arn: pulumi.Input[str],
        protocol: str,
        endpoint: pulumi.Input[str],
    ) -> None:
        aws.sns.TopicSubscription(
            f"{self._name}-{role}",
            topic=topic_arn,
            protocol=protocol,
            endpoint=endpoint,
            # PagerDuty confirms by itself; a mail waits for its reader.
            endpoint_auto_confirms=True if protocol == "https" else None,
            opts=self._child(),
        )
