"""Replies written on behalf of a worker: cancelled, expired or failed jobs that none will finish.

The same rule as the worker's: one final reply per job, held by S3's conditional writes.
"""

import json
import time
from typing import Any

FINAL = ("done", "failed", "expired", "cancelled")
CALL_TIMEOUT_S = 1.5
ATTEMPTS = 5


def client(timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """An S3 client that gives up in time for the caller to answer; boto3 is imported on use."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", config=Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 1})
    )


def read(s3: Any, bucket: str, key: str) -> tuple[dict[str, Any], str] | None:
    """The reply and its ETag, or None when there is none yet. Raises botocore's errors."""
    from botocore.exceptions import ClientError

    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return json.loads(found["Body"].read()), found["ETag"]


def write_final(s3: Any, bucket: str, key: str, job_id: str, status: str, reason: str, writer: str) -> str:
    """Ends a job with `status` unless it has ended already; the status that stands.

    A worker's partial reply is replaced, keeping its text. Raises botocore's errors other than a lost race.
    """
    from botocore.exceptions import ClientError

    for attempt in range(ATTEMPTS):
        found = read(s3, bucket, key)
        if found and found[0]["status"] in FINAL:
            return found[0]["status"]
        body = _body(found[0] if found else {}, job_id, status, reason, f"{writer}/{attempt}")
        condition = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                raise
        else:
            return status
    raise TimeoutError(f"{key} changed {ATTEMPTS} times while its final reply was being written")


def _body(partial: dict[str, Any], job_id: str, status: str, reason: str, writer: str) -> bytes:
    now = int(time.time() * 1000)
    reply = {"text": "", **partial, "id": job_id, "status": status, "reason": reason, "worker": writer}
    return json.dumps({**reply, "finished_at": now, "updated_at": now}).encode()
