"""The groups of the stack's configuration: each key with its default, bounds and meaning."""

import re
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from components import prices
from components.settings_errors import is_list
from tlfif import names


def _cidr(value: str) -> str:
    # Python would take a mask for the length, and a zone, which AWS does not.
    if not re.fullmatch(r"[0-9A-Fa-f.:]+(/(0|[1-9][0-9]{0,2}))?", value):
        raise ValueError("must be a network such as 192.0.2.0/24 or 2001:db8::/32")
    ip_network(value)
    return value


def _different(value: tuple[str, ...]) -> tuple[str, ...]:
    networks = [ip_network(each) for each in value]
    again = [each for n, each in enumerate(value) if networks[n] in networks[:n]]
    if again:
        raise ValueError(f"has {again[0]} twice; keep one of them")
    return value


def _https(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https://[!-~]+", value.get_secret_value()):
        raise ValueError("must be an address that begins with https://")
    return value


class Group(BaseModel):
    """A group of keys. A field's `examples` stand in for it where its own value is encrypted and
    there is no passphrase.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _switch_where_one_is_wanted(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if field.annotation is bool:
            # As YAML 1.2 and Pulumi's CLI have them; pydantic would take `yes` and 1 too.
            if not (isinstance(value, bool) or value in ("true", "false")):
                raise ValueError("must be true or false")
            return value
        if isinstance(value, bool) and field.annotation is not bool:
            # Python would count it as 0 or 1.
            raise ValueError("is a switch, and no switch is wanted here")
        if is_list(field) and not isinstance(value, list | tuple):
            raise ValueError("must be a list, even of one")
        return value


class GpuSettings(Group):
    """The inference nodes."""

    count: int = Field(
        default=1,
        ge=1,
        le=8,
        description="how many nodes the stack has, each stopped until it is needed",
    )
    instance_type: str = Field(
        default="g4dn.xlarge",
        description="an x86_64 instance type with one NVIDIA GPU, of docs/models.md",
    )
    ami_id: str | None = Field(
        default=None,
        pattern=r"^ami-[0-9a-f]{8}([0-9a-f]{9})?$",
        description="an image to use instead of the baked one",
    )
    spot: bool = Field(
        default=False,
        description=(
            "whether the nodes are spot instances: cheaper, and taken back by EC2 at two minutes' "
            "notice; the cap counts their on-demand price"
        ),
    )
    slots: int = Field(
        default=names.ENGINE_SEQUENCES,
        ge=1,
        le=names.ENGINE_SEQUENCES,
        description="how many jobs a node works on at once; its engine takes no more",
    )
    idle_minutes: int = Field(
        default=names.DEFAULT_IDLE_MINUTES,
        ge=names.MIN_IDLE_MINUTES,
        le=names.MAX_IDLE_MINUTES,
        description=(
            "minutes without work after which a node stops itself, unless the job says otherwise"
        ),
    )
    max_lifetime_hours: float = Field(
        default=4,
        ge=names.MIN_LIFETIME_HOURS,
        le=names.MAX_LIFETIME_HOURS,
        description="hours after which a node stops, whatever it does",
    )
    boot_allowance_minutes: int = Field(
        default=names.DEFAULT_BOOT_ALLOWANCE_MINUTES,
        ge=names.MIN_BOOT_ALLOWANCE_MINUTES,
        le=names.MAX_BOOT_ALLOWANCE_MINUTES,
        description=(
            "minutes without an answer that a node's engine may load or be away; then the node "
            "stops itself and says why"
        ),
    )
    disk_gb: int = Field(
        default=30, ge=20, le=1000, description="the size of each node's disk in GB"
    )
    disk_throughput_mbps: int = Field(
        default=prices.FREE_THROUGHPUT_MBPS,
        ge=prices.FREE_THROUGHPUT_MBPS,
        # EBS gives a quarter of a MB/s for each of the 3,000 requests a second that come with gp3.
        le=750,
        description="how much each node's disk reads in MB/s; the first 125 cost nothing, and a "
        "g4dn.xlarge takes 437",
    )
    wake: Literal["always", "backlog", "never"] = Field(
        default="always",
        description=(
            "when a node is woken: for every job that none is up for; only for what the instant "
            "lane would not finish within gpu:wakeAfterSeconds or is slow at; or never, and the "
            "stack has no nodes"
        ),
    )
    wake_after_seconds: int = Field(
        default=60,
        ge=5,
        le=names.JOB_TTL_S,
        description="seconds of work before the instant lane that wake a node as well; used with "
        "gpu:wake = backlog",
    )
    tls_ingress: bool = Field(
        default=False,
        description=(
            "whether a network load balancer takes TLS connections to the nodes from inside the VPC"
        ),
    )
    domain: str = Field(
        default="gpu.example.com",
        # A certificate's first name has at most 64 characters.
        max_length=64,
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$",
        description=(
            "the name on the load balancer's certificate, in a domain of yours; used "
            "with gpu:tlsIngress"
        ),
    )

    @property
    def has_nodes(self) -> bool:
        """Whether the stack has nodes at all."""
        return self.wake != "never"


class CpuSettings(Group):
    """The instant lane: a function that answers while no node is ready."""

    enabled: bool = Field(default=True, description="whether the stack has it")
    memory_mb: int = Field(
        default=3_008,
        ge=1_024,
        le=10_240,
        description="its memory in MB; a new account may have 3,008, and processors come with it: "
        "one per 1,769 MB",
    )
    disk_mb: int = Field(
        default=1_024, ge=512, le=10_240, description="its disk in MB, where the weights are"
    )
    slots: int = Field(default=2, ge=1, le=8, description="how many jobs it works on at once")
    max_prompt_bytes: int = Field(
        default=1_500,
        ge=100,
        le=names.MAX_PROMPT_BYTES,
        description="longer prompts (of a conversation, all its contents, and 24 bytes for each "
        "message after the first), which a processor reads slowly, are left to a node where there "
        "is one",
    )
    answers_per_month: int = Field(
        default=5_000,
        ge=0,
        le=10_000_000,
        description="how many of its answers a month the estimate assumes",
    )


class QueueSettings(Group):
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


class GatewaySettings(Group):
    """The HTTP surface."""

    extra_ping_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(_cidr)], ...], AfterValidator(_different)
    ] = Field(
        default=(),
        # The API's policy, which names each, may have 8,192 bytes.
        max_length=50,
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
        pattern=r"^syn-python-selenium-[0-9]+\.[0-9]+$",
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


class BudgetSettings(Group):
    """The spending cap."""

    cap_eur: float = Field(default=20, ge=1, le=10_000, description="the monthly cap in EUR")
    scope: Literal["account", "tag"] = Field(
        default="account",
        description=(
            "what the budget counts; `tag` reads 0 until `env` is an active cost-allocation tag"
        ),
    )


class CostSettings(Group):
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
        default=100_000,
        ge=0,
        le=1_000_000_000,
        description="how many API requests a month the estimate assumes",
    )
    pushes_per_month: int = Field(
        default=4,
        ge=0,
        le=10_000,
        description="how many runs of the delivery pipeline a month the estimate assumes",
    )
    bakes_per_month: int = Field(
        default=1,
        ge=0,
        le=1_000,
        description="how many bakes of the nodes' image a month the estimate assumes",
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


class DeliverySettings(Group):
    """How new code comes to serve: by the delivery pipeline, where there is a connection."""

    connection_arn: str | None = Field(
        default=None,
        pattern=r"^arn:aws:(codeconnections|codestar-connections):[a-z0-9-]+:[0-9]{12}:connection/"
        r"[0-9a-f-]{36}$",
        description=(
            "the connection to GitHub by which the delivery pipeline gets each commit; without one "
            "there is no pipeline, and each `pulumi up` moves the alias `prod`"
        ),
    )
    repository: str | None = Field(
        default=None,
        max_length=140,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$",
        description="what the pipeline delivers, as owner/name; set together with "
        "delivery:connectionArn",
    )
    branch: str = Field(
        default="main",
        max_length=100,
        pattern=r"^[A-Za-z][A-Za-z0-9._/-]*$",
        description="the branch whose commits the pipeline delivers",
    )
    canary_percent: int = Field(
        default=10,
        ge=1,
        le=50,
        description="how much of the traffic a new router gets at first, in percent",
    )
    canary_minutes: int = Field(
        default=5,
        ge=1,
        le=30,
        description="minutes for which it has that part, before it gets all",
    )
    slack_webhook_url: Annotated[SecretStr, AfterValidator(_https)] | None = Field(
        default=None,
        max_length=2000,
        examples=["https://secret.invalid/webhook"],
        description="a Slack webhook that hears of each deployment; set it with --secret",
    )

    @property
    def has_pipeline(self) -> bool:
        """Whether the stack has a delivery pipeline."""
        return self.connection_arn is not None


class AlertSettings(Group):
    """Who hears of trouble."""

    email: str | None = Field(
        default=None,
        max_length=254,
        pattern=r"^[!-?A-~]+@[!-?A-~]+$",
        examples=["secret@secret.invalid"],
        description="an address that gets the warnings",
    )
    pager_duty_url: Annotated[SecretStr, AfterValidator(_https)] | None = Field(
        default=None,
        max_length=2000,
        examples=["https://secret.invalid/integration"],
        description="the integration URL of a PagerDuty service; set it with --secret",
    )
