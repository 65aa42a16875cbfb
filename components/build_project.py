"""One CodeBuild project of the delivery pipeline, with a role of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components import iam
from components.component import Component

IMAGE = "aws/codebuild/amazonlinux-aarch64-standard:3.0"


@dataclass(frozen=True, kw_only=True)
class BuildProjectArgs:
    """`stage` is the pipeline's, and names delivery/<stage>.yml; `statements` is what its role may
    do beyond its own log.
    """

    stack: str
    stage: str
    size: str
    timeout_minutes: int
    log_group: aws.cloudwatch.LogGroup
    statements: Sequence[iam.Statement]
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


class BuildProject(Component):
    """Runs one file of delivery/ on an ARM machine, for the pipeline alone."""

    def __init__(
        self, name: str, args: BuildProjectArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        granted = self._role(
            "codebuild.amazonaws.com", iam.write_own_logs(args.log_group.arn), *args.statements
        )
        self.project = aws.codebuild.Project(
            f"{name}-project",
            name=f"tl-fif-{args.stack}-{args.stage}",
            description=f"delivery/{args.stage}.yml for the stack {args.stack}",
            service_role=granted.role.arn,
            source={"type": "CODEPIPELINE", "buildspec": f"delivery/{args.stage}.yml"},
            artifacts={"type": "CODEPIPELINE"},
            environment={
                "type": "ARM_CONTAINER",
                "compute_type": args.size,
                "image": IMAGE,
                "image_pull_credentials_type": "CODEBUILD",
                "environment_variables": [
                    {"name": each, "value": value, "type": "PLAINTEXT"}
                    for each, value in args.variables.items()
                ],
            },
            build_timeout=args.timeout_minutes,
            logs_config={
                "cloudwatch_logs": {
                    "status": "ENABLED",
                    "group_name": args.log_group.name,
                    "stream_name": args.stage,
                }
            },
            # CodeBuild tries its role at once.
            opts=self._child(depends_on=granted.policies),
        )
        self.register_outputs({"arn": self.project.arn})
