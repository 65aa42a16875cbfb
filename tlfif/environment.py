"""What each function and the node are told: one class each, written and read by the same class.

A field `gpu_slots` is the variable TLFIF_GPU_SLOTS, always text, read back as the field's type.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from tlfif import names

Told = TypeVar("Told", bound="Environment")


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"TLFIF_{field.upper()}"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A set of variables; a field with a default may be left out on both sides."""

    @classmethod
    def variables(cls, **values: Any) -> dict[str, Any]:
        """The variables to declare, for plain values or Pulumi outputs of text.

        Raises TypeError naming a field that is missing or that nobody reads.
        """
        known = {field.name: field.default is MISSING for field in fields(cls)}
        missing = [name for name, needed in known.items() if needed and name not in values]
        foreign = [name for name in values if name not in known]
        if missing or foreign:
            raise TypeError(f"{cls.__name__}: {missing=}, {foreign=}; it has {', '.join(known)}")
        return {variable(name): _text(value) for name, value in values.items()}

    @classmethod
    def read(cls: type[Told], environ: Mapping[str, str] = os.environ) -> Told:
        """What this process is told, typed.

        Raises KeyError naming the variable that is missing, ValueError naming the one that cannot
        be read and its value; either fails the function's start.
        """
        types = get_type_hints(cls)
        optional = {field.name for field in fields(cls) if field.default is not MISSING}
        told = [name for name in types if not (name in optional and variable(name) not in environ)]
        return cls(**{name: _typed(variable(name), types[name], environ) for name in told})


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else value


def _typed(name: str, kind: type, environ: Mapping[str, str]) -> Any:
    try:
        return kind(environ[name])
    except ValueError:
        raise ValueError(f"{name} = {environ[name]!r} is no {kind.__name__}") from None


@dataclass(frozen=True, kw_only=True)
class Queue(Environment):
    """Where the job queue is; the payload samples' function needs no more."""

    redis_host: str
    redis_port: int


@dataclass(frozen=True, kw_only=True)
class UserPool(Environment):
    """Whose tokens are good; only the local cloud gives `jwks_url`."""

    user_pool_id: str
    client_id: str
    jwks_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Authorizer(UserPool):
    """The authorizer's environment: of which stack's API keys each caller has one."""

    stack: str


@dataclass(frozen=True, kw_only=True)
class Fleet(Queue):
    """The stack's nodes, their queue and their replies: the guardian's environment.

    `gpu_slots` is how many jobs one node works on at once. `lane_function` is the instant lane's
    name, '' where the stack has none; the others are tlfif.queue.lane.Lane's.
    """

    stack: str
    replies_bucket: str
    gpu_count: int
    gpu_slots: int
    lane_function: str = ""
    gpu_wake: str = "always"
    gpu_wake_after_seconds: float = 60
    lane_prompt_bytes: int = 1_500


@dataclass(frozen=True, kw_only=True)
class Guardian(Fleet):
    """The guardian's environment: a node's own limits, which it sees kept from outside.

    Only the local cloud, whose minutes may be longer or shorter, gives `seconds_per_minute`.
    """

    boot_allowance_minutes: int = names.DEFAULT_BOOT_ALLOWANCE_MINUTES
    max_lifetime_hours: float = names.MAX_LIFETIME_HOURS
    seconds_per_minute: float = 60.0

    @property
    def boot_limit_s(self) -> float:
        """After so long a node that was never ready will not be."""
        minutes = self.boot_allowance_minutes + names.BOOT_MARGIN_MINUTES
        return minutes * self.seconds_per_minute

    @property
    def lifetime_limit_s(self) -> float:
        """After so long a node should have stopped itself, whatever it did."""
        minutes = self.max_lifetime_hours * 60 + names.LIFETIME_MARGIN_MINUTES
        return minutes * self.seconds_per_minute


@dataclass(frozen=True, kw_only=True)
class Router(Fleet, UserPool):
    """The router's environment; money in EUR.

    `lane_eur_per_hour` is what the instant lane costs while it runs. Only the local cloud gives
    `ec2_timeout_s`, for Lambda's answers too: there EC2 and functions share two processors.
    """

    backlog_cap: int
    idle_minutes: int
    cap_eur: float
    lane_eur_per_hour: float = 0.0
    ec2_timeout_s: float = 0.8


@dataclass(frozen=True, kw_only=True)
class CpuWorker(Queue):
    """The environment of the instant lane; money in EUR.

    The weights are `model_key` in the bucket, with this SHA-256; `slots` is how many jobs it works
    on at once, each with `context_tokens`; `model` is what the engine is to call its model.
    """

    stack: str
    replies_bucket: str
    model_key: str
    model_sha256: str
    slots: int
    eur_per_hour: float
    model: str = names.DEFAULT_SERVED_MODEL
    context_tokens: int = names.DEFAULT_CONTEXT_TOKENS


@dataclass(frozen=True, kw_only=True)
class ModelFetch(Environment):
    """The environment of the function that brings the weights from `model_url` to `model_key` in
    the bucket, if they have this SHA-256.
    """

    stack: str
    replies_bucket: str
    model_url: str
    model_key: str
    model_sha256: str


@dataclass(frozen=True, kw_only=True)
class CostPublisher(Environment):
    """The environment of the function that publishes what the month has cost.

    `budget_name` is the budget that is asked; `cost_source` and `cost_scope` are the configuration
    keys costs:source and budget:scope. `stop_topic_arn` is where it has nodes stopped when the
    guardian does not, `api_id` and `stage` what it closes when the meter does not. Only the local
    cloud gives `patience_s`, as it gives the router's.
    """

    stack: str
    replies_bucket: str
    gpu_count: int
    api_id: str
    stage: str
    account_id: str
    budget_name: str
    cost_source: str = "ledger"
    cost_scope: str = "account"
    stop_topic_arn: str = ""
    patience_s: float = 0.8


@dataclass(frozen=True, kw_only=True)
class QueueHealth(Queue):
    """The environment of the function behind GET /queue-health.

    Only the local cloud, whose minutes may be longer or shorter, gives `seconds_per_minute`.
    """

    stack: str
    seconds_per_minute: float = 60.0


@dataclass(frozen=True, kw_only=True)
class BudgetKiller(Queue):
    """The environment of the function that stops the stack when the budget is spent."""

    stack: str
    replies_bucket: str


@dataclass(frozen=True, kw_only=True)
class Meter(Environment):
    """The environment of the function that counts what the stack uses.

    `functions` is text of tlfif.money.counting's, `log_groups` are names with commas between.
    """

    replies_bucket: str
    api_id: str
    api_name: str
    stage: str
    functions: str
    log_groups: str


@dataclass(frozen=True, kw_only=True)
class Canary(Environment):
    """The environment of the canary: the API with its stage."""

    api_url: str


@dataclass(frozen=True, kw_only=True)
class PingProbe(Canary):
    """The environment of the probe in the VPC."""

    stack: str


@dataclass(frozen=True, kw_only=True)
class NodeIdentity(Environment):
    """A node's user data: whose it is, which no setting changes (gpu_image/watcher/instance.py)."""

    stack: str


@dataclass(frozen=True, kw_only=True)
class Node(Queue):
    """What a node reads from its stack's parameter at each boot (gpu_image/watcher/settings.py)."""

    stack: str
    region: str
    replies_bucket: str
    model: str
    gpu_slots: int
    idle_minutes: int
    max_lifetime_hours: float
    boot_allowance_minutes: int
    gpu_eur_per_hour: float
    context_tokens: int = names.DEFAULT_CONTEXT_TOKENS
