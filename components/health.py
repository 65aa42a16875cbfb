"""Is the stack well? A probe inside the VPC each minute, a canary, an alarm that wakes somebody, a
private API.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components import billed, pricing
from components.canary import Canary, CanaryArgs
from components.component import Component, Metric
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, VpcPlacement
from components.network import Network
from components.private_gateway import PrivateGateway, PrivateGatewayArgs
from components.settings import GatewaySettings
from components.storage import RepliesBucket
from tlfif import environment, names

PROBE_TIMEOUT_S = 15
SMALL_MB = 256
CANARY_MINUTES = 8 * 60
# How often a month a probe without a schedule is called, more or less.
DEPLOYMENTS = 100


@dataclass(frozen=True, kw_only=True)
class HealthArgs:
    """`api_url` is the API with its stage, `queue_health` the function behind its /queue-health.

    The checks run in `vpc`, the canary leaves its findings in `replies_bucket`, and
    `topic_arns` hear of failures. `network` is for the private API alone; `deployed_by_pipeline`
    is whether somebody asks the probe after each deployment.
    """

    settings: GatewaySettings
    region: str
    stack: str
    api_url: pulumi.Input[str]
    queue_health: LambdaFunction
    network: Network
    vpc: VpcPlacement
    replies_bucket: RepliesBucket
    topic_arns: Sequence[pulumi.Input[str]]
    deployed_by_pipeline: bool


class Health(Component):
    """GET /ping from inside the VPC every minute, three failures of five wake somebody (API-005).

    By a function that costs nothing, with a canary of CloudWatch Synthetics every eight hours,
    which is free too; or, with `gateway:probe: synthetics`, by the canary alone.
    """

    def __init__(
        self, name: str, args: HealthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        by_canary = args.settings.probe == "synthetics"
        self.canary = self._create_canary(1 if by_canary else CANARY_MINUTES)
        self.probe = (
            self._create_probe(scheduled=not by_canary)
            if args.deployed_by_pipeline or not by_canary
            else None
        )
        self._watch(_canary_metric(self.canary) if by_canary else _probe_metric(args.stack))
        # Two routes, each minute, by whichever of the two asks.
        asked = 2 * pricing.MINUTES
        self._bill(pricing.line("REST request", asked, "health checks", resource=billed.STAGE))
        private = self._create_private_gateway() if args.settings.private_endpoint else None
        self.url = private.url if private else args.api_url
        self.register_outputs({"url": self.url})

    def _create_canary(self, every_minutes: int) -> Canary:
        args = self._args
        return Canary(
            f"{self._name}-canary",
            CanaryArgs(
                stack=args.stack,
                runtime=args.settings.canary_runtime,
                every_minutes=every_minutes,
                api_url=args.api_url,
                vpc=args.vpc,
                replies_bucket=args.replies_bucket,
            ),
            opts=self._child(),
        )

    def _create_private_gateway(self) -> PrivateGateway:
        args = self._args
        return PrivateGateway(
            f"{self._name}-private",
            PrivateGatewayArgs(
                region=args.region,
                stack=args.stack,
                queue_health=args.queue_health,
                network=args.network,
            ),
            opts=self._child(),
        )

    def _create_probe(self, *, scheduled: bool) -> LambdaFunction:
        args = self._args
        told = environment.PingProbe.variables(stack=args.stack, api_url=args.api_url)
        probe = LambdaFunction(
            f"{self._name}-probe",
            LambdaFunctionArgs(
                source="ping_probe",
                stack=args.stack,
                timeout_s=PROBE_TIMEOUT_S,
                memory_mb=SMALL_MB,
                environment=told,
                vpc=args.vpc,
                monthly_calls=pricing.MINUTES if scheduled else DEPLOYMENTS,
                usual_ms=200,
                traced=False,
            ),
            opts=self._child(),
        )
        if scheduled:
            probe.run_every("1 minute")
        return probe

    def _watch(self, metric: Metric) -> None:
        self._alarm(
            "ping-fails",
            "/ping fails",
            "GET /ping failed in three of the last five minutes.",
            self._args.topic_arns,
            **metric,
            period=60,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            comparison_operator="LessThanThreshold",
            treat_missing_data="missing",
        )


def _probe_metric(stack: str) -> Metric:
    return {
        "namespace": names.NAMESPACE_API,
        "metric_name": names.METRIC_PING_SUCCESS,
        "dimensions": {"Stack": stack},
        "statistic": "Minimum",
        "threshold": 1,
    }


def _canary_metric(canary: Canary) -> Metric:
    return {
        "namespace": "CloudWatchSynthetics",
        "metric_name": "SuccessPercent",
        "dimensions": {"CanaryName": canary.canary.name},
        "statistic": "Average",
        "threshold": 100,
    }
