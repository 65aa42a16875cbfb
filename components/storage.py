"""The stack's bucket: private, encrypted, TLS only, and emptied by itself of all but weights."""

from dataclasses import dataclass

import pulumi

from components import billed, pricing
from components.pricing import CostLine
from components.private_bucket import PrivateBucket
from tlfif import names

REPLY_DAYS = 7
# Where a canary writes what it finds.
FINDINGS = "canary"
# How many days what is below each prefix is kept. Weights are not among them: those of another hash
# stay too, so that the way back to them costs nothing but their 2 cents a month.
KEPT_DAYS = {names.REPLIES: REPLY_DAYS, FINDINGS: REPLY_DAYS, names.INCOMING: 1}
# What the estimate assumes: nine polls to a job; its reply of 8 kB is written three times while it
# grows.
REQUESTS_PER_JOB, WRITES_PER_JOB, REPLY_GB = 10, 3, 8e-6


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """`requests_per_month` is how many API requests the estimate assumes."""

    requests_per_month: int


@dataclass(frozen=True)
class RepliesBucket:
    """The bucket for replies as other components need it; who takes its name waits until it is
    private, encrypted and emptied.
    """

    name: pulumi.Input[str]
    arn: pulumi.Input[str]


class Storage(PrivateBucket):
    """One bucket for what workers answer, which expires, and for the weights that they answer
    with.
    """

    def __init__(
        self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._make_bucket(f"{name}-replies", KEPT_DAYS)
        self.replies = RepliesBucket(self.known_name, self.bucket.arn)
        self._bill(*_cost_lines(args.requests_per_month))
        self.register_outputs({"bucket": self.bucket.bucket})


def _cost_lines(requests: int) -> list[CostLine]:
    jobs = requests / REQUESTS_PER_JOB
    kept = jobs * REPLY_GB * REPLY_DAYS / 30
    return [
        pricing.line("S3 write", jobs * WRITES_PER_JOB, "replies: writes", resource=billed.BUCKET),
        pricing.line("S3 read", requests - jobs, "replies: reads", resource=billed.BUCKET),
        pricing.line("S3 storage", kept, "replies: what is kept", resource=billed.BUCKET),
    ]
