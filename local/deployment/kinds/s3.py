"""Buckets and their settings, made in moto."""

import json

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, tags, without
from recording import kinds


@makes(kinds.s3.BUCKET)
def _bucket(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    s3 = moto.client("s3")
    bucket = inputs.get("bucket", name)
    # us-east-1 is the one region that may not be named.
    if moto.region == "us-east-1":
        s3.create_bucket(Bucket=bucket)
    else:
        where = {"LocationConstraint": moto.region}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    if inputs.get("tags"):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags(inputs)})
    return {"id": bucket, "bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}


@makes(kinds.s3.BUCKET_POLICY)
def _bucket_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    # moto judges every request by the policy but knows no conditions: "deny what is not TLS" would
    # deny everything.
    policy = json.loads(inputs["policy"])
    statements = [each for each in policy["Statement"] if "Condition" not in each]
    if statements:
        moto.client("s3").put_bucket_policy(
            Bucket=inputs["bucket"], Policy=json.dumps({**policy, "Statement": statements})
        )
    return {"id": inputs["bucket"]}


@makes(kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK)
def _bucket_public_access_block(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_public_access_block(
        Bucket=inputs["bucket"], PublicAccessBlockConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


@makes(kinds.s3.BUCKET_ENCRYPTION)
def _bucket_encryption(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_encryption(
        Bucket=inputs["bucket"], ServerSideEncryptionConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


@makes(kinds.s3.BUCKET_LIFECYCLE)
def _bucket_lifecycle(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_lifecycle_configuration(
        Bucket=inputs["bucket"], LifecycleConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}
