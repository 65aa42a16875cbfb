"""The stack's bucket: private, encrypted, TLS only, and emptied by itself of all but weights."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing, resource_policies
from components.component import Component
from components.pricing import CostLine
from tlfif import names

REPLY_DAYS = 7
# Where a canary writes what it finds.
FINDINGS = "canary"
# How many days what is below each prefix is kept. Weights are not among them: those of another hash
# stay too, so that the way back to them costs nothing but their 2 cents a month.
KEPT_DAYS = {names.REPLIES: REPLY_DAYS, FINDINGS: REPLY_DAYS, names.INCOMING: 1}
# An upload in parts that has not become an object by then never will.
UPLOAD_DAYS = 1
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


class Storage(Component):
    """One bucket for what workers answer, which expires, and for the weights that they answer
    with.
    """

    def __init__(
        self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        # Replies expire anyway and weights can be had again, so `pulumi destroy` need not stop at a
        # bucket that still holds some.
        self.bucket = aws.s3.Bucket(f"{name}-replies", force_destroy=True, opts=self._child())
        settings = [*self._keep_private(), self._encrypt(), self._expire()]
        # Their URNs are known in a preview, too: a new setting makes nothing else uncertain.
        known = pulumi.Output.all(self.bucket.bucket, *[each.urn for each in settings])
        self.replies = RepliesBucket(known.apply(lambda all_: all_[0]), self.bucket.arn)
        self._bill(*_cost_lines(args.requests_per_month))
        self.register_outputs({"bucket": self.bucket.bucket})

    def _keep_private(self) -> tuple[pulumi.Resource, pulumi.Resource]:
        block = aws.s3.BucketPublicAccessBlock(
            f"{self._name}-private",
            bucket=self.bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child(),
        )
        policy = aws.s3.BucketPolicy(
            f"{self._name}-tls-only",
            bucket=self.bucket.bucket,
            policy=iam.text(resource_policies.tls_only(self.bucket.arn)),
            # S3 refuses two changes of a bucket's access at the same time.
            opts=self._child(depends_on=[block]),
        )
        return block, policy

    def _encrypt(self) -> pulumi.Resource:
        return aws.s3.BucketServerSideEncryptionConfiguration(
            f"{self._name}-encrypted",
            bucket=self.bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=self._child(),
        )

    def _expire(self) -> pulumi.Resource:
        return aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-expiry",
            bucket=self.bucket.bucket,
            # Put as a whole, so that a stack with other rules gets these in place.
            rules=[*(_expiring(prefix, days) for prefix, days in KEPT_DAYS.items()), _ENDING],
            opts=self._child(),
        )


_ENDING: aws.s3.BucketLifecycleConfigurationRuleArgsDict = {
    "id": "end-uploads",
    "status": "Enabled",
    "filter": {"prefix": ""},
    "abort_incomplete_multipart_upload": {"days_after_initiation": UPLOAD_DAYS},
}


def _expiring(prefix: str, days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgsDict:
    return {
        "id": f"expire-{prefix}",
        "status": "Enabled",
        "filter": {"prefix": f"{prefix}/"},
        "expiration": {"days": days},
    }


def _cost_lines(requests: int) -> list[CostLine]:
    jobs = requests / REQUESTS_PER_JOB
    kept = jobs * REPLY_GB * REPLY_DAYS / 30
    return [
        pricing.line("S3 write", jobs * WRITES_PER_JOB, "replies: writes", resource=billed.BUCKET),
        pricing.line("S3 read", requests - jobs, "replies: reads", resource=billed.BUCKET),
        pricing.line("S3 storage", kept, "replies: what is kept", resource=billed.BUCKET),
    ]
