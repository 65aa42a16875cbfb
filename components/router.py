"""The router: the function behind /infer, /stop and /status."""

from dataclasses import dataclass

import pulumi

from components import iam, pricing
from components.fleet import Fleet
from components.identity import Identity
from components.lambda_function import DUALSTACK, LambdaFunction, LambdaFunctionArgs
from tlfif import environment
from tlfif.names import BACKLOG_PER_NODE

# Every dependency's failure is answered within 2 s; the rest is a cold start.
TIMEOUT_S = 10
SAMPLES_TIMEOUT_S, SAMPLE_DAYS, SAMPLE_MINUTES = 5, 1, 5


@dataclass(frozen=True, kw_only=True)
class RouterArgs:
    fleet: Fleet
    identity: Identity


class Router(pulumi.ComponentResource):
    """Admits jobs to the queue and wakes the nodes; it may start and stop only this stack's."""

    def __init__(
        self, name: str, args: RouterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Router", name, None, opts)
        fleet = args.fleet
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="router",
                stack=fleet.stack,
                timeout_s=TIMEOUT_S,
                environment=_environment(args),
                statements=[*fleet.statements, iam.see_missing_replies(fleet.storage.bucket.arn)],
                vpc=fleet.vpc,
                versioned=True,
                monthly_calls=fleet.settings.costs.requests_per_month,
                starts_traces=False,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        samples = self._create_payload_samples(name, fleet)
        self.cost_lines = [*self.function.cost_lines, *samples.cost_lines]
        self.register_outputs({"function_arn": self.function.function.arn})

    def _create_payload_samples(self, name: str, fleet: Fleet) -> LambdaFunction:
        """Writes what the router sampled to a log group that keeps it for a day (LAM-005)."""
        samples = LambdaFunction(
            f"{name}-payload-samples",
            LambdaFunctionArgs(
                source="payload_samples",
                stack=fleet.stack,
                timeout_s=SAMPLES_TIMEOUT_S,
                memory_mb=256,
                environment=environment.Queue.variables(**fleet.queue.told),
                vpc=fleet.vpc,
                log_days=SAMPLE_DAYS,
                monthly_calls=pricing.MINUTES // SAMPLE_MINUTES,
                usual_ms=10,
                traced=False,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        samples.run_every(f"{SAMPLE_MINUTES} minutes")
        return samples


def _environment(args: RouterArgs) -> dict[str, pulumi.Input[str]]:
    settings = args.fleet.settings
    told = environment.Router.variables(
        **args.fleet.told,
        user_pool_id=args.identity.user_pool.id,
        client_id=args.identity.client.id,
        backlog_cap=BACKLOG_PER_NODE * settings.gpu.count,
        idle_minutes=settings.gpu.idle_minutes,
        cap_eur=settings.budget.cap_eur,
        gpu_eur_per_hour=round(settings.gpu_eur_per_hour, 4),
    )
    return {**told, **DUALSTACK}
