"""A bucket that nobody reads from outside: private, encrypted, TLS only, and emptied by itself."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from components import iam, resource_policies
from components.component import Component

# An upload in parts that has not become an object by then never will.
UPLOAD_DAYS = 1


class PrivateBucket(Component):
    """The base of what has a bucket: `bucket` itself, and `known_name`, whose taker waits until the
    bucket has its settings.
    """

    def _make_bucket(self, logical_name: str, kept_days: Mapping[str, int]) -> None:
        """Makes it; what is below each prefix is kept for so many days, a prefix of "" is all."""
        # What is in it expires anyway or can be had again, so `pulumi destroy` need not stop at a
        # bucket that still holds some.
        self.bucket = aws.s3.Bucket(logical_name, force_destroy=True, opts=self._child())
        settings = [*self._keep_private(), self._encrypt(), self._expire(kept_days)]
        # Their URNs are known in a preview, too: a new setting makes nothing else uncertain.
        known = pulumi.Output.all(self.bucket.bucket, *[each.urn for each in settings])
        self.known_name = known.apply(lambda all_: all_[0])

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

    def _expire(self, kept_days: Mapping[str, int]) -> pulumi.Resource:
        return aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-expiry",
            bucket=self.bucket.bucket,
            # Put as a whole, so that a stack with other rules gets these in place.
            rules=[*(_expiring(prefix, days) for prefix, days in kept_days.items()), _ENDING],
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
        "id": f"expire-{prefix or 'all'}",
        "status": "Enabled",
        "filter": {"prefix": f"{prefix}/" if prefix else ""},
        "expiration": {"days": days},
    }
