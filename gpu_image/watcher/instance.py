"""What this machine is, by the metadata service (IMDS v2), and how long it has been up."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import httpx

from tlfif.environment import variable

IMDS = "http://169.254.169.254"
TOKEN = "X-aws-ec2-metadata-token"
WANT_TOKEN = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
_IMDS_TIMEOUT_S = 2.0
# EC2 takes some of this from the request to the first instruction; a longer time is a wrong clock.
LONGEST_PENDING_S = 120


class InstanceError(Exception):
    """The metadata service is away, or its user data is not a node's."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """This machine; `started_at` is when EC2 last started it, in epoch s.

    `notices_at` is the metadata service of a spot instance, which says there when it is taken back;
    '' for any other. `told` is its user data: nodes made before settings were a parameter have all
    of them there.
    """

    id: str
    region: str
    stack: str
    started_at: float
    notices_at: str = ""
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Uptime:
    """The machine's time since EC2 started it.

    Its wall clock may be minutes off until NTP has set it, after this process has begun: it is read
    once, and believed only when it says what can be.
    """

    def __init__(self, started_at: float, booted_at: float):
        """`started_at` by EC2's clock, in epoch s; `booted_at` by this machine's monotonic one."""
        self._started_at, self._booted_at = started_at, booted_at
        pending_s = time.time() - started_at - (time.monotonic() - booted_at)
        self._pending_s = pending_s if 0 <= pending_s <= LONGEST_PENDING_S else 0.0

    def seconds(self, at: float | None = None) -> float:
        """Since EC2 was asked to start the machine, until now or `at`, by the monotonic clock."""
        at = time.monotonic() if at is None else at
        return at - self._booted_at + self._pending_s

    def epoch_ms(self, at: float | None = None) -> int:
        """Now, or `at`, by EC2's clock."""
        return int((self._started_at + self.seconds(at)) * 1000)


def ask(environ: Mapping[str, str]) -> Instance:
    """Asks the metadata service which machine this is. Raises InstanceError."""
    endpoint = (environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or IMDS).rstrip("/")
    try:
        user_data, identity, life_cycle = _ask_imds(endpoint)
    except httpx.HTTPError as error:
        raise InstanceError(
            f"no metadata from {endpoint} ({error}); the watcher runs on an instance only"
        ) from error
    return parse(user_data, identity, endpoint if life_cycle == "spot" else "")


def _ask_imds(endpoint: str) -> tuple[str, str, str]:
    """The user data, the identity document, and `spot` or `on-demand`, as text."""
    # No proxy; and the network may come up a moment after the watcher.
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, timeout=_IMDS_TIMEOUT_S, trust_env=False) as client:
        asked = client.put(f"{endpoint}/latest/api/token", headers=WANT_TOKEN)
        headers = {TOKEN: asked.raise_for_status().text}
        user_data, identity, life_cycle = (
            client.get(f"{endpoint}/latest/{path}", headers=headers).raise_for_status().text
            for path in (
                "user-data",
                "dynamic/instance-identity/document",
                "meta-data/instance-life-cycle",
            )
        )
        return user_data, identity, life_cycle


def parse(user_data: str, identity: str, notices_at: str = "") -> Instance:
    """This machine, from the two documents. Raises InstanceError."""
    told = _told(user_data)
    document = json.loads(identity)
    # EC2 renews `pendingTime` at every start, unlike the time of the first launch.
    started = datetime.fromisoformat(document["pendingTime"].replace("Z", "+00:00")).timestamp()
    return Instance(
        id=document["instanceId"],
        region=document["region"],
        stack=told[variable("stack")],
        started_at=started,
        notices_at=notices_at,
        told=told,
    )


def _told(user_data: str) -> dict[str, Any]:
    try:
        told = _object(json.loads(user_data))
        if not told.get(variable("stack")):
            raise ValueError(f"{variable('stack')} is not in it")
    except ValueError as error:
        raise InstanceError(
            f"the user data must be one flat JSON object of TLFIF_* strings: {error}"
        ) from error
    return told


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it is none")
    return cast("dict[str, Any]", value)
