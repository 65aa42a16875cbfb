"""An Image Builder for a local cloud, which moto has none of: it bakes at once, or fails to."""

import itertools
from typing import Any

from local.aws.answers import Ask, json_answer
from local.aws.messages import Answer
from local.aws.requests import AwsRequest
from local.cloud import LocalCloud
from recording import kinds
from tlfif import names


class ImageBuilder:
    """`fails` is why the next bake does; it takes `minutes` of the builder."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.fails, self.minutes = "", 10
        self.images: list[dict[str, Any]] = []
        self._cloud, self._numbers = cloud, itertools.count(1)
        recording = cloud.recording
        self._recipe = recording.one(kinds.imagebuilder.RECIPE.token)
        handlers = {
            "GetImagePipeline": self._pipeline,
            "ListImagePipelineImages": self._list,
            "StartImagePipelineExecution": self._start,
            "GetImage": self._get,
            "DeleteImage": self._delete,
            "ListWorkflowExecutions": self._executions,
            "ListWorkflowStepExecutions": self._steps,
        }
        cloud.endpoint.answers |= {("imagebuilder", name): each for name, each in handlers.items()}

    async def _pipeline(self, request: AwsRequest, ask: Ask) -> Answer:
        told = {
            "arn": request.params["imagePipelineArn"],
            "imageRecipeArn": self._recipe.outputs["arn"],
        }
        return json_answer({"imagePipeline": told})

    async def _list(self, request: AwsRequest, ask: Ask) -> Answer:
        return json_answer({"imageSummaryList": self.images})

    async def _start(self, request: AwsRequest, ask: Ask) -> Answer:
        recipe = self._recipe.outputs["arn"].replace(":image-recipe/", ":image/", 1)
        arn = f"{recipe}/{next(self._numbers)}"
        image: dict[str, Any] = {"arn": arn, "state": {"status": "AVAILABLE"}}
        if self.fails:
            image["state"] = {"status": "FAILED", "reason": self.fails}
        else:
            amis = [{"region": self._cloud.moto.region, "image": self._ami(arn)}]
            image["outputResources"] = {"amis": amis}
        self.images.append(image)
        return json_answer({"imageBuildVersionArn": arn})

    def _ami(self, arn: str) -> str:
        ec2 = self._cloud.moto.client("ec2")
        made = ec2.register_image(Name=arn, RootDeviceName="/dev/sda1")["ImageId"]
        tags = {
            names.IMAGE_TAG: self._cloud.options.stack,
            names.IMAGE_VERSION_TAG: self._recipe.inputs["version"],
            "Ec2ImageBuilderArn": arn,
        }
        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        ec2.create_tags(Resources=[made], Tags=named)
        return made

    async def _get(self, request: AwsRequest, ask: Ask) -> Answer:
        arn = request.params["imageBuildVersionArn"]
        return json_answer({"image": next(each for each in self.images if each["arn"] == arn)})

    async def _delete(self, request: AwsRequest, ask: Ask) -> Answer:
        arn = request.params["imageBuildVersionArn"]
        self.images = [each for each in self.images if each["arn"] != arn]
        return json_answer({"imageBuildVersionArn": arn})

    async def _executions(self, request: AwsRequest, ask: Ask) -> Answer:
        execution = {
            "workflowExecutionId": "wf-00000000-0000-0000-0000-000000000001",
            "type": "BUILD",
            "startTime": _at(0),
        }
        return json_answer({"workflowExecutions": [execution]})

    async def _steps(self, request: AwsRequest, ask: Ask) -> Answer:
        step = {"name": "ApplyBuildComponents", "startTime": _at(0), "endTime": _at(self.minutes)}
        return json_answer({"steps": [step]})


def _at(minute: int) -> str:
    return f"2026-11-26T09:{minute:02}:00Z"
