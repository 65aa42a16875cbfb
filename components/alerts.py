"""Who hears of trouble: a topic for mails, and one that wakes somebody through PagerDuty."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, pricing
from components.settings import AlertSettings

ASSUMED_MAILS = 20
PUBLISHERS = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com")


@dataclass(frozen=True, kw_only=True)
class AlertsArgs:
    settings: AlertSettings
    account_id: str


class Alerts(pulumi.ComponentResource):
    """Two topics that budgets and alarms of this account may publish to; without addresses nobody
    is told.
    """

    def __init__(
        self, name: str, args: AlertsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Alerts", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.topic, self.topic_policy = self._create_topic("mail")
        self.pager, _ = self._create_topic("pager")
        self._subscribe()
        mails = pricing.line(
            "mail", ASSUMED_MAILS, "warnings by mail", resource=pricing.SUBSCRIPTION
        )
        self.cost_lines = [mails] if args.settings.email else []
        self.register_outputs({"topic_arn": self.topic.arn, "pager_arn": self.pager.arn})

    def _create_topic(self, role: str) -> tuple[aws.sns.Topic, aws.sns.TopicPolicy]:
        # Not encrypted with SNS's default key: with that neither Budgets nor alarms can publish.
        topic = aws.sns.Topic(f"{self._name}-{role}", opts=self._child)
        statements = [
            iam.publish_from(service, topic.arn, self._args.account_id) for service in PUBLISHERS
        ]
        policy = aws.sns.TopicPolicy(
            f"{self._name}-{role}-policy",
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(iam.document(*statements)),
            opts=self._child,
        )
        return topic, policy

    def _subscribe(self) -> None:
        settings = self._args.settings
        if settings.email is not None:
            self._subscription("mail-address", self.topic, "email", settings.email)
        if settings.pager_duty_url is not None:
            # Whoever knows this address can raise an incident.
            url = pulumi.Output.secret(settings.pager_duty_url.get_secret_value())
            self._subscription("pagerduty", self.pager, "https", url)

    def _subscription(
        self, role: str, topic: aws.sns.Topic, protocol: str, endpoint: pulumi.Input[str]
    ) -> None:
        aws.sns.TopicSubscription(
            f"{self._name}-{role}",
            topic=topic.arn,
            protocol=protocol,
            endpoint=endpoint,
            # PagerDuty confirms by itself; a mail waits for its reader.
            endpoint_auto_confirms=True if protocol == "https" else None,
            opts=self._child,
        )
