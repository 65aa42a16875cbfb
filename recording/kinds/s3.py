"""Buckets and their settings."""

from recording.kinds.kind import Kind

BUCKET = Kind(
    token="aws:s3/bucket:Bucket",
    name_limit=63,
    name_pattern=(
        r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9][a-z0-9.-]+[a-z0-9](?<!-s3alias)(?<!--ol-s3)"
    ),
    shape={"id": "{name}", "bucket": "{name}", "arn": "arn:aws:s3:::{name}"},
    name_property="bucket",
    replaced_by=frozenset({"bucket"}),
)
BUCKET_POLICY = Kind(
    token="aws:s3/bucketPolicy:BucketPolicy",
    replaced_by=frozenset({"bucket"}),
)
BUCKET_PUBLIC_ACCESS_BLOCK = Kind(
    token="aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    replaced_by=frozenset({"bucket"}),
)
BUCKET_ENCRYPTION = Kind(
    token="aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    replaced_by=frozenset({"bucket"}),
)
BUCKET_LIFECYCLE = Kind(
    token="aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    replaced_by=frozenset({"bucket"}),
)
BUCKET_OBJECT = Kind(
    token="aws:s3/bucketObjectv2:BucketObjectv2",
    terraform="aws_s3_object",
    shape={"id": "{key}", "arn": "arn:aws:s3:::{bucket}/{key}"},
    replaced_by=frozenset({"bucket", "key"}),
)
