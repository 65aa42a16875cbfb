"""One Lambda function with all that it needs: role, least-privilege policy, log group, bundle and
tracing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components import billed, bundle, iam, prices, pricing, surfaces
from components.component import Component, Metric, ServiceRole
from components.naming import FUNCTION_LIMIT, fitted
from components.pricing import CostLine
from tlfif.names import ALIAS

LOG_DAYS = 14
# What the delivery pipeline decides, of a function and of its alias.
PIPELINES_CODE = ["code", "sourceCodeHash"]
# What the alias says of itself is which versions a smoke test has passed with.
PIPELINES_OWN = ["description", "functionVersion", "routingConfig"]
# The version that is not published: a new alias names it until the first deployment.
UNPUBLISHED = "$LATEST"
# A schedule comes again in a minute: what could not be delivered or failed is not run later, beside
# the next.
STALE_S = 60
# A function in the VPC has no IPv4 way out; AWS's dual-stack hosts are its only ones.
DUALSTACK = {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
_ALL = {"log_format": "Text"}
_TERSE = {"log_format": "JSON", "system_log_level": "WARN", "application_log_level": "INFO"}
# What Lambda itself writes about a call (START, END, REPORT), and one or two lines of ours.
LOG_GB_PER_CALL = 1e-6


@dataclass(frozen=True, kw_only=True)
class VpcPlacement:
    """Where a function that must reach the queue runs, and the ways that must be there before."""

    subnet_id: pulumi.Input[str]
    security_group_id: pulumi.Input[str]
    ways: Sequence[pulumi.Resource]


@dataclass(frozen=True, kw_only=True)
class LambdaFunctionArgs:
    """`source` is the folder of functions/ whose `handler.handler` runs; `statements` is what it
    may do beyond its own logs, traces and network interfaces. `monthly_calls` of `usual_ms` are
    what its cost lines assume: once a minute.
    """

    source: str
    stack: str
    timeout_s: int
    memory_mb: int = 512
    disk_mb: int = prices.FREE_DISK_MB
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    statements: Sequence[iam.Statement] = ()
    vpc: VpcPlacement | None = None
    monthly_calls: int = pricing.MINUTES
    usual_ms: int = 50
    # The configuration key to change when it costs too much.
    cost_key: str = ""
    # Behind the API the trace is the stage's.
    starts_traces: bool = True
    # Whether Lambda itself writes nothing of a call that went well: its three lines cost as much as
    # the call. Whoever can call as often as they like is what it is for.
    terse: bool = False
    # A schedule's calls are all alike: their traces would cost more than they say.
    traced: bool = True
    log_days: int = LOG_DAYS
    # Whether callers see the version that the alias `prod` names, and not the latest; and whether
    # the pipeline publishes versions and moves that alias, step by step, or each `pulumi up`.
    versioned: bool = False
    pipeline: bool = False


class LambdaFunction(Component):
    """A Python 3.12 function, on the processors that its bundle is for."""

    def __init__(
        self, name: str, args: LambdaFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        # A fixed name: the pipeline, `make invoke` and the log group name the function too.
        self._function_name = function_name(args.stack, args.source)
        log_group_name = f"/aws/lambda/{self._function_name}"
        self.log_group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=log_group_name,
            retention_in_days=args.log_days,
            opts=self._child(),
        )
        self.function = self._create_function(self._create_role())
        self.alias = self._create_alias() if args.versioned else None
        self.invoke_arn = (self.alias or self.function).invoke_arn
        self._bill(*cost_lines(args))
        run_time = prices.run_time(bundle.architecture(args.source), args.memory_mb, args.disk_mb)
        self._count(
            log_group=log_group_name,
            function=surfaces.function(args.source, self._function_name, run_time),
        )
        self.register_outputs({"arn": self.function.arn})

    def allow_invoke(
        self, role: str, principal: str, source_arn: pulumi.Input[str]
    ) -> aws.lambda_.Permission:
        """Lets one AWS service call the function for one resource of its own."""
        return aws.lambda_.Permission(
            f"{self._name}-from-{role}",
            action="lambda:InvokeFunction",
            function=self.function.name,
            qualifier=self.alias.name if self.alias else None,
            principal=principal,
            source_arn=source_arn,
            opts=self._child(),
        )

    def failures(self, threshold: int) -> Metric:
        """What an alarm looks at that rings when so many calls of it failed in a period."""
        return {
            "namespace": "AWS/Lambda",
            "metric_name": "Errors",
            "dimensions": {"FunctionName": self.function.name},
            "statistic": "Sum",
            "threshold": threshold,
        }

    def call_once(self) -> aws.lambda_.FunctionEventInvokeConfig:
        """Lets an asynchronous call be one: not made again when it fails, nor after `STALE_S`."""
        return aws.lambda_.FunctionEventInvokeConfig(
            f"{self._name}-once",
            function_name=self.function.name,
            qualifier=self.alias.name if self.alias else None,
            maximum_retry_attempts=0,
            maximum_event_age_in_seconds=STALE_S,
            opts=self._child(),
        )

    def run_every(self, interval: str) -> None:
        """Calls the function on a schedule, such as every `1 minute` or `5 minutes`; once each
        time, also when it fails.
        """
        rule = aws.cloudwatch.EventRule(
            f"{self._name}-schedule", schedule_expression=f"rate({interval})", opts=self._child()
        )
        allowed = self.allow_invoke("schedule", "events.amazonaws.com", rule.arn)
        once = self.call_once()
        aws.cloudwatch.EventTarget(
            f"{self._name}-target",
            rule=rule.name,
            arn=(self.alias or self.function).arn,
            retry_policy={
                "maximum_retry_attempts": 0,
                "maximum_event_age_in_seconds": STALE_S,
            },
            # From the first call on it may be called.
            opts=self._child(depends_on=[allowed, once]),
        )

    def _create_alias(self) -> aws.lambda_.Alias:
        return aws.lambda_.Alias(
            f"{self._name}-alias",
            name=ALIAS,
            function_name=self.function.name,
            function_version=UNPUBLISHED if self._args.pipeline else self.function.version,
            # With a pipeline it is its decision which version serves: it shifts traffic step by
            # step, and back.
            opts=self._child(ignore_changes=PIPELINES_OWN if self._args.pipeline else []),
        )

    def _create_role(self) -> ServiceRole:
        statements = [iam.write_own_logs(self.log_group.arn)]
        statements += [iam.send_traces()] if self._args.traced else []
        statements += [iam.attach_to_vpc()] if self._args.vpc else []
        return self._role("lambda.amazonaws.com", *statements, *self._args.statements)

    def _create_function(self, granted: ServiceRole) -> aws.lambda_.Function:
        args = self._args
        return aws.lambda_.Function(
            f"{self._name}-function",
            name=self._function_name,
            role=granted.role.arn,
            runtime="python3.12",
            architectures=[bundle.architecture(args.source)],
            handler=f"{args.source}.handler.handler",
            code=bundle.archive(args.source),
            source_code_hash=bundle.source_hash(args.source),
            memory_size=args.memory_mb,
            ephemeral_storage=_disk(args.disk_mb),
            timeout=args.timeout_s,
            publish=args.versioned and not args.pipeline,
            environment={"variables": args.environment},
            tracing_config={"mode": "Active" if args.traced else "PassThrough"},
            vpc_config=_vpc_config(args.vpc),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(
                log_group=self.log_group.name, **(_TERSE if args.terse else _ALL)
            ),
            # Without its policy a function in a VPC cannot be made: Lambda checks that the role may
            # attach it.
            opts=self._child(
                depends_on=[*granted.policies, *(args.vpc.ways if args.vpc else ())],
                # The next deployment brings this program's code; `pulumi up` takes none back.
                ignore_changes=PIPELINES_CODE if args.pipeline else [],
            ),
        )


def function_name(stack: str, source: str) -> str:
    """The name of a stack's function: a fixed one, for whoever calls it before it is made."""
    return fitted(f"tl-fif-{stack}-{source.replace('_', '-')}", FUNCTION_LIMIT)


def _disk(size_mb: int) -> aws.lambda_.FunctionEphemeralStorageArgs | None:
    if size_mb == prices.FREE_DISK_MB:
        return None
    return aws.lambda_.FunctionEphemeralStorageArgs(size=size_mb)


def _vpc_config(vpc: VpcPlacement | None) -> aws.lambda_.FunctionVpcConfigArgs | None:
    if vpc is None:
        return None
    return aws.lambda_.FunctionVpcConfigArgs(
        subnet_ids=[vpc.subnet_id],
        security_group_ids=[vpc.security_group_id],
        ipv6_allowed_for_dual_stack=True,
    )


def cost_lines(args: LambdaFunctionArgs) -> list[CostLine]:
    """What a function costs in a month in which it is called as its arguments assume."""
    name, calls, key = args.source, args.monthly_calls, args.cost_key
    run_time = prices.run_time(bundle.architecture(name), args.memory_mb, args.disk_mb)
    seconds = calls * args.usual_ms / 1000
    lines = [
        pricing.line("Lambda request", calls, f"{name}: calls", resource=billed.FUNCTION, key=key),
        *(
            pricing.line(item, seconds * gb, f"{name}: {what}", resource=billed.FUNCTION, key=key)
            for item, gb, what in run_time
        ),
        pricing.line(
            "log ingestion",
            calls * LOG_GB_PER_CALL,
            f"{name}: logs",
            resource=billed.LOG_GROUP,
            key=key,
        ),
    ]
    if args.traced and args.starts_traces:
        lines.append(pricing.line("trace", calls, f"{name}: traces", resource=billed.FUNCTION))
    return lines
