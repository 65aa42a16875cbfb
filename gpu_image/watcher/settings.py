"""What the watcher is told by its stack's SSM parameter, at each boot; TLFIF_* override it."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tlfif import aws, names, serving
from tlfif.log import log
from watcher import machine
from watcher.instance import Instance


class SettingsError(Exception):
    """The node cannot get its settings, or not use them; the message says which, and the fix.

    `queue` is the queue's host and port, if it was told of those: somebody may wait there.
    """

    def __init__(self, message: str, queue: tuple[str, int] | None = None):
        super().__init__(message)
        self.queue = queue


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
    model: str = names.DEFAULT_SERVED_MODEL
    context_tokens: int = Field(default=names.DEFAULT_CONTEXT_TOKENS, gt=0)
    gpu_slots: int = Field(ge=1, le=256)
    idle_minutes: int = Field(
        default=names.DEFAULT_IDLE_MINUTES, ge=names.MIN_IDLE_MINUTES, le=names.MAX_IDLE_MINUTES
    )
    max_lifetime_hours: float = Field(gt=0, le=names.MAX_LIFETIME_HOURS)
    # On a node whose parameter is older, the program's default.
    boot_allowance_minutes: float = Field(
        default=names.DEFAULT_BOOT_ALLOWANCE_MINUTES, gt=0, le=names.MAX_BOOT_ALLOWANCE_MINUTES
    )
    # None on a node whose parameter was written before replies told what they cost.
    gpu_eur_per_hour: float | None = Field(default=None, ge=0)
    engine: str = "vllm"

    engine_silence_s: float = Field(default=60, gt=0)
    engine_probe_s: float = Field(default=10, gt=0)
    model_url: str = f"http://127.0.0.1:{names.MODEL_PORT}"
    # The local cloud runs minutes faster: idle time and lifetime are counted in these.
    seconds_per_minute: float = Field(default=60, gt=0)
    lease_renew_s: float = Field(default=names.LEASE_RENEW_S, gt=0)
    lease_idle_s: float = Field(default=names.LEASE_IDLE_S, gt=0)
    # Less than supervisord's stopwaitsecs, which is less than what EC2 gives a machine to shut
    # down.
    grace_s: float = Field(default=25, ge=0)
    stop_patience_s: float = Field(default=machine.STOP_PATIENCE_S, gt=0)

    instance_id: str
    notices_at: str = Field(default="", description="as in watcher.instance.Instance")
    started_at: float = Field(description="when EC2 last started the instance, in epoch s")
    # On a machine of its own the monotonic clock starts with it.
    booted_at: float = Field(default=0, description="when the machine booted, by that clock, in s")

    def idle_s(self, minutes: float) -> float:
        """Idle minutes in seconds of this node's clock."""
        return minutes * self.seconds_per_minute

    @property
    def boot_allowance_s(self) -> float:
        """How long the node may be of no use; not scaled, because engines do not load faster."""
        return self.boot_allowance_minutes * 60

    @property
    def max_lifetime_s(self) -> float:
        return self.max_lifetime_hours * 60 * self.seconds_per_minute


def load(instance: Instance, environ: Mapping[str, str]) -> Settings:
    """Asks the parameter store what this stack's nodes are told. Raises SettingsError."""
    try:
        image = serving.baked()
    except ValueError as error:
        why = f"{serving.MODEL_FILE} is no model ({error}): bake the image again"
        raise SettingsError(why) from error
    return parse(_ask_store(instance), instance, environ, image)


def _ask_store(instance: Instance) -> str | None:
    """The parameter's text; None where the stack has none."""
    name = names.node_parameter(instance.stack)
    try:
        store = aws.client("ssm", instance.region, connect_s=3, read_s=10, tries=3)
        return cast("str", store.get_parameter(Name=name)["Parameter"]["Value"])
    except aws.errors() as error:
        if aws.code(error) == "ParameterNotFound":
            log("no_parameter", "WARNING", name=name)
            return None
        raise SettingsError(f"cannot read the parameter {name}: {error}") from error


def parse(
    parameter: str | None,
    instance: Instance,
    environ: Mapping[str, str],
    image: serving.Model | None = None,
) -> Settings:
    """Settings from the parameter's text and the environment. Raises SettingsError.

    Without a parameter the user data counts, which has them all on a node made before there was
    one. Of its model the `image` knows best: what the parameter says of it may be meant for the
    next one.
    """
    name = names.node_parameter(instance.stack)
    told = _decoded(name, parameter) if parameter is not None else instance.told
    overrides = {key: value for key, value in environ.items() if key.startswith("TLFIF_")}
    own = {
        "instance_id": instance.id,
        "started_at": instance.started_at,
        "notices_at": instance.notices_at,
    }
    try:
        return Settings.model_validate({**told, **_baked(image, told), **overrides, **own})
    except ValidationError as error:
        complaints = (_complaint(name, each) for each in error.errors())
        raise SettingsError("; ".join(complaints), _queue({**told, **overrides})) from error


def _baked(image: serving.Model | None, told: Mapping[str, Any]) -> dict[str, str]:
    """What the engine of this image is like; a warning where the stack wants another."""
    if image is None:
        return {}
    baked = {
        "TLFIF_MODEL": image.served_name,
        "TLFIF_CONTEXT_TOKENS": str(image.context_tokens),
    }
    wanted = {key: told[key] for key in baked if told.get(key, baked[key]) != baked[key]}
    if wanted:
        log("other_model", "WARNING", wanted=wanted, baked=baked, fix="bake the image again")
    return baked


def _queue(told: Mapping[str, Any]) -> tuple[str, int] | None:
    host, port = told.get("TLFIF_REDIS_HOST"), told.get("TLFIF_REDIS_PORT", names.REDIS_PORT)
    return (str(host), int(port)) if host and str(port).isdecimal() else None


def _decoded(name: str, parameter: str) -> Mapping[str, Any]:
    try:
        told = json.loads(parameter)
        if not isinstance(told, dict):
            raise ValueError("it is not an object")
    except ValueError as error:
        raise SettingsError(
            f"the parameter {name} must be one flat JSON object of TLFIF_* strings: {error}; "
            "run 'pulumi up'"
        ) from error
    return cast("dict[str, Any]", told)


def _complaint(name: str, error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing from the parameter {name}: run 'pulumi up'"
    fix = "correct it in the stack's configuration and run 'pulumi up'"
    return f"{key} = {error['input']!r}: {error['msg']}; {fix}"
