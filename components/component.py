"""What every component is: the parent of its resources, which says what they cost."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, NotRequired, TypedDict, Unpack

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing
from components.pricing import CostLine
from tlfif.money.counting import Function


class ChildOptions(TypedDict, total=False):
    """What a component may ask of Pulumi for one child."""

    depends_on: Sequence[pulumi.Resource]
    ignore_changes: list[str]
    replace_on_changes: list[str]
    delete_before_replace: bool
    custom_timeouts: pulumi.CustomTimeouts


class Metric(TypedDict):
    """Which metric an alarm looks at, and at which value, in CloudWatch's own terms."""

    namespace: str
    metric_name: str
    dimensions: Mapping[str, pulumi.Input[str]]
    statistic: NotRequired[str]
    extended_statistic: NotRequired[str]
    evaluate_low_sample_count_percentiles: NotRequired[str]
    threshold: float


class AlarmRule(Metric):
    """When an alarm rings; `period` is in seconds."""

    period: int
    evaluation_periods: int
    datapoints_to_alarm: NotRequired[int]
    comparison_operator: Literal["GreaterThanOrEqualToThreshold", "LessThanThreshold"]
    # `missing` where somebody should always say something: topics hear when nobody does any more. A
    # new alarm has no data either, but nothing has changed then, and nobody is told. `breaching`
    # would ring at every first deployment.
    treat_missing_data: Literal["missing", "notBreaching", "ignore"]


class Alarm(NamedTuple):
    """An alarm of a component, for whoever shows it: its logical name, what it looks at, from where
    on it rings, and that line's caption.
    """

    name: str
    arn: pulumi.Output[str]
    namespace: str
    metric: str
    threshold: float
    caption: str


class ServiceRole(NamedTuple):
    """A role, and what grants it something: wait for that where AWS checks it at once."""

    role: aws.iam.Role
    policies: list[pulumi.Resource]


class Component(pulumi.ComponentResource):
    """A component of the type `tl-fif:components:<class name>`; its children are `<name>-<role>`.

    `cost_lines` and `alarms` have those of its own resources and of the components inside it,
    `functions` and `log_groups` what of them the meter counts.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"tl-fif:components:{type(self).__name__}", name, None, opts)
        self._name = name
        self._around = opts.parent if opts and isinstance(opts.parent, Component) else None
        self.cost_lines: list[CostLine] = []
        self.functions: list[Function] = []
        self.log_groups: list[str] = []
        self.alarms: list[Alarm] = []

    def _child(self, **options: Unpack[ChildOptions]) -> pulumi.ResourceOptions:
        """A child's options. Not by `merge`, which would hand the child to the caller's parent."""
        return pulumi.ResourceOptions(parent=self, **options)

    def _bill(self, *lines: CostLine) -> None:
        """Counts what resources of this component cost, here and in the components around it."""
        self.cost_lines += lines
        if self._around:
            self._around._bill(*lines)

    def _count(self, *, log_group: str, function: Function | None = None) -> None:
        """Has the meter count a log group, and a function, for this component and those around."""
        self.log_groups.append(log_group)
        self.functions += [function] if function else []
        if self._around:
            self._around._count(log_group=log_group, function=function)

    def _role(
        self,
        service: str,
        *statements: iam.Statement,
        role: str = "",
        managed: Mapping[str, str] | None = None,
    ) -> ServiceRole:
        """A role that one AWS service takes: with these statements, and with AWS's own policies.

        `managed` is the logical name's last part of each attachment and the policy's ARN.
        """
        prefix = f"{self._name}-{role}" if role else self._name
        made = aws.iam.Role(
            f"{prefix}-role",
            assume_role_policy=iam.text(iam.trust(service)),
            opts=self._child(),
        )
        policies: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{prefix}-{what}", role=made.name, policy_arn=arn, opts=self._child()
            )
            for what, arn in (managed or {}).items()
        ]
        if statements:
            policies.append(self._grant(f"{prefix}-policy", made, *statements))
        return ServiceRole(made, policies)

    def _grant(
        self, logical_name: str, role: aws.iam.Role, *statements: iam.Statement
    ) -> aws.iam.RolePolicy:
        return aws.iam.RolePolicy(
            logical_name, role=role.name, policy=iam.text(*statements), opts=self._child()
        )

    def _alarm(
        self,
        role: str,
        what: str,
        description: str,
        topics: Sequence[pulumi.Input[str]],
        *,
        acting: Sequence[pulumi.Input[str]] = (),
        **rule: Unpack[AlarmRule],
    ) -> aws.cloudwatch.MetricAlarm:
        """An alarm that tells `topics` (ARNs) when it rings, when all is well again and, where data
        should always come, when none does; `acting` hear only that it rings, and act.

        `what` is its line of the bill, `description` what somebody reads who is woken. What to do
        then is in docs/runbook.md, under its logical name.
        """
        name = f"{self._name}-{role}"
        silent = [*topics] if rule["treat_missing_data"] == "missing" else None
        alarm = aws.cloudwatch.MetricAlarm(
            name,
            alarm_description=f"{description} What to do: docs/runbook.md, {name}.",
            alarm_actions=[*acting, *topics],
            ok_actions=[*topics],
            insufficient_data_actions=silent,
            opts=self._child(),
            **rule,
        )
        self._note_alarm(
            Alarm(
                name,
                alarm.arn,
                rule["namespace"],
                rule["metric_name"],
                rule["threshold"],
                what,
            )
        )
        self._bill(pricing.line("alarm", 1, f"alarm: {what}", resource=billed.ALARM))
        return alarm

    def _note_alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)
        if self._around:
            self._around._note_alarm(alarm)


def alarms_of(parts: Sequence[Component]) -> list[Alarm]:
    """All their alarms, in their order."""
    return [alarm for part in parts for alarm in part.alarms]
