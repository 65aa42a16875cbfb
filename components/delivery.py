"""How a commit comes to serve: a pipeline that tests, bakes, deploys and proves what it deployed.

Each stage is a build of its own, with a role of its own; what it does is in delivery/<stage>.yml.
The pipeline owns the router's code, its versions and the alias `prod`; Pulumi owns the rest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pulumi
import pulumi_aws as aws

from components import billed, iam, iam_delivery, prices, pricing
from components.artifacts import COVERAGE, SMOKE, Artifacts, ArtifactsArgs
from components.build_project import BuildProject, BuildProjectArgs
from components.component import Component, Metric
from components.gpu_image import BUILD_MINUTES
from components.lambda_function import LambdaFunction
from components.naming import stack_name
from components.settings import Settings
from tlfif.names import SLACK_PARAMETER

LOG_DAYS = 30
SOURCE = "source"
# What rings within a minute that a canary lasts, and is no accident.
RINGS_AT = 3
# What the estimate assumes of each run: its test and smoke stages, what a deployment takes beside
# its canary (three of them it watches the new version with all of the traffic), a look at whether
# anything has to be baked, the source; and of a bake, what is waited for it beyond its own time.
TEST_MINUTES, SMOKE_MINUTES, DEPLOY_MINUTES, LOOK_MINUTES, SOURCE_MINUTES = 5, 3, 5, 1, 1
BAKE_WAIT_MINUTES = 3
# What each stage may take at most; a deployment has its canary beside that, and of its own 20
# minutes needs three to watch all of the traffic, and some to set up, publish and put right.
TEST_LIMIT, BAKE_LIMIT, DEPLOY_LIMIT, SMOKE_LIMIT = 10, 75, 20, 20
LOG_GB_PER_PUSH = 0.002
# Deployed and proved while no other commit is: each may roll back what it deployed.
_WITHIN = {"smoke": "deploy"}
_SMALL, _MEDIUM = "BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_MEDIUM"


@dataclass(frozen=True, kw_only=True)
class DeliveryArgs:
    """`router` is what is deployed; the function at `probe_arn` asks the API from inside the VPC
    afterwards.

    `api_name` and `stage_name` name the API whose errors end a canary; `outputs` are the stack's,
    which the scripts act on. `topic_arn` hears of runs that end, and of the alarms.
    """

    settings: Settings
    region: str
    account_id: str
    stack: str
    router: LambdaFunction
    probe_arn: pulumi.Input[str]
    api_name: pulumi.Input[str]
    stage_name: pulumi.Input[str]
    outputs: Mapping[str, pulumi.Input[str] | None]
    topic_arn: pulumi.Input[str]


class _Stage(NamedTuple):
    """A stage that is a build: its size, its longest time, and what its role may do."""

    name: str
    size: str
    timeout_minutes: int
    statements: Sequence[iam.Statement]


class Delivery(Component):
    """CodePipeline, the builds of its stages, their bucket, and the alarms that end a canary."""

    def __init__(
        self, name: str, args: DeliveryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.pipeline_name = f"tl-fif-{args.stack}"
        pushes = args.settings.costs.pushes_per_month
        self.artifacts = Artifacts(
            f"{name}-artifacts", ArtifactsArgs(pushes_per_month=pushes), opts=self._child()
        )
        self._log_group = self._create_log_group()
        alarms = [self._watch_router(), self._watch_api()]
        self._alarm_arns = [each.arn for each in alarms]
        self.alarm_names: pulumi.Output[list[str]] = pulumi.Output.all(
            *[each.name for each in alarms]
        )
        self._create_webhook()
        self.pipeline = self._create_pipeline(
            {each.name: self._create_build(each) for each in self._stages()}
        )
        self._tell_how_it_ended()
        self._bill(*cost_lines(args.settings))
        self.register_outputs({"pipeline_name": self.pipeline.name})

    def _create_log_group(self) -> aws.cloudwatch.LogGroup:
        log_group_name = f"/aws/codebuild/{self.pipeline_name}"
        self._count(log_group=log_group_name)
        return aws.cloudwatch.LogGroup(
            f"{self._name}-logs",
            name=log_group_name,
            retention_in_days=LOG_DAYS,
            opts=self._child(),
        )

    # --- the stages

    def _stages(self) -> list[_Stage]:
        """In their order; there is nothing to bake where there are no nodes."""
        args, bucket = self._args, self.artifacts.bucket.arn
        where = (args.region, args.account_id, args.stack)
        router, delivery = args.router.function.arn, args.settings.delivery
        test = [iam_delivery.store(bucket, COVERAGE)]
        deploy = [
            *iam_delivery.release(router),
            iam_delivery.call_probe(args.probe_arn),
            iam_delivery.watch_alarms(self._alarm_arns),
            iam_delivery.tell_slack(*where),
        ]
        smoke = [
            iam_delivery.sign_in(*where),
            iam_delivery.tell_slack(*where),
            iam_delivery.store(bucket, SMOKE),
            iam_delivery.read_traces(),
            iam_delivery.say_unstable(),
            *iam_delivery.roll_back(router),
        ]
        bake = _Stage("bake", _SMALL, BAKE_LIMIT, iam.bake_images(*where))
        return [
            _Stage("test", _MEDIUM, TEST_LIMIT, test),
            *([bake] if args.settings.gpu.has_nodes else []),
            _Stage("deploy", _SMALL, DEPLOY_LIMIT + delivery.canary_minutes, deploy),
            _Stage("smoke", _SMALL, SMOKE_LIMIT, smoke),
        ]

    def _create_build(self, stage: _Stage) -> BuildProject:
        args, bucket = self._args, self.artifacts.bucket.arn
        connection = args.settings.delivery.connection_arn or ""
        common = (
            *iam_delivery.read_source(bucket, self.pipeline_name),
            iam_delivery.use_connection(connection),
        )
        return BuildProject(
            f"{self._name}-{stage.name}",
            BuildProjectArgs(
                stack=args.stack,
                stage=stage.name,
                size=stage.size,
                timeout_minutes=stage.timeout_minutes,
                log_group=self._log_group,
                statements=[*common, *stage.statements],
                variables=self._variables(stage.name),
            ),
            opts=self._child(),
        )

    def _variables(self, stage: str) -> dict[str, pulumi.Input[str]]:
        """What a script is told: the stack's outputs, as a person's command reads them."""
        delivery = self._args.settings.delivery
        outputs = {
            **self._args.outputs,
            "artifacts_bucket": self.artifacts.known_name,
            "deploy_alarms": self.alarm_names,
            "pipeline_name": self.pipeline_name,
        }
        canary = {
            "CANARY_PERCENT": str(delivery.canary_percent),
            "CANARY_MINUTES": str(delivery.canary_minutes),
        }
        return {
            "STACK": self._args.stack,
            # The test stage acts on nothing that is deployed.
            "OUTPUTS_JSON": "{}" if stage == "test" else pulumi.Output.json_dumps(outputs),
            "ARTIFACTS_BUCKET": self.artifacts.known_name,
            **(canary if stage == "deploy" else {}),
        }

    # --- the pipeline

    def _create_pipeline(self, builds: Mapping[str, BuildProject]) -> aws.codepipeline.Pipeline:
        """Runs the builds of these stages, in their order."""
        args, bucket = self._args, self.artifacts.bucket.arn
        connection = args.settings.delivery.connection_arn or ""
        granted = self._role(
            "codepipeline.amazonaws.com",
            iam_delivery.use_connection(connection),
            iam_delivery.run_builds([each.project.arn for each in builds.values()]),
            *iam_delivery.keep_artifacts(bucket, self.pipeline_name),
        )
        actions: dict[str, list[aws.codepipeline.PipelineStageActionArgsDict]] = {}
        for stage, build in builds.items():
            of_stage = actions.setdefault(_WITHIN.get(stage, stage).capitalize(), [])
            of_stage.append(_build(stage, build, len(of_stage) + 1))
        return aws.codepipeline.Pipeline(
            f"{self._name}-pipeline",
            name=self.pipeline_name,
            role_arn=granted.role.arn,
            pipeline_type="V2",
            # Each stage has one commit at a time: none ends the canary of the one before it.
            execution_mode="QUEUED",
            artifact_stores=[{"type": "S3", "location": self.artifacts.known_name}],
            stages=[
                {"name": "Source", "actions": [self._source()]},
                *({"name": name, "actions": each} for name, each in actions.items()),
            ],
            # It runs as soon as it is there.
            opts=self._child(depends_on=granted.policies),
        )

    def _source(self) -> aws.codepipeline.PipelineStageActionArgsDict:
        delivery = self._args.settings.delivery
        return {
            "name": "Source",
            "category": "Source",
            "owner": "AWS",
            "provider": "CodeStarSourceConnection",
            "version": "1",
            "namespace": "Source",
            "output_artifacts": [SOURCE],
            "configuration": {
                "ConnectionArn": delivery.connection_arn or "",
                "FullRepositoryId": delivery.repository or "",
                "BranchName": delivery.branch,
                # A clone, in which scripts see the history.
                "OutputArtifactFormat": "CODEBUILD_CLONE_REF",
                "DetectChanges": "true",
            },
        }

    # --- who is told

    def _create_webhook(self) -> None:
        webhook = self._args.settings.delivery.slack_webhook_url
        if webhook is None:
            return
        aws.ssm.Parameter(
            f"{self._name}-slack",
            name=stack_name(SLACK_PARAMETER, self._args.stack),
            type="SecureString",
            # Whoever knows this address can write there.
            value=pulumi.Output.secret(webhook.get_secret_value()),
            opts=self._child(),
        )

    def _tell_how_it_ended(self) -> None:
        """Of each run, however it ended: EventBridge remembers no last one."""
        args, name = self._args, self._name
        states = ["FAILED", "STOPPED", "SUCCEEDED", "SUPERSEDED"]
        pattern = {
            "source": ["aws.codepipeline"],
            "detail-type": ["CodePipeline Pipeline Execution State Change"],
            "detail": {"pipeline": [self.pipeline_name], "state": states},
        }
        rule = aws.cloudwatch.EventRule(
            f"{name}-ended",
            description=f"A run of the pipeline {self.pipeline_name} ended",
            event_pattern=json.dumps(pattern),
            opts=self._child(),
        )
        aws.cloudwatch.EventTarget(
            f"{name}-ended-target",
            rule=rule.name,
            arn=args.topic_arn,
            input_transformer={
                "input_paths": {"execution": "$.detail.execution-id", "state": "$.detail.state"},
                "input_template": json.dumps(
                    f"tl-fif {args.stack}: the delivery of a commit <state>. Which stage, and its "
                    "log: https://console.aws.amazon.com/codesuite/codepipeline/pipelines/"
                    f"{self.pipeline_name}/executions/<execution>/timeline?region={args.region} "
                    "What to do: docs/delivery.md."
                ),
            },
            opts=self._child(),
        )

    # --- what ends a canary

    def _watch_router(self) -> aws.cloudwatch.MetricAlarm:
        alias, router = self._args.router.alias, self._args.router.function.name
        assert alias is not None, "the router has versions"
        return self._ends_canary(
            "router-errors",
            "errors of the router",
            f"{RINGS_AT} calls or more of the router within a minute failed: a new version that "
            "has a part of the traffic loses it.",
            {
                "namespace": "AWS/Lambda",
                "metric_name": "Errors",
                "dimensions": {
                    "FunctionName": router,
                    "Resource": pulumi.Output.concat(router, ":", alias.name),
                },
                "statistic": "Sum",
                "threshold": RINGS_AT,
            },
        )

    def _watch_api(self) -> aws.cloudwatch.MetricAlarm:
        return self._ends_canary(
            "api-errors",
            "5xx within a minute",
            f"The API answered {RINGS_AT} times or more within a minute with 5xx: a new version "
            "of the router that has a part of the traffic loses it.",
            {
                "namespace": "AWS/ApiGateway",
                "metric_name": "5XXError",
                "dimensions": {"ApiName": self._args.api_name, "Stage": self._args.stage_name},
                "statistic": "Sum",
                "threshold": RINGS_AT,
            },
        )

    def _ends_canary(
        self, role: str, what: str, description: str, metric: Metric
    ) -> aws.cloudwatch.MetricAlarm:
        """Judged each minute: a canary lasts a few."""
        return self._alarm(
            role,
            what,
            description,
            [self._args.topic_arn],
            **metric,
            period=60,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )


def _build(
    stage: str, build: BuildProject, order: int
) -> aws.codepipeline.PipelineStageActionArgsDict:
    action: aws.codepipeline.PipelineStageActionArgsDict = {
        "name": stage.capitalize(),
        "category": "Test" if stage in ("test", "smoke") else "Build",
        "owner": "AWS",
        "provider": "CodeBuild",
        "version": "1",
        "namespace": stage.capitalize(),
        "run_order": order,
        "input_artifacts": [SOURCE],
        "configuration": {"ProjectName": build.project.name},
    }
    if stage != "smoke":
        return action
    # What is tried, and what comes back if it is not good.
    told = [
        {"name": name, "value": f"#{{Deploy.{name}}}", "type": "PLAINTEXT"}
        for name in ("VERSION", "PREVIOUS_VERSION")
    ]
    configuration = {
        "ProjectName": build.project.name,
        "EnvironmentVariables": json.dumps(told),
    }
    return {**action, "configuration": configuration}


def cost_lines(settings: Settings) -> list[pricing.CostLine]:
    """What the pipeline costs at so many pushes and bakes a month; nothing while nobody pushes."""
    pushes, key = settings.costs.pushes_per_month, "costs:pushesPerMonth"
    deploying = pushes * (DEPLOY_MINUTES + settings.delivery.canary_minutes)
    small, medium = (prices.BUILD_SIZES[size] for size in (_SMALL, _MEDIUM))
    builds = [
        (medium, pushes * TEST_MINUTES, "test", key),
        (small, deploying, "deploy", key),
        (small, pushes * SMOKE_MINUTES, "smoke", key),
    ]
    if settings.gpu.has_nodes:
        bakes = settings.costs.bakes_per_month * (BUILD_MINUTES + BAKE_WAIT_MINUTES)
        builds.append((small, pushes * LOOK_MINUTES + bakes, "bake", "costs:bakesPerMonth"))
    walking = pushes * SOURCE_MINUTES + sum(minutes for _, minutes, _, _ in builds)
    return [
        *(
            pricing.line(item, minutes, f"pipeline: {what}", resource=billed.BUILD, key=set_by)
            for item, minutes, what, set_by in builds
        ),
        pricing.line(
            "pipeline minute", walking, "pipeline: actions", resource=billed.PIPELINE, key=key
        ),
        pricing.line(
            "log ingestion",
            pushes * LOG_GB_PER_PUSH,
            "pipeline: logs",
            resource=billed.LOG_GROUP,
        ),
    ]
