"""What things cost: USD list prices by region, ex VAT, each with its date, source and mark; and a
bill's arithmetic.

A month has 730 hours. Only free tiers that do not end are counted; an account has each of them
once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack

REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")
HOURS = 730
READ = "2026-11"
# H: read in an AWS document, API model or price list. M: one third-party source. L: from memory, to
# be checked.
Mark = Literal["H", "M", "L"]
Per = Literal["month", "gpu-hour"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit of `item` costs, in USD; the first `free` units of a month cost nothing."""

    item: str
    usd: float
    unit: str
    source: str
    mark: Mark
    free: float = 0
    read: str = READ


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One line of the bill: what, how many units of an item, and whether it is due each month or
    each GPU-hour.

    `resource` is the type of the resources it pays for; `key` the configuration key to change when
    it is too much; `planned` marks a part that the program does not declare yet.
    """

    item: str
    quantity: float
    what: str
    per: Per = "month"
    resource: str = ""
    key: str = ""
    planned: bool = False


class _Options(TypedDict, total=False):
    per: Per
    resource: str
    key: str
    planned: bool


def line(item: str, quantity: float, what: str, **options: Unpack[_Options]) -> CostLine:
    """A line for `quantity` units of an item of the price list, free tier not yet taken off;
    KeyError if unknown.
    """
    if item not in PRICES:
        raise KeyError(f"{item!r} has no price; the price list has: {', '.join(PRICES)}")
    return CostLine(item=item, quantity=quantity, what=what, **options)


def as_planned(each: CostLine) -> CostLine:
    """The same line, for a part that the program does not declare yet."""
    return replace(each, planned=True)


@dataclass(frozen=True, kw_only=True)
class BillRow:
    """A line with its price and what is left after the free tier: USD per month, or per GPU-hour."""

    line: CostLine
    price: Price
    free: float
    usd: float


def bill(lines: Iterable[CostLine], region: str) -> list[BillRow]:
    """The lines in their order, priced; each free tier is used up by the first lines of its item."""
    left = {item: by_region[region].free for item, by_region in PRICES.items()}
    rows: list[BillRow] = []
    for each in lines:
        price = PRICES[each.item][region]
        free = min(left[each.item], each.quantity)
        left[each.item] -= free
        rows.append(
            BillRow(line=each, price=price, free=free, usd=price.usd * (each.quantity - free))
        )
    return rows


def total_usd(rows: Iterable[BillRow], per: Per = "month") -> float:
    """The sum of what is due each month, or each GPU-hour."""
    return sum(row.usd for row in rows if row.line.per == per)


# --- the price list

# (us-east-1, eu-west-1, eu-central-1), or one price for all; likewise their marks.
_Rates = float | tuple[float, float, float]
_MARKS: dict[str, tuple[Mark, Mark, Mark]] = {
    "H": ("H", "H", "H"),
    "M": ("M", "M", "M"),
    "L": ("L", "L", "L"),
    "HLL": ("H", "L", "L"),
    "HMM": ("H", "M", "M"),
    "MLL": ("M", "L", "L"),
}


def _item(
    item: str, usd: _Rates, unit: str, marks: str, source: str, free: float = 0
) -> Iterator[Price]:
    rates = usd if isinstance(usd, tuple) else (usd, usd, usd)
    for rate, mark in zip(rates, _MARKS[marks], strict=True):
        yield Price(item=item, usd=rate, unit=unit, source=source, mark=mark, free=free)


def _price_list() -> Iterator[Iterator[Price]]:
    cache = "ElastiCache, AWS Price List API"
    yield _item("cache.t4g.micro valkey", (0.0128, 0.0144, 0.0152), "hour", "HLL", cache)
    yield _item("cache.t4g.small valkey", (0.0256, 0.0280, 0.0304), "hour", "HLL", cache)
    yield _item("cache.t4g.micro redis", (0.0160, 0.0180, 0.0190), "hour", "HLL", cache)
    yield _item("cache.t4g.small redis", (0.0320, 0.0350, 0.0380), "hour", "HLL", cache)
    yield _item(
        "g4dn.xlarge", (0.526, 0.587, 0.658), "hour", "HMM", "EC2 on-demand price list, Linux"
    )
    yield _item(
        "public IPv4 address", 0.005, "hour", "M", "VPC pricing; charged only while a node runs"
    )
    yield _item("gp3 volume", (0.08, 0.088, 0.0952), "GB-month", "HLL", "EBS pricing")
    yield _item(
        "EBS snapshot", (0.05, 0.05, 0.054), "GB-month", "MLL", "EBS pricing, standard tier"
    )
    yield _item("NLB", (0.0225, 0.0252, 0.0270), "hour", "HLL", "Elastic Load Balancing pricing")
    yield _item("NLB capacity", 0.006, "LCU-hour", "MLL", "Elastic Load Balancing pricing")
    yield _item(
        "public certificate", 0.0, "certificate", "H", "ACM pricing: free on a load balancer"
    )
    yield _item(
        "interface endpoint", (0.01, 0.011, 0.012), "hour", "HLL", "PrivateLink pricing, per zone"
    )
    yield _item("canary run", 0.0012, "run", "MLL", "CloudWatch pricing, Synthetics", free=100)
    yield _item(
        "alarm", 0.10, "alarm-month", "H", "CloudWatch pricing, standard resolution", free=10
    )
    yield _item(
        "custom metric", 0.30, "metric-month", "H", "CloudWatch pricing, first 10,000", free=10
    )
    yield _item("dashboard", 3.00, "dashboard-month", "H", "CloudWatch pricing", free=3)
    yield _item(
        "log ingestion",
        (0.50, 0.57, 0.63),
        "GB",
        "MLL",
        "CloudWatch pricing, standard class",
        free=5,
    )
    yield _item("trace", 0.000005, "trace", "L", "X-Ray pricing, recorded traces", free=100_000)
    yield _item(
        "REST request",
        (0.0000035, 0.0000035, 0.0000037),
        "request",
        "HLL",
        "API Gateway price list",
    )
    yield _item("Lambda request", 0.0000002, "request", "MLL", "Lambda pricing", free=1_000_000)
    yield _item(
        "Lambda compute", 0.0000133334, "GB-second", "HLL", "Lambda pricing, arm64", free=400_000
    )
    yield _item("S3 storage", (0.023, 0.023, 0.0245), "GB-month", "L", "S3 pricing, standard class")
    yield _item(
        "S3 write", (0.000005, 0.000005, 0.0000054), "request", "L", "S3 pricing, PUT and LIST"
    )
    yield _item("S3 read", (0.0000004, 0.0000004, 0.00000043), "request", "L", "S3 pricing, GET")
    yield _item("monthly active user", 0.0055, "user", "M", "Cognito pricing, Lite", free=10_000)
    yield _item("mail", 0.00002, "mail", "L", "SNS pricing", free=1_000)
    yield _item("budget", 0.0, "budget", "M", "Budgets pricing: free without actions")
    yield _item("Cost Explorer request", 0.01, "request", "H", "Cost Explorer FAQ, per page")
    yield _item("pipeline minute", 0.002, "action-minute", "H", "CodePipeline V2 pricing", free=100)
    yield _item("build minute arm1.medium", 0.0070, "minute", "M", "CodeBuild pricing")
    yield _item(
        "m7i.large", (0.1008, 0.1124, 0.1208), "hour", "L", "EC2 on-demand price list, Linux"
    )


def _by_region(prices: Iterator[Price]) -> tuple[str, dict[str, Price]]:
    known = list(prices)
    return known[0].item, dict(zip(REGIONS, known, strict=True))


PRICES: dict[str, dict[str, Price]] = dict(_by_region(prices) for prices in _price_list())


# --- which resources cost money

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
BALANCER = "aws:lb/loadBalancer:LoadBalancer"
BUCKET = "aws:s3/bucket:Bucket"
CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
CANARY = "aws:synthetics/canary:Canary"
CERTIFICATE = "aws:acm/certificate:Certificate"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
FUNCTION = "aws:lambda/function:Function"
INSTANCE = "aws:ec2/instance:Instance"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
STAGE = "aws:apigateway/stage:Stage"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
USER_POOL = "aws:cognito/userPool:UserPool"

# The items that the lines for each billed type must have; every other type that the program uses is
# in FREE.
_BILLED: dict[str, frozenset[str]] = {
    ALARM: frozenset({"alarm"}),
    BALANCER: frozenset({"NLB", "NLB capacity"}),
    BUCKET: frozenset({"S3 storage", "S3 write", "S3 read"}),
    CACHE: frozenset(),
    CANARY: frozenset({"canary run"}),
    CERTIFICATE: frozenset({"public certificate"}),
    DASHBOARD: frozenset({"dashboard"}),
    ENDPOINT: frozenset(),
    FUNCTION: frozenset({"Lambda request", "Lambda compute"}),
    INSTANCE: frozenset({"gp3 volume", "EBS snapshot", "public IPv4 address"}),
    LOG_GROUP: frozenset({"log ingestion"}),
    STAGE: frozenset({"REST request", "trace"}),
    SUBSCRIPTION: frozenset(),
    USER_POOL: frozenset({"monthly active user"}),
}
FREE: dict[str, str] = {
    "aws:acm/certificateValidation:CertificateValidation": "waits, and is nothing itself",
    "aws:apigateway/account:Account": "a setting",
    "aws:apigateway/deployment:Deployment": "a snapshot of the API; requests are billed at its stage",
    "aws:apigateway/methodSettings:MethodSettings": "a setting",
    "aws:apigateway/restApi:RestApi": "requests are billed at its stage",
    "aws:apigateway/restApiPolicy:RestApiPolicy": "a setting",
    "aws:budgets/budget:Budget": "free without actions",
    "aws:cloudwatch/eventRule:EventRule": "schedules of the default bus are free",
    "aws:cloudwatch/eventTarget:EventTarget": "schedules of the default bus are free",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "the metric it makes is counted with the others",
    "aws:cloudwatch/queryDefinition:QueryDefinition": "a saved text; a query costs per GB it scans",
    "aws:cognito/userPoolClient:UserPoolClient": "users are billed at their pool",
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": "free",
    "aws:ec2/internetGateway:InternetGateway": "free",
    "aws:ec2/route:Route": "free",
    "aws:ec2/routeTable:RouteTable": "free",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "free",
    "aws:ec2/securityGroup:SecurityGroup": "free",
    "aws:ec2/subnet:Subnet": "free",
    "aws:ec2/vpc:Vpc": "free",
    "aws:elasticache/parameterGroup:ParameterGroup": "a setting",
    "aws:elasticache/subnetGroup:SubnetGroup": "a setting",
    "aws:iam/instanceProfile:InstanceProfile": "IAM is free",
    "aws:iam/role:Role": "IAM is free",
    "aws:iam/rolePolicy:RolePolicy": "IAM is free",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "IAM is free",
    "aws:lambda/alias:Alias": "a name",
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": "a setting",
    "aws:lambda/permission:Permission": "a setting",
    "aws:lb/listener:Listener": "billed with its balancer",
    "aws:lb/targetGroup:TargetGroup": "billed with its balancer",
    "aws:lb/targetGroupAttachment:TargetGroupAttachment": "billed with its balancer",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "a setting",
    "aws:s3/bucketPolicy:BucketPolicy": "a setting",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "a setting",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": "S3's own key is free",
    "aws:scheduler/schedule:Schedule": "14 million calls a month are free",
    "aws:scheduler/scheduleGroup:ScheduleGroup": "a name",
    "aws:sns/topic:Topic": "deliveries to functions are free; mails are billed at their subscription",
    "aws:sns/topicPolicy:TopicPolicy": "a setting",
    "aws:ssm/parameter:Parameter": "standard parameters are free",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "free",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "free",
}


def billed_items(kind: str, inputs: Mapping[str, Any]) -> frozenset[str]:
    """The items of the price list that a resource with these inputs is billed by; KeyError for an
    unknown type.
    """
    match kind, inputs:
        case "aws:elasticache/replicationGroup:ReplicationGroup", {
            "engine": engine,
            "nodeType": size,
        }:
            return frozenset({cache_item(engine, size)})
        case "aws:ec2/instance:Instance", {"instanceType": size}:
            return _BILLED[kind] | {size}
        case "aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "Interface"}:
            return frozenset({"interface endpoint"})
        case "aws:sns/topicSubscription:TopicSubscription", {"protocol": "email"}:
            return frozenset({"mail"})
    return frozenset() if kind in FREE else _BILLED[kind]


# --- what the settings need before there is any component

GPU_INSTANCE_TYPES = ("g4dn.xlarge",)
MINUTES = HOURS * 60


def gpu_instance_types() -> list[str]:
    """The GPU instance types that have a price."""
    return sorted(set(GPU_INSTANCE_TYPES) & PRICES.keys())


def cache_item(engine: str, node_type: str) -> str:
    """The price list's name of a cache node."""
    return f"{node_type} {engine}"


def cache_node_types(engine: str) -> list[str]:
    """The ElastiCache node types that have a price with this engine."""
    return sorted(
        item.split()[0]
        for item in PRICES
        if item.startswith("cache.") and item.endswith(f" {engine}")
    )


def gpu_hour_lines(instance_type: str) -> list[CostLine]:
    """What one running node costs per hour; KeyError for a type without a price, which Settings
    refuses first.
    """
    return [
        line(
            instance_type,
            1,
            f"{instance_type} on demand",
            per="gpu-hour",
            resource=INSTANCE,
            key="gpu:instanceType",
        ),
        line(
            "public IPv4 address", 1, "its public IPv4 address", per="gpu-hour", resource=INSTANCE
        ),
    ]
