"""The instant lane: a function that answers from its processors while no node is ready, or without
one.
"""

from dataclasses import dataclass, replace

import pulumi

from components import billed, iam, pricing
from components.access import LANE_SOURCE, FleetAccess
from components.component import Component
from components.lambda_function import (
    DUALSTACK,
    LambdaFunction,
    LambdaFunctionArgs,
    VpcPlacement,
    cost_lines,
)
from components.pricing import CostLine
from components.settings import CpuSettings, Settings
from components.settings_model import LaneWeights
from tlfif import environment, names

# Lambda's longest.
TIMEOUT_S = 900
# What the estimate takes for an answer (see docs/costs.md): 96 tokens at 15 a second on one
# processor, and the prompt's prefill. Every fifth comes to a cold start: 670 MB of weights from S3
# at some 75 MB/s, the engine's load, Python.
COLD_S, COLD_SHARE = 12.0, 0.2
# In ranges of some 16 MB.
READS_PER_COLD_START = 42
# The key that says how many there are, and by which its monthly lines are known.
COST_KEY = "cpu:answersPerMonth"
ANSWER_S = names.LANE_WORK_MS / 1000 + COLD_S * COLD_SHARE


@dataclass(frozen=True, kw_only=True)
class CpuWorkerArgs:
    """`fleet` is the stack whose jobs it takes, by means of the `weights`."""

    settings: Settings
    weights: LaneWeights
    fleet: FleetAccess
    vpc: VpcPlacement


class CpuWorker(Component):
    """A worker in a function; whoever takes a job that wakes it calls it, asynchronously.

    It has no concurrency reserved: a new account has none to give (10 in all, of which Lambda wants
    10 unreserved). That one works at a time is held in the queue. It has no alarm either: what
    stops it from working is in /status, and the queue's alarm rings for jobs that nobody takes.
    """

    def __init__(
        self, name: str, args: CpuWorkerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        cpu, fleet = args.settings.cpu, args.fleet
        self.function = LambdaFunction(
            name,
            replace(
                _function(cpu, cpu.answers_per_month, fleet.stack),
                environment={**self._variables(), **DUALSTACK},
                statements=self._statements(),
                vpc=args.vpc,
            ),
            opts=self._child(),
        )
        # A call that could not be delivered within a minute is the guardian's, as is one that
        # failed.
        self.function.call_once()
        self._bill(
            _reads(cpu.answers_per_month), *pricing.lane_hour_lines(cpu.memory_mb, cpu.disk_mb)
        )
        self.register_outputs({"function_arn": self.function.function.arn})

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        settings, fleet = self._args.settings, self._args.fleet
        return environment.CpuWorker.variables(
            **fleet.queue,
            stack=fleet.stack,
            replies_bucket=fleet.replies_bucket.name,
            model_key=self._args.weights.key,
            model_sha256=self._args.weights.sha256,
            slots=settings.cpu.slots,
            eur_per_hour=round(settings.lane_eur_per_hour, 4),
            model=settings.model.served_name,
            context_tokens=settings.model.context_length,
        )

    def _statements(self) -> list[iam.Statement]:
        fleet, bucket = self._args.fleet, self._args.fleet.replies_bucket.arn
        return [
            iam.read_replies(bucket),
            iam.see_missing(bucket),
            iam.write_replies(bucket),
            # All of them: a right to new ones alone would come seconds after the need for it.
            iam.read_models(bucket),
            # Its successor, when its time is over; by name, for its ARN is not known before it.
            iam.call_lane(fleet.lane_arn),
        ]


def answer_lines(cpu: CpuSettings) -> list[CostLine]:
    """What one answer a month costs."""
    return [*cost_lines(_function(cpu, 1)), _reads(1)]


def _function(cpu: CpuSettings, answers: int, stack: str = "") -> LambdaFunctionArgs:
    return LambdaFunctionArgs(
        source=LANE_SOURCE,
        stack=stack,
        timeout_s=TIMEOUT_S,
        memory_mb=cpu.memory_mb,
        disk_mb=cpu.disk_mb,
        monthly_calls=answers,
        usual_ms=round(ANSWER_S * 1000),
        cost_key=COST_KEY,
        traced=False,
    )


def _reads(answers: int) -> CostLine:
    requests, what = answers * COLD_SHARE * READS_PER_COLD_START, "reads of the weights"
    return pricing.line(
        "S3 read", requests, f"{LANE_SOURCE}: {what}", resource=billed.BUCKET, key=COST_KEY
    )
