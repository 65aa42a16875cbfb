"""The guardian: once a minute, no live job without a node on its way, and no dead one without an
answer.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import pricing
from components.alerts import Alerts
from components.fleet import Fleet
from components.lambda_function import DUALSTACK, LambdaFunction, LambdaFunctionArgs
from tlfif import environment

# Within its minute, so that two never run at a time.
TIMEOUT_S = 50
FAILURES = 3


@dataclass(frozen=True, kw_only=True)
class GuardianArgs:
    fleet: Fleet
    alerts: Alerts


class Guardian(pulumi.ComponentResource):
    """A function in the VPC on a schedule, and an alarm for when it fails or is no longer called."""

    def __init__(
        self, name: str, args: GuardianArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Guardian", name, None, opts)
        fleet = args.fleet
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="guardian",
                stack=fleet.stack,
                timeout_s=TIMEOUT_S,
                environment={**environment.Fleet.variables(**fleet.told), **DUALSTACK},
                statements=fleet.statements,
                vpc=fleet.vpc,
                traced=False,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.function.run_every("1 minute")
        aws.cloudwatch.MetricAlarm(
            f"{name}-fails",
            alarm_description="The guardian fails or is not called: jobs may wait for a node that nobody starts.",
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": self.function.function.name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            threshold=FAILURES,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="breaching",
            alarm_actions=[args.alerts.topic.arn],
            ok_actions=[args.alerts.topic.arn],
            opts=pulumi.ResourceOptions(parent=self),
        )
        alarm = pricing.line("alarm", 1, "alarm: the guardian fails", resource=pricing.ALARM)
        self.cost_lines = [*self.function.cost_lines, alarm]
        self.register_outputs({"function_arn": self.function.function.arn})
