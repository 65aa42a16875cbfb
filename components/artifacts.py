"""The pipeline's bucket: what its stages hand on, and what people read of them for a while."""

from dataclasses import dataclass

import pulumi

from components import billed, pricing
from components.pricing import CostLine
from components.private_bucket import PrivateBucket

COVERAGE, SMOKE = "coverage", "smoke"
# Of two rules for one object the one that ends it first counts.
KEPT_DAYS = {COVERAGE: 7, SMOKE: 7, "": 14}
# A page of HTML a module, and what the stages hand on.
FILES_PER_PUSH, GB_PER_PUSH = 400, 0.02


@dataclass(frozen=True, kw_only=True)
class ArtifactsArgs:
    """`pushes_per_month` is how many runs of the pipeline the estimate assumes."""

    pushes_per_month: int


class Artifacts(PrivateBucket):
    """Coverage and smoke tests for a week, what else the pipeline keeps for two."""

    def __init__(
        self, name: str, args: ArtifactsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._make_bucket(f"{name}-bucket", KEPT_DAYS)
        self._bill(*_cost_lines(args.pushes_per_month))
        self.register_outputs({"bucket": self.bucket.bucket})


def _cost_lines(pushes: int) -> list[CostLine]:
    writes, kept, key = pushes * FILES_PER_PUSH, pushes * GB_PER_PUSH / 2, "costs:pushesPerMonth"
    what = "the pipeline's artefacts"
    return [
        pricing.line("S3 write", writes, what, resource=billed.BUCKET, key=key),
        pricing.line("S3 storage", kept, f"{what}, kept", resource=billed.BUCKET, key=key),
    ]
