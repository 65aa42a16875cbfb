"""What is kept, and for how long: logs, buckets and secrets."""

import re
from collections.abc import Mapping
from typing import Any

from support.sweeps.rule import strings, sweep

from components.billed import BUCKET, FUNCTION, LOG_GROUP
from recording.model import Recording

_SECRET_VALUES = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|hooks\.slack\.com/services/|xox[bp]-|gh[pousr]_[A-Za-z0-9]{20}|"
    r"events\.pagerduty\.com/integration/[0-9a-f]{16}|://[^/\s:@]+:[^/\s@]+@"
)
_SECRET_NAMES = re.compile(
    r"(password|secret|private_?key|api_?key|webhook|auth_?token)$", re.IGNORECASE
)


@sweep
def log_groups_have_a_retention(recording: Recording) -> list[str]:
    return [
        group.name
        for group in recording.of_type(LOG_GROUP)
        if not group.inputs.get("retentionInDays")
    ]


@sweep
def functions_log_to_a_group_of_ours(recording: Recording) -> list[str]:
    groups = {group.inputs["name"] for group in recording.of_type(LOG_GROUP)}
    functions = recording.of_type(FUNCTION)
    return [
        f.name for f in functions if f.inputs.get("loggingConfig", {}).get("logGroup") not in groups
    ]


@sweep
def buckets_are_private_encrypted_tls_only_and_expire(recording: Recording) -> list[str]:
    found: list[str] = []
    for bucket in recording.of_type(BUCKET):
        parts = {
            r.type.rpartition(":")[2]: r.inputs
            for r in recording.resources
            if r.type.startswith("aws:s3/bucket") and bucket.urn in r.dependencies
        }
        for fault, holds in _bucket_faults(parts).items():
            found += [] if holds else [f"{bucket.name}: {fault}"]
    return found


def _bucket_faults(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    block = parts.get("BucketPublicAccessBlock", {})
    rules = parts.get("BucketLifecycleConfiguration", {}).get("rules", [])
    return {
        "public access is not blocked": all(block.get(switch) for switch in switches),
        "not encrypted": bool(
            parts.get("BucketServerSideEncryptionConfiguration", {}).get("rules")
        ),
        "not TLS-only": "aws:SecureTransport" in parts.get("BucketPolicy", {}).get("policy", ""),
        "no lifecycle": any(rule["status"] == "Enabled" and "expiration" in rule for rule in rules),
    }


@sweep
def no_secret_is_in_clear(recording: Recording) -> list[str]:
    """Neither a value that looks like one, nor anything under a name that promises one."""
    places = [(r.name, r.inputs) for r in recording.resources] + [("outputs", recording.outputs)]
    return [
        f"{name}.{path}"
        for name, value in places
        for path, text in strings(value)
        if _is_secret(path, text)
    ]


def _is_secret(path: str, text: str) -> bool:
    return bool(
        _SECRET_VALUES.search(text) or (text and _SECRET_NAMES.search(path.rpartition(".")[2]))
    )
