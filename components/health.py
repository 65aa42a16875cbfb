"""Is the stack well? A probe inside the VPC each minute, a canary, an alarm that wakes somebody, a
private API.
"""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import pricing
from components.alerts import Alerts
from components.canary import Canary, CanaryArgs
from components.gateway import Gateway
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, VpcPlacement
from components.network import Network
from components.private_gateway import PrivateGateway, PrivateGatewayArgs
from components.settings import Settings
from components.storage import Storage
from tlfif import environment, names

PROBE_TIMEOUT_S = 15
SMALL_MB = 256


@dataclass(frozen=True, kw_only=True)
class HealthArgs:
    settings: Settings
    stack: str
    gateway: Gateway
    network: Network
    vpc: VpcPlacement
    storage: Storage
    alerts: Alerts


class Health(pulumi.ComponentResource):
    """GET /ping from inside the VPC every minute, three failures of five wake somebody (API-005).

    By a function that costs nothing, with a canary of CloudWatch Synthetics every eight hours,
    which is free too; or, with `gateway:probe: synthetics`, by the canary alone.
    """

    def __init__(
        self, name: str, args: HealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Health", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        by_canary = args.settings.gateway.probe == "synthetics"
        self.canary = Canary(
            f"{name}-canary",
            CanaryArgs(
                stack=args.stack,
                runtime=args.settings.gateway.canary_runtime,
                every_minutes=1 if by_canary else 8 * 60,
                api_url=args.gateway.url,
                vpc=args.vpc,
                storage=args.storage,
            ),
            opts=self._child,
        )
        probe = None if by_canary else self._create_probe()
        self._create_alarm(_canary_metric(self.canary) if by_canary else _probe_metric(args.stack))
        private = self._create_private_gateway() if args.settings.gateway.private_endpoint else None
        self.url = private.url if private else args.gateway.url
        alarm = pricing.line("alarm", 1, "alarm: /ping fails", resource=pricing.ALARM)
        # Two routes, each minute, by whichever of the two asks.
        asked = pricing.line(
            "REST request", 2 * pricing.MINUTES, "health checks", resource=pricing.STAGE
        )
        optional = [line for part in (probe, private) if part for line in part.cost_lines]
        self.cost_lines = [*self.canary.cost_lines, alarm, asked, *optional]
        self.register_outputs({"url": self.url})

    def _create_private_gateway(self) -> PrivateGateway:
        args = self._args
        return PrivateGateway(
            f"{self._name}-private",
            PrivateGatewayArgs(
                region=args.settings.region,
                stack=args.stack,
                queue_health=args.gateway.queue_health.function,
                network=args.network,
            ),
            opts=self._child,
        )

    def _create_probe(self) -> LambdaFunction:
        args = self._args
        probe = LambdaFunction(
            f"{self._name}-probe",
            LambdaFunctionArgs(
                source="ping_probe",
                stack=args.stack,
                timeout_s=PROBE_TIMEOUT_S,
                memory_mb=SMALL_MB,
                environment=environment.PingProbe.variables(
                    stack=args.stack, api_url=args.gateway.url
                ),
                vpc=args.vpc,
                usual_ms=200,
                traced=False,
            ),
            opts=self._child,
        )
        probe.run_every("1 minute")
        return probe

    def _create_alarm(self, metric: dict[str, Any]) -> None:
        topics = [self._args.alerts.pager.arn, self._args.alerts.topic.arn]
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-ping-fails",
            alarm_description="GET /ping failed in three of the last five minutes.",
            **metric,
            period=60,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            comparison_operator="LessThanThreshold",
            treat_missing_data="breaching",
            alarm_actions=topics,
            ok_actions=topics,
            opts=self._child,
        )


def _probe_metric(stack: str) -> dict[str, Any]:
    return {
        "namespace": names.NAMESPACE_API,
        "metric_name": names.METRIC_PING_SUCCESS,
        "dimensions": {"Stack": stack},
        "statistic": "Minimum",
        "threshold": 1,
    }


def _canary_metric(canary: Canary) -> dict[str, Any]:
    return {
        "namespace": "CloudWatchSynthetics",
        "metric_name": "SuccessPercent",
        "dimensions": {"CanaryName": canary.canary.name},
        "statistic": "Average",
        "threshold": 100,
    }
