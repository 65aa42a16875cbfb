"""The stack's configuration: `tl-fif:<group>` objects with camelCase keys, read once into one
typed, checked model.
"""

import json
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self

import pulumi
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from components import prices, pricing
from components.settings_errors import PROJECT, SettingsError, explained, no_price
from tlfif.names import DEFAULT_IDLE_MINUTES, MAX_IDLE_MINUTES, MIN_IDLE_MINUTES


def _cidr(value: str) -> str:
    ip_network(value)
    return value


def _https(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("https://"):
        raise ValueError("must begin with https://")
    return value


class _Group(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class GpuSettings(_Group):
    """The inference nodes."""

    count: int = Field(
        default=1,
        ge=1,
        le=8,
        description="how many nodes the stack has, each stopped until it is needed",
    )
    instance_type: str = Field(
        default="g4dn.xlarge", description="an x86_64 instance type with one NVIDIA GPU"
    )
    ami_id: str | None = Field(
        default=None,
        pattern=r"^ami-[0-9a-f]{8,17}$",
        description="an image to use instead of the baked one",
    )
    slots: int = Field(
        default=32,
        ge=1,
        le=256,
        description="how many jobs a node works on at once (vLLM's max-num-seqs)",
    )
    idle_minutes: int = Field(
        default=DEFAULT_IDLE_MINUTES,
        ge=MIN_IDLE_MINUTES,
        le=MAX_IDLE_MINUTES,
        description=(
            "minutes without work after which a node stops itself, unless the job says otherwise"
        ),
    )
    max_lifetime_hours: float = Field(
        default=4, gt=0, le=24, description="hours after which a node stops, whatever it does"
    )
    disk_gb: int = Field(
        default=30, ge=20, le=1000, description="the size of each node's disk in GB"
    )
    tls_ingress: bool = Field(
        default=False,
        description=(
            "whether a network load balancer takes TLS connections to the nodes from inside the VPC"
        ),
    )
    domain: str = Field(
        default="gpu.example.com",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$",
        description=(
            "the name on the load balancer's certificate, in a domain of yours; used "
            "with gpu:tlsIngress"
        ),
    )


class QueueSettings(_Group):
    """The job queue."""

    engine: Literal["valkey", "redis"] = Field(
        default="valkey", description="the server; Valkey is 20 % cheaper"
    )
    node_type: str = Field(
        default="cache.t4g.micro",
        pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$",
        description="an ElastiCache node type",
    )
    replicas: int = Field(default=0, ge=0, le=5, description="additional nodes that can take over")


class GatewaySettings(_Group):
    """The HTTP surface."""

    extra_ping_cidrs: tuple[Annotated[str, AfterValidator(_cidr)], ...] = Field(
        default=(),
        description="networks besides the VPC that may call /ping, such as an uptime monitor's",
    )
    manage_account: bool = Field(
        default=True,
        description=(
            "whether this stack sets API Gateway's log role, of which an account has one per region"
        ),
    )
    probe: Literal["lambda", "synthetics"] = Field(
        default="lambda",
        description=(
            "who asks /ping every minute: a function, or a canary of CloudWatch "
            "Synthetics at $0.0012 a run"
        ),
    )
    canary_runtime: str = Field(
        default="syn-python-selenium-14.0",
        pattern=r"^syn-python-",
        description="the canary's runtime version",
    )
    deletion_protection: bool = Field(
        default=False,
        description=(
            "whether Cognito refuses to delete the user pool, and all its users with it; "
            "on in Pulumi.prod.yaml"
        ),
    )
    private_endpoint: bool = Field(
        default=False,
        description=(
            "whether /ping and /queue-health are also served by a private API to the "
            "source 10.20.0.0/22"
        ),
    )


class BudgetSettings(_Group):
    """The spending cap."""

    cap_eur: float = Field(default=20, gt=0, le=10_000, description="the monthly cap in EUR")
    scope: Literal["account", "tag"] = Field(
        default="account",
        description=(
            "what the budget counts; `tag` reads 0 until `env` is an active cost-allocation tag"
        ),
    )


class CostSettings(_Group):
    """How money is counted."""

    usd_per_eur: float = Field(
        default=1.15, gt=0.5, lt=2, description="the exchange rate; AWS bills in USD"
    )
    min_gpu_hours: float = Field(
        default=10,
        ge=0,
        le=10_000,
        description="GPU-hours below which the preview warns that the cap leaves too few",
    )
    requests_per_month: int = Field(
        default=100_000, ge=0, description="how many API requests a month the estimate assumes"
    )
    pushes_per_month: int = Field(
        default=4,
        ge=0,
        description="how many runs of the delivery pipeline a month the estimate assumes",
    )
    image_gb: int = Field(
        default=15, ge=1, le=1000, description="how much of its disk the baked image fills, in GB"
    )
    source: Literal["ledger", "costExplorer"] = Field(
        default="ledger",
        description=(
            "where the spend metric comes from: an own ledger, or Cost Explorer at $0.01 a request"
        ),
    )


class AlertSettings(_Group):
    """Who hears of trouble."""

    email: str | None = Field(
        default=None, pattern=r"^[^@\s]+@[^@\s]+$", description="an address that gets the warnings"
    )
    pager_duty_url: Annotated[SecretStr, AfterValidator(_https)] | None = Field(
        default=None, description="the integration URL of a PagerDuty service; set it with --secret"
    )


class Settings(_Group):
    """All the program's settings; defaults live here and nowhere else."""

    region: str
    gpu: GpuSettings = GpuSettings()
    queue: QueueSettings = QueueSettings()
    gateway: GatewaySettings = GatewaySettings()
    budget: BudgetSettings = BudgetSettings()
    costs: CostSettings = CostSettings()
    alerts: AlertSettings = AlertSettings()

    @classmethod
    def load(cls) -> Self:
        """The running stack's settings; raises SettingsError for an unknown key or a bad value."""
        return cls.parse(_stack_config())

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Settings from full keys (`tl-fif:gpu`, `aws:region`) to objects or their JSON text;
        raises SettingsError.
        """
        prefix = f"{PROJECT}:"
        own = {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}
        region = config.get("aws:region")
        if region not in prices.REGIONS:
            raise SettingsError(
                f"aws:region = {region!r} has no prices. "
                f"Choose one of {', '.join(prices.REGIONS)} (pulumi config set aws:region "
                "us-east-1), or add the region to components/prices.py."
            )
        groups = {group: _decode(value) for group, value in own.items()}
        try:
            settings = cls.model_validate({**groups, "region": region})
        except ValidationError as error:
            raise explained(cls, error.errors()) from None
        settings._check_priced()
        return settings

    def _check_priced(self) -> None:
        queue, gpu = self.queue, self.gpu
        if gpu.instance_type not in (priced := prices.gpu_instance_types()):
            raise no_price("gpu:instanceType", gpu.instance_type, priced)
        if queue.node_type not in (priced := prices.cache_node_types(queue.engine)):
            raise no_price("queue:nodeType", queue.node_type, priced)

    @property
    def gpu_eur_per_hour(self) -> float:
        """What one running node costs, in EUR per hour."""
        rows = pricing.bill(pricing.gpu_hour_lines(self.gpu.instance_type), self.region)
        return pricing.total_usd(rows, "gpu-hour") / self.costs.usd_per_eur

    def is_default(self, key: str) -> bool:
        """Whether a key such as `gpu:diskGb` has its default value; StopIteration for one that does
        not exist.
        """
        group, _, alias = key.partition(":")
        values = getattr(self, group)
        name, field = next((n, f) for n, f in type(values).model_fields.items() if f.alias == alias)
        return getattr(values, name) == field.default

    @property
    def cap_usd(self) -> float:
        """The monthly cap in USD, the account's currency."""
        return self.budget.cap_eur * self.costs.usd_per_eur


def _stack_config() -> dict[str, Any]:
    """Every configured key: the CLI passes them in the environment, a recording in the context."""
    return {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}


def _decode(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
