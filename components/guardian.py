"""The guardian: once a minute, no live job without a node on its way, and no dead one without an
answer.
"""

from dataclasses import dataclass

import pulumi

from components import iam, pricing, surfaces
from components.access import FleetAccess
from components.component import Component
from components.lambda_function import (
    DUALSTACK,
    LambdaFunction,
    LambdaFunctionArgs,
    VpcPlacement,
)
from tlfif import environment, names
from tlfif.money import documents

FAILURES = 3


@dataclass(frozen=True, kw_only=True)
class GuardianArgs:
    """`fleet` is what it acts on; `topic_arn` hears of its failures."""

    fleet: FleetAccess
    vpc: VpcPlacement
    topic_arn: pulumi.Input[str]


class Guardian(Component):
    """A function in the VPC on a schedule; its alarm rings when it fails or is no longer called."""

    def __init__(
        self, name: str, args: GuardianArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        told = environment.Guardian.variables(
            **args.fleet.fields,
            boot_allowance_minutes=args.fleet.gpu.boot_allowance_minutes,
            max_lifetime_hours=args.fleet.gpu.max_lifetime_hours,
        )
        self.function = LambdaFunction(
            name,
            LambdaFunctionArgs(
                source="guardian",
                stack=args.fleet.stack,
                timeout_s=names.SCHEDULED_TIMEOUT_S,
                environment={**told, **DUALSTACK},
                statements=[*args.fleet.statements, *_money(args.fleet)],
                vpc=args.vpc,
                traced=False,
            ),
            opts=self._child(),
        )
        self.function.run_every("1 minute")
        self._alarm(
            "fails",
            "the guardian fails",
            "The guardian fails or is not called: jobs may wait for a node that nobody starts.",
            [args.topic_arn],
            **self.function.failures(FAILURES),
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="missing",
        )
        self._bill(*surfaces.document_lines("guardian", pricing.MINUTES))
        self.register_outputs({"function_arn": self.function.function.arn})


def _money(fleet: FleetAccess) -> list[iam.Statement]:
    """It keeps the ledger, and sets and lifts the latch."""
    where = (fleet.region, fleet.account_id, fleet.stack)
    bucket_arn = fleet.replies_bucket.arn
    latching = [iam.latch_nodes(*where, lift=True)] if fleet.gpu.has_nodes else []
    return [
        *latching,
        iam.read_money(bucket_arn),
        iam.write_money(bucket_arn, documents.Latch.KEY, documents.Ledger.KEY),
    ]
