"""The instance metadata service, version 2: one address per instance, on the endpoint's port."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from local.aws.messages import Answer, Incoming
from local.aws.principals import Credentials

# No bucket can have such a name, so this path is never S3's.
PREFIX = "/_imds/"
MAX_TOKEN_TTL_S = 21_600
# Real ones live for hours and are renewed; the local cloud's keys do not change.
_CREDENTIALS_LIFE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class InstanceFacts:
    """What the service knows of one instance; `instance` is DescribeInstances' entry, `user_data`
    as it was given, `notice` that EC2 takes it back.
    """

    instance: Mapping[str, Any]
    region: str
    account_id: str
    user_data: str | None
    role: str | None
    credentials: Credentials | None
    notice: str | None = None


class MetadataService:
    """Answers `/latest/…` for every instance of which `facts(instance_id)` knows; that returns None
    for others.
    """

    def __init__(self, facts: Callable[[str], Awaitable[InstanceFacts | None]]):
        self._facts = facts
        self._tokens: dict[str, tuple[str, float]] = {}

    async def answer(self, incoming: Incoming) -> Answer:
        """Answers a request for `PREFIX`{instance id}/…"""
        instance_id, _, path = incoming.path.removeprefix(PREFIX).partition("/")
        if path == "latest/api/token":
            return self._token(instance_id, incoming.method, incoming.headers)
        token = incoming.headers.get("x-aws-ec2-metadata-token", "")
        owner, expires = self._tokens.get(token, ("", 0.0))
        if owner != instance_id or time.monotonic() >= expires:
            return _text(401, "Unauthorized")
        if incoming.method != "GET":
            return _text(405, "Method Not Allowed")
        facts = await self._facts(instance_id)
        text = _lookup(_tree(facts), path) if facts else None
        return _text(404, "Not Found") if text is None else _text(200, text)

    def _token(self, instance_id: str, method: str, headers: Mapping[str, str]) -> Answer:
        if method != "PUT":
            return _text(405, "Method Not Allowed")
        # Version 2 gives no token through a proxy: that is what it was made for.
        if "x-forwarded-for" in headers:
            return _text(403, "Forbidden")
        ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= MAX_TOKEN_TTL_S:
            return _text(400, "Bad Request")
        now = time.monotonic()
        self._tokens = {token: entry for token, entry in self._tokens.items() if entry[1] > now}
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (instance_id, now + int(ttl))
        return _text(200, token, (b"x-aws-ec2-metadata-token-ttl-seconds", ttl.encode()))


def _text(status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, [(b"content-type", b"text/plain"), *headers], text.encode())


def _lookup(tree: Mapping[str, str], path: str) -> str | None:
    """The text at a path, or the listing of a folder."""
    if path in tree:
        return tree[path]
    folder = path if path.endswith("/") else f"{path}/"
    below = [name.removeprefix(folder) for name in tree if name.startswith(folder)]
    # A name alone is a text, a name and a slash a folder.
    names = {"".join(rest.partition("/")[:2]) for rest in below}
    return "\n".join(sorted(names)) or None


def _tree(facts: InstanceFacts) -> dict[str, str]:
    """Path to text, of what exists for this instance."""
    known = {name: value for name, value in _metadata(facts).items() if value is not None}
    paths = {f"latest/meta-data/{name}": value for name, value in known.items()}
    identity = json.dumps(_identity(facts), indent=2)
    paths["latest/dynamic/instance-identity/document"] = identity
    if facts.user_data is not None:
        paths["latest/user-data"] = facts.user_data
    return paths


def _metadata(facts: InstanceFacts) -> dict[str, str | None]:
    instance = facts.instance
    zone = instance["Placement"]["AvailabilityZone"]
    paths = {
        "ami-id": instance["ImageId"],
        "hostname": instance.get("PrivateDnsName"),
        "instance-id": instance["InstanceId"],
        "instance-life-cycle": instance.get("InstanceLifecycle") or "on-demand",
        "instance-type": instance["InstanceType"],
        "local-hostname": instance.get("PrivateDnsName"),
        "local-ipv4": instance.get("PrivateIpAddress"),
        "placement/availability-zone": zone,
        "placement/region": facts.region,
        "public-ipv4": instance.get("PublicIpAddress"),
        "spot/instance-action": facts.notice,
    }
    if facts.role and facts.credentials:
        credentials = json.dumps(_credentials(facts.credentials), indent=2)
        paths[f"iam/security-credentials/{facts.role}"] = credentials
        paths["iam/info"] = json.dumps(_profile(facts), indent=2)
    return paths


def _credentials(credentials: Credentials) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "Code": "Success",
        "LastUpdated": _iso(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials.access_key,
        "SecretAccessKey": credentials.secret,
        "Token": "local",
        "Expiration": _iso(now + _CREDENTIALS_LIFE),
    }


def _profile(facts: InstanceFacts) -> dict[str, str]:
    profile = facts.instance["IamInstanceProfile"]
    return {
        "Code": "Success",
        "LastUpdated": _iso(datetime.now(UTC)),
        "InstanceProfileArn": profile["Arn"],
        "InstanceProfileId": profile.get("Id", ""),
    }


def _identity(facts: InstanceFacts) -> dict[str, Any]:
    instance = facts.instance
    return {
        "accountId": facts.account_id,
        "architecture": instance.get("Architecture", "x86_64"),
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": instance["ImageId"],
        "instanceId": instance["InstanceId"],
        "instanceType": instance["InstanceType"],
        "kernelId": None,
        "pendingTime": _iso(instance["LaunchTime"]),
        "privateIp": instance.get("PrivateIpAddress"),
        "ramdiskId": None,
        "region": facts.region,
        "version": "2017-09-30",
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
