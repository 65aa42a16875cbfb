"""The router: the function behind /infer, /stop and /status."""

from dataclasses import dataclass

import pulumi

from components import pricing
from components.access import FleetAccess
from components.component import Component
from components.lambda_function import (
    DUALSTACK,
    LambdaFunction,
    LambdaFunctionArgs,
    VpcPlacement,
)
from components.settings import Settings
from tlfif import environment
from tlfif.names import BACKLOG_PER_NODE

# Every dependency's failure is answered within 2 s; the rest is a cold start.
TIMEOUT_S = 10
SAMPLES_TIMEOUT_S, SAMPLE_DAYS, SAMPLE_MINUTES = 5, 1, 5


@dataclass(frozen=True, kw_only=True)
class RouterArgs:
    """`fleet` is what it acts on; `user_pool_id` and `client_id` say whose tokens are good."""

    settings: Settings
    fleet: FleetAccess
    vpc: VpcPlacement
    user_pool_id: pulumi.Input[str]
    client_id: pulumi.Input[str]


class Router(Component):
    """Admits jobs to the queue and wakes the nodes; it may start and stop only this stack's."""

    def __init__(
        self, name: str, args: RouterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        fleet = args.fleet
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="router",
                stack=fleet.stack,
                timeout_s=TIMEOUT_S,
                environment={**self._variables(), **DUALSTACK},
                statements=fleet.statements,
                vpc=args.vpc,
                versioned=True,
                pipeline=args.settings.delivery.has_pipeline,
                monthly_calls=args.settings.costs.requests_per_month,
                starts_traces=False,
            ),
            opts=self._child(),
        )
        self._create_payload_samples()
        self.register_outputs({"function_arn": self.function.function.arn})

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        settings = self._args.settings
        lane = {"lane_eur_per_hour": round(settings.lane_eur_per_hour, 4)}
        return environment.Router.variables(
            **self._args.fleet.fields,
            user_pool_id=self._args.user_pool_id,
            client_id=self._args.client_id,
            backlog_cap=BACKLOG_PER_NODE * (settings.gpu.count if settings.gpu.has_nodes else 1),
            idle_minutes=settings.gpu.idle_minutes,
            cap_eur=settings.budget.cap_eur,
            **(lane if settings.cpu.enabled else {}),
        )

    def _create_payload_samples(self) -> None:
        """Writes what the router sampled to a log group that keeps it for a day (LAM-005)."""
        fleet = self._args.fleet
        samples = LambdaFunction(
            f"{self._name}-payload-samples",
            LambdaFunctionArgs(
                source="payload_samples",
                stack=fleet.stack,
                timeout_s=SAMPLES_TIMEOUT_S,
                memory_mb=256,
                environment=environment.Queue.variables(**fleet.queue),
                vpc=self._args.vpc,
                log_days=SAMPLE_DAYS,
                monthly_calls=pricing.MINUTES // SAMPLE_MINUTES,
                usual_ms=10,
                traced=False,
            ),
            opts=self._child(),
        )
        samples.run_every(f"{SAMPLE_MINUTES} minutes")
