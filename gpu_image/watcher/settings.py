"""What the watcher is told, by user data and identity (IMDS v2); TLFIF_* variables override."""

import json
from collections.abc import Mapping
from datetime import datetime

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tlfif import names

IMDS = "http://169.254.169.254"
_WANT_TOKEN = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
_IMDS_TIMEOUT_S = 2.0


class SettingsError(Exception):
    """The node's configuration: each value a string under TLFIF_{NAME}, bar its identity."""


class Settings(BaseModel):
    """The node's configuration: strings under TLFIF_{NAME}, but for its own identity."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        # Not `model_`: a field is called so.
        protected_namespaces=(),
        validate_by_name=True,
        alias_generator=lambda name: f"TLFIF_{name.upper()}",
    )

    stack: str = Field(min_length=1)
    region: str = Field(min_length=1)
    redis_host: str = Field(min_length=1)
    redis_port: int = Field(default=names.REDIS_PORT, ge=1, le=65535)
    replies_bucket: str = Field(min_length=3)
    model: str = names.SERVED_MODEL
    gpu_slots: int = Field(ge=1, le=256)
    idle_minutes: int = Field(
        default=names.DEFAULT_IDLE_MINUTES, ge=names.MIN_IDLE_MINUTES, le=names.MAX_IDLE_MINUTES
    )
    max_lifetime_hours: float = Field(gt=0, le=24)

    model_url: str = f"http://127.0.0.1:{names.MODEL_PORT}"
    # The local cloud runs minutes faster: idle time and lifetime are counted in these.
    seconds_per_minute: float = Field(default=60, gt=0)
    lease_renew_s: float = Field(default=names.LEASE_RENEW_S, gt=0)
    lease_idle_s: float = Field(default=names.LEASE_IDLE_S, gt=0)
    # Less than supervisord's stopwaitsecs, which is less than what EC2 gives a machine to shut
    # down.
    grace_s: float = Field(default=25, ge=0)

    instance_id: str
    started_at: float = Field(description="when EC2 last started the instance, in epoch s")

    def idle_s(self, minutes: float) -> float:
        """Idle minutes in seconds of this node's clock."""
        return minutes * self.seconds_per_minute

    @property
    def max_lifetime_s(self) -> float:
        return self.max_lifetime_hours * 60 * self.seconds_per_minute


def load(environ: Mapping[str, str]) -> Settings:
    """Asks IMDS for what this instance is told. Raises SettingsError."""
    endpoint = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or IMDS
    try:
        user_data, identity = _ask_imds(endpoint.rstrip("/"))
    except httpx.HTTPError as error:
        raise SettingsError(
            f"no metadata from {endpoint} ({error}); the watcher runs on an instance only"
        ) from error
    return parse(user_data, identity, environ)


def _ask_imds(endpoint: str) -> tuple[str, str]:
    """The user data and the identity document, as text."""
    # No proxy; and the network may come up a moment after the watcher.
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, timeout=_IMDS_TIMEOUT_S, trust_env=False) as client:
        asked = client.put(f"{endpoint}/latest/api/token", headers=_WANT_TOKEN)
        headers = {"X-aws-ec2-metadata-token": asked.raise_for_status().text}
        user_data = client.get(f"{endpoint}/latest/user-data", headers=headers)
        identity = client.get(
            f"{endpoint}/latest/dynamic/instance-identity/document", headers=headers
        )
        return user_data.raise_for_status().text, identity.raise_for_status().text


def parse(user_data: str, identity: str, environ: Mapping[str, str]) -> Settings:
    """Settings from the two documents and the environment. Raises SettingsError."""
    try:
        told = json.loads(user_data)
        if not isinstance(told, dict):
            raise ValueError("it is not an object")
    except ValueError as error:
        raise SettingsError(
            f"the user data must be one flat JSON object of TLFIF_* strings: {error}"
        ) from error
    overrides = {key: value for key, value in environ.items() if key.startswith("TLFIF_")}
    instance = json.loads(identity)
    # EC2 renews `pendingTime` at every start, unlike the time of the first launch.
    started = datetime.fromisoformat(instance["pendingTime"].replace("Z", "+00:00")).timestamp()
    try:
        return Settings.model_validate(
            {**told, **overrides, "instance_id": instance["instanceId"], "started_at": started}
        )
    except ValidationError as error:
        raise SettingsError("; ".join(_complaint(each) for each in error.errors())) from error


def _complaint(error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing from the instance's user data: run 'pulumi up'"
    fix = "correct it in the stack's configuration and run 'pulumi up'"
    return f"{key} = {error['input']!r}: {error['msg']}; {fix}"
