"""An account in which an image is baked: moto's, with an Image Builder that answers by script."""

from dataclasses import dataclass, field
from typing import Any

from botocore.stub import ANY, Stubber

from tools.bake.__main__ import Aws, Options, bake
from tools.bake.pipeline import Clock

REGION, ACCOUNT = "us-east-1", "123456789012"
BUILDER = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}"
PIPELINE = f"{BUILDER}:image-pipeline/tl-fif-dev-gpu-node"
RECIPE = f"{BUILDER}:image-recipe/tl-fif-dev-gpu-image-recipe-0a1b2c3/1.0.7"
NOW = f"{BUILDER}:image/tl-fif-dev-gpu-image-recipe-0a1b2c3/1.0.7/1"
AGAIN = NOW.removesuffix("1") + "2"
OLD = f"{BUILDER}:image/tl-fif-dev-gpu-image-recipe-9f8e7d6/1.0.3/1"
PARAMETER = "/tl-fif/latest_ami_id-dev"
WORKFLOW = "wf-00000000-0000-0000-0000-000000000001"


@dataclass
class World:
    """An account: moto's, with a scripted Image Builder and a clock that runs when it is asked."""

    aws: Aws
    builder: Stubber
    now: float = 0
    said: list[str] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    @property
    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Clock(now=lambda: self.now, sleep=sleep)

    def bake(self, **options: Any) -> str:
        given = Options(stack="dev", region=REGION, **options)
        return bake(given, self.aws, self.clock, self.said.append)

    def note(self, model: Any, **_: Any) -> None:
        self.called.add(f"{model.service_model.service_name}:{model.name}")

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    @property
    def published(self) -> str | None:
        found = self.aws.ssm.get_parameters(Names=[PARAMETER])["Parameters"]
        return found[0]["Value"] if found else None

    # --- what Image Builder answers, in this order

    def has(self, *images: tuple[str, str], lists: int = 1) -> None:
        """Its pipeline, and each time it is asked these images with their states."""
        self.builder.add_response(
            "get_image_pipeline",
            {"imagePipeline": {"arn": PIPELINE, "imageRecipeArn": RECIPE}},
            {"imagePipelineArn": PIPELINE},
        )
        for _ in range(lists):
            self.lists(*images)

    def lists(self, *images: tuple[str, str]) -> None:
        summaries = [
            {"arn": arn, "state": {"status": status}, **self._amis(arn)} for arn, status in images
        ]
        asked = {"imagePipelineArn": PIPELINE}
        self.builder.add_response(
            "list_image_pipeline_images", {"imageSummaryList": summaries}, asked
        )

    def starts(self, image: str) -> None:
        self.builder.add_response(
            "start_image_pipeline_execution",
            {"imageBuildVersionArn": image},
            {"imagePipelineArn": PIPELINE, "clientToken": ANY},
        )

    def tells(self, image: str, *states: str, **more: Any) -> None:
        for status in states:
            told = {"arn": image, "state": {"status": status, **more}, **self._amis(image)}
            self.builder.add_response("get_image", {"image": told}, {"imageBuildVersionArn": image})

    def times(self, image: str, seconds: int = 300) -> None:
        execution = {"workflowExecutionId": WORKFLOW, "type": "BUILD", "startTime": _at(0)}
        self.builder.add_response(
            "list_workflow_executions",
            {"workflowExecutions": [execution]},
            {"imageBuildVersionArn": image},
        )
        step = {"name": "ApplyBuildComponents", "startTime": _at(0), "endTime": _at(seconds)}
        self.builder.add_response(
            "list_workflow_step_executions",
            {"steps": [{"name": "Skipped"}, step]},
            {"workflowExecutionId": WORKFLOW},
        )

    def bakes(self, image: str) -> None:
        """A whole bake, which goes well."""
        self.starts(image)
        self.tells(image, "PENDING", "BUILDING", "BUILDING", "TESTING", "AVAILABLE")
        self.times(image)

    def _amis(self, arn: str) -> dict[str, Any]:
        filters = [{"Name": "tag:Ec2ImageBuilderArn", "Values": [arn]}]
        images = self.aws.ec2.describe_images(Filters=filters)["Images"]
        amis = [{"region": REGION, "image": each["ImageId"]} for each in images]
        return {"outputResources": {"amis": amis}} if amis else {}

    # --- what the account has

    def ami(self, arn: str, stack: str = "dev") -> str:
        """An image as Image Builder leaves it; later ones are newer."""
        made = self.aws.ec2.register_image(Name=arn, RootDeviceName="/dev/sda1")["ImageId"]
        tags = {"tl-fif:gpu-node": stack, "Ec2ImageBuilderArn": arn}
        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.aws.ec2.create_tags(Resources=[made], Tags=named)
        return made

    def amis(self) -> set[str]:
        return {each["ImageId"] for each in self.aws.ec2.describe_images()["Images"]}


def _at(seconds: int) -> str:
    return f"2026-11-26T09:{seconds // 60:02}:{seconds % 60:02}Z"
