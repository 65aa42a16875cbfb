"""A CloudWatch Synthetics canary that asks what the probe asks, from inside the VPC."""

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components import bundle, iam, pricing
from components.lambda_function import DUALSTACK, VpcPlacement
from components.storage import Storage
from tlfif import environment

RUN_TIMEOUT_S = 30
KEEP_DAYS = 7
PREFIX = "canary"
# Where Synthetics looks for a Python canary, and the files of ours that it runs.
_PROBE = ("ping_probe/__init__.py", "ping_probe/handler.py")
_SHARED = [f"tlfif/{name}.py" for name in ("__init__", "emf", "environment", "log", "names")]
_SOURCES = {
    "python/ping_canary.py": "functions/ping_probe/canary.py",
    **{f"python/{name}": f"functions/{name}" for name in _PROBE},
    **{f"python/{name}": name for name in _SHARED},
}


def script(root: Path = bundle.ROOT) -> Path:
    """The canary's zip, named after its content; written unless it is there."""
    contents = {name: (root / source).read_bytes() for name, source in sorted(_SOURCES.items())}
    digest = hashlib.sha256(repr(contents).encode()).hexdigest()[:16]
    path = root / "dist" / "canary" / f"ping-{digest}.zip"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file,
            zipfile.ZipFile(file, "w") as zipped,
        ):
            for name, content in contents.items():
                zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
        # Whole at once: the program may run several times side by side.
        Path(file.name).replace(path)
    return path


@dataclass(frozen=True, kw_only=True)
class CanaryArgs:
    stack: str
    runtime: str
    every_minutes: int
    api_url: pulumi.Input[str]
    vpc: VpcPlacement
    storage: Storage


class Canary(pulumi.ComponentResource):
    """Its findings go to the replies bucket, which empties itself."""

    def __init__(
        self, name: str, args: CanaryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Canary", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        role, policy = self._create_role()
        self.canary = self._create_canary(role, policy)
        runs = pricing.MINUTES / args.every_minutes
        self.cost_lines = [
            pricing.line(
                "canary run", runs, "canary: /ping", resource=pricing.CANARY, key="gateway:probe"
            )
        ]
        self.register_outputs({"name": self.canary.name})

    def _create_role(self) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        role = aws.iam.Role(
            f"{self._name}-role",
            assume_role_policy=pulumi.Output.json_dumps(
                iam.document(iam.trust("lambda.amazonaws.com"))
            ),
            opts=self._child,
        )
        bucket = self._args.storage.bucket.arn
        statements = [
            *iam.keep_canary_findings(bucket, PREFIX),
            iam.put_metrics("CloudWatchSynthetics"),
        ]
        statements += [iam.send_traces(), iam.attach_to_vpc()]
        policy = aws.iam.RolePolicy(
            f"{self._name}-policy",
            role=role.name,
            policy=pulumi.Output.json_dumps(iam.document(*statements)),
            opts=self._child,
        )
        return role, policy

    def _create_canary(
        self, role: aws.iam.Role, policy: aws.iam.RolePolicy
    ) -> aws.synthetics.Canary:
        args = self._args
        every = (
            "rate(1 minute)"
            if args.every_minutes == 1
            else f"rate({args.every_minutes // 60} hours)"
        )
        return aws.synthetics.Canary(
            self._name,
            # Synthetics takes 21 characters.
            name=f"tl-fif-{args.stack}"[:21].rstrip("-"),
            runtime_version=args.runtime,
            handler="ping_canary.handler",
            zip_file=script().relative_to(bundle.ROOT).as_posix(),
            artifact_s3_location=pulumi.Output.concat(
                "s3://", args.storage.bucket.bucket, "/", PREFIX
            ),
            execution_role_arn=role.arn,
            schedule={"expression": every},
            run_config={
                "timeout_in_seconds": RUN_TIMEOUT_S,
                "environment_variables": {
                    **environment.Canary.variables(api_url=args.api_url),
                    **DUALSTACK,
                },
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
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
