"""A CloudWatch Synthetics canary that asks what the probe asks, from inside the VPC."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing, zips
from components.bundle import ROOT
from components.component import Component, ServiceRole
from components.lambda_function import DUALSTACK, VpcPlacement
from components.naming import fitted
from components.storage import FINDINGS, RepliesBucket
from tlfif import environment

NAME_LIMIT = 21
RUN_TIMEOUT_S = 30
KEEP_DAYS = 7
# Where Synthetics looks for a Python canary, and the files of ours that it runs.
_PROBE = ("ping_probe/__init__.py", "ping_probe/handler.py")
_SHARED = [f"tlfif/{name}.py" for name in ("__init__", "emf", "environment", "log", "names")]
_SOURCES = {
    "python/ping_canary.py": "functions/ping_probe/canary.py",
    **{f"python/{name}": f"functions/{name}" for name in _PROBE},
    **{f"python/{name}": name for name in _SHARED},
}


def script(root: Path = ROOT) -> Path:
    """The canary's zip, named after its content; written unless it is there."""
    zipped = zips.packed({name: (root / path).read_bytes() for name, path in _SOURCES.items()})
    digest = hashlib.sha256(zipped).hexdigest()[:16]
    path = root / "dist" / "canary" / f"ping-{digest}.zip"
    if not path.exists():
        zips.write(path, zipped)
    return path


def schedule(minutes: int) -> str:
    """The expression for a run every so many minutes; ValueError for what Synthetics cannot say.

    A rate goes up to one hour; what is longer is cron, whose hours begin anew each day
    (Synthetics API reference, CanaryScheduleInput).
    """
    hours, rest = divmod(minutes, 60)
    if minutes == 60:
        return "rate(1 hour)"
    if 1 <= minutes < 60:
        return f"rate({minutes} minute{'s' if minutes > 1 else ''})"
    if minutes > 0 and not rest and 24 % hours == 0:
        return f"cron(0 {'0' if hours == 24 else f'*/{hours}'} * * ? *)"
    raise ValueError(
        f"every_minutes = {minutes}: a canary runs every 1 to 60 minutes, or every 2, 3, 4, 6, 8, "
        "12 or 24 hours"
    )


@dataclass(frozen=True, kw_only=True)
class CanaryArgs:
    """`api_url` is the API with its stage; findings go to `replies_bucket`."""

    stack: str
    runtime: str
    every_minutes: int
    api_url: pulumi.Input[str]
    vpc: VpcPlacement
    replies_bucket: RepliesBucket


class Canary(Component):
    """Its findings go to the replies bucket, which empties itself."""

    def __init__(
        self, name: str, args: CanaryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.canary = self._create_canary(self._create_role())
        runs, key = pricing.MINUTES / args.every_minutes, "gateway:probe"
        self._bill(
            pricing.line("canary run", runs, "canary: /ping", resource=billed.CANARY, key=key)
        )
        self.register_outputs({"name": self.canary.name})

    def _create_role(self) -> ServiceRole:
        return self._role(
            "lambda.amazonaws.com",
            *iam.keep_canary_findings(self._args.replies_bucket.arn, FINDINGS),
            iam.put_metrics("CloudWatchSynthetics"),
            iam.send_traces(),
            iam.attach_to_vpc(),
        )

    def _create_canary(self, granted: ServiceRole) -> aws.synthetics.Canary:
        args, bucket = self._args, self._args.replies_bucket.name
        told = environment.Canary.variables(api_url=args.api_url)
        return aws.synthetics.Canary(
            self._name,
            name=fitted(f"tl-fif-{args.stack}", NAME_LIMIT),
            runtime_version=args.runtime,
            handler="ping_canary.handler",
            zip_file=script().relative_to(ROOT).as_posix(),
            artifact_s3_location=pulumi.Output.concat("s3://", bucket, "/", FINDINGS),
            execution_role_arn=granted.role.arn,
            schedule={"expression": schedule(args.every_minutes)},
            run_config={
                "timeout_in_seconds": RUN_TIMEOUT_S,
                "environment_variables": {**told, **DUALSTACK},
            },
            vpc_config={
                "subnet_ids": [args.vpc.subnet_id],
                "security_group_ids": [args.vpc.security_group_id],
                "ipv6_allowed_for_dual_stack": True,
            },
            start_canary=True,
            delete_lambda=True,
            success_retention_period=KEEP_DAYS,
            failure_retention_period=KEEP_DAYS,
            # It runs as soon as it is there.
            opts=self._child(depends_on=[*granted.policies, *args.vpc.ways]),
        )
