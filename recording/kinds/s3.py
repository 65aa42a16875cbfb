"""Buckets and their settings."""

from recording.kinds.kind import Kind

BUCKET = Kind(
    token="aws:s3/bucket:Bucket",
    shape={"id": "{name}", "bucket": "{name}", "arn": "arn:aws:s3:::{name}"},
    name_property="bucket",
)
BUCKET_POLICY = Kind(token="aws:s3/bucketPolicy:BucketPolicy")
BUCKET_PUBLIC_ACCESS_BLOCK = Kind(token="aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
BUCKET_ENCRYPTION = Kind(
    token="aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
BUCKET_LIFECYCLE = Kind(token="aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
