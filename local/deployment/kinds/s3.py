"""Buckets and their settings, made in moto."""

import json
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, is_gone, makes, overwrites, reads, removes
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, tags, without
from recording import kinds
from recording.model import ROOT

# --- the bucket


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
    _set_tags(moto, bucket, inputs)
    return {"id": bucket, "bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}


def _set_tags(moto: Moto, bucket: str, inputs: Inputs) -> None:
    """A bucket has its tags as one set."""
    if inputs.get("tags"):
        moto.client("s3").put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags(inputs)})
    else:
        moto.client("s3").delete_bucket_tagging(Bucket=bucket)


@changes(kinds.s3.BUCKET, "tags", "forceDestroy")
def _change_bucket(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    _set_tags(moto, id_, new)
    return {}


@reads(kinds.s3.BUCKET)
def _read_bucket(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    s3 = moto.client("s3")
    s3.head_bucket(Bucket=id_)
    try:
        found = s3.get_bucket_tagging(Bucket=id_)["TagSet"]
    except ClientError as error:
        # A bucket without tags is no bucket that is gone.
        if not is_gone(error):
            raise
        found = []
    return {"bucket": id_, "tags": tag_map(found)}


@removes(kinds.s3.BUCKET)
def _remove_bucket(moto: Moto, id_: str, outputs: Outputs) -> None:
    """Raises BucketNotEmpty for what is in it, but with `forceDestroy`."""
    s3 = moto.client("s3")
    if outputs.get("forceDestroy"):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=id_):
            for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                s3.delete_object(Bucket=id_, Key=each["Key"], VersionId=each["VersionId"])
    s3.delete_bucket(Bucket=id_)


# --- its policy


def _unconditional(policy: str) -> dict[str, Any] | None:
    """What of a policy moto can have: it judges every request by it but knows no conditions, and
    "deny what is not TLS" would deny everything.
    """
    document = json.loads(policy)
    statements = [each for each in document["Statement"] if "Condition" not in each]
    return {**document, "Statement": statements} if statements else None


@makes(kinds.s3.BUCKET_POLICY)
def _bucket_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    if policy := _unconditional(inputs["policy"]):
        moto.client("s3").put_bucket_policy(Bucket=inputs["bucket"], Policy=json.dumps(policy))
    else:
        moto.client("s3").delete_bucket_policy(Bucket=inputs["bucket"])
    return {"id": inputs["bucket"]}


overwrites(kinds.s3.BUCKET_POLICY)


@reads(kinds.s3.BUCKET_POLICY)
def _read_bucket_policy(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    """As declared where moto has what it can have of it."""
    kept = _unconditional(outputs["policy"])
    if kept is None:
        moto.client("s3").head_bucket(Bucket=id_)
        return {"bucket": id_, "policy": outputs["policy"]}
    found = moto.client("s3").get_bucket_policy(Bucket=id_)["Policy"]
    same = json.loads(found) == kept
    return {"bucket": id_, "policy": outputs["policy"] if same else found}


@removes(kinds.s3.BUCKET_POLICY)
def _remove_bucket_policy(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("s3").delete_bucket_policy(Bucket=id_)


# --- settings, each put as a whole


@makes(kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK)
def _bucket_public_access_block(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_public_access_block(
        Bucket=inputs["bucket"], PublicAccessBlockConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


overwrites(kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK)


@reads(kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK)
def _read_bucket_public_access_block(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("s3").get_public_access_block(Bucket=id_)["PublicAccessBlockConfiguration"]
    return {"bucket": id_, **properties(found)}


@removes(kinds.s3.BUCKET_PUBLIC_ACCESS_BLOCK)
def _remove_bucket_public_access_block(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("s3").delete_public_access_block(Bucket=id_)


@makes(kinds.s3.BUCKET_ENCRYPTION)
def _bucket_encryption(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_encryption(
        Bucket=inputs["bucket"], ServerSideEncryptionConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


overwrites(kinds.s3.BUCKET_ENCRYPTION)


@reads(kinds.s3.BUCKET_ENCRYPTION)
def _read_bucket_encryption(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("s3").get_bucket_encryption(Bucket=id_)
    return {"bucket": id_, **properties(found["ServerSideEncryptionConfiguration"])}


@removes(kinds.s3.BUCKET_ENCRYPTION)
def _remove_bucket_encryption(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("s3").delete_bucket_encryption(Bucket=id_)


@makes(kinds.s3.BUCKET_LIFECYCLE)
def _bucket_lifecycle(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_lifecycle_configuration(
        Bucket=inputs["bucket"], LifecycleConfiguration=api(without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


overwrites(kinds.s3.BUCKET_LIFECYCLE)


@reads(kinds.s3.BUCKET_LIFECYCLE)
def _read_bucket_lifecycle(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("s3").get_bucket_lifecycle_configuration(Bucket=id_)
    return {"bucket": id_, **properties(without(found, "ResponseMetadata"))}


@removes(kinds.s3.BUCKET_LIFECYCLE)
def _remove_bucket_lifecycle(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("s3").delete_bucket_lifecycle(Bucket=id_)


# --- what the program puts into it


@makes(kinds.s3.BUCKET_OBJECT)
def _object(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    bucket, key = inputs["bucket"], inputs["key"]
    tagging = urlencode(inputs.get("tags", {}))
    content = _content(inputs)
    moto.client("s3").put_object(Bucket=bucket, Key=key, Body=content, Tagging=tagging)
    return {"id": key, "bucket": bucket, "key": key, "arn": f"arn:aws:s3:::{bucket}/{key}"}


def _content(inputs: Inputs) -> bytes:
    """The text that is told, or a file's bytes: by its path, or by what Pulumi's engine makes of
    one.
    """
    if "content" in inputs:
        return inputs["content"].encode()
    source: Any = inputs["source"]
    path = source if isinstance(source, str) else source["path"]
    return (ROOT / path).read_bytes()


overwrites(kinds.s3.BUCKET_OBJECT)


@reads(kinds.s3.BUCKET_OBJECT)
def _read_object(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    s3, named = moto.client("s3"), {"Bucket": outputs["bucket"], "Key": outputs["key"]}
    s3.head_object(**named)
    return {
        "bucket": outputs["bucket"],
        "key": outputs["key"],
        "tags": tag_map(s3.get_object_tagging(**named)["TagSet"]),
    }


@removes(kinds.s3.BUCKET_OBJECT)
def _remove_object(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("s3").delete_object(Bucket=outputs["bucket"], Key=outputs["key"])
