"""What an account has that moto lacks: an Image Builder, quotas, connections to GitHub, executions
of a pipeline.

Each is registered with a local cloud's endpoint, so that any client that asks AWS asks these.
"""

from collections.abc import Callable, Mapping
from typing import Any

from local.aws.answers import Ask, json_answer
from local.aws.errors import AwsError
from local.aws.messages import Answer
from local.aws.requests import AwsRequest
from local.cloud import LocalCloud
from recording import kinds
from recording.model import ACCOUNT_ID
from tlfif import names

EXECUTION, WAITING = (f"00000000-0000-4000-8000-00000000000{each}" for each in (1, 2))
BUILD = "tl-fif-dev-smoke:00000000-0000-4000-8000-000000000003"
Facts = Mapping[str, Any]
PIPELINE, RECIPE = kinds.imagebuilder.PIPELINE.token, kinds.imagebuilder.RECIPE.token


class Account:
    """The doubles of one cloud, and what was asked of them."""

    def __init__(self, cloud: LocalCloud) -> None:
        # EC2's quota of vCPUs with GPUs: none, as of a new account, until AWS grants what it was
        # asked for.
        self.vcpus, self.asked_for = 0.0, 0.0
        self.connections: dict[str, dict[str, str]] = {}
        self.images: list[dict[str, Any]] = []
        self._cloud = cloud
        self._answers("imagebuilder", self._builder)
        self._answers("service-quotas", self._quotas)
        self._answers("codeconnections", self._connections)
        self._answers("codepipeline", self._executions)
        self.stopped_builds: list[str] = []
        self._answers("codebuild", {"StopBuild": self._stop_build})
        cloud.endpoint.answers["ec2", "DeregisterImage"] = self._deregister

    def _answers(self, service: str, answers: Mapping[str, Callable[[Facts], Facts]]) -> None:
        for operation, make in answers.items():
            self._cloud.endpoint.answers[service, operation] = _handler(make)

    # --- Image Builder: one bake, which is done when somebody looks

    @property
    def _builder(self) -> Mapping[str, Callable[[Facts], Facts]]:
        return {
            "GetImagePipeline": self._pipeline,
            "ListImagePipelineImages": lambda _: {"imageSummaryList": self.images},
            "StartImagePipelineExecution": self._bake,
            "GetImage": lambda asked: {"image": self._image(asked["imageBuildVersionArn"])},
            "DeleteImage": self._forget,
            "ListWorkflowExecutions": lambda _: {"workflowExecutions": []},
        }

    def _pipeline(self, asked: Facts) -> Facts:
        recording = self._cloud.recording
        known = [each.outputs["arn"] for each in recording.of_type(PIPELINE)]
        if asked["imagePipelineArn"] not in known:
            raise AwsError(404, "ResourceNotFoundException", "no such pipeline")
        recipe = recording.one(RECIPE).outputs["arn"]
        return {"imagePipeline": {"arn": asked["imagePipelineArn"], "imageRecipeArn": recipe}}

    def _bake(self, asked: Facts) -> Facts:
        recipe = self._cloud.recording.one(RECIPE).outputs["arn"]
        of_it = recipe.replace(":image-recipe/", ":image/")
        build = sum(each["arn"].startswith(of_it) for each in self.images) + 1
        arn = f"{of_it}/{build}"
        ami = self._ami(arn)
        resources = {"amis": [{"region": self._cloud.moto.region, "image": ami}]}
        self.images.append(
            {"arn": arn, "state": {"status": "AVAILABLE"}, "outputResources": resources}
        )
        return {"imageBuildVersionArn": arn}

    def _ami(self, arn: str) -> str:
        """An image tagged as Image Builder leaves it; moto makes its snapshot."""
        ec2 = self._cloud.moto.client("ec2")
        ami = ec2.register_image(
            Name=arn.rpartition(":image/")[2].replace("/", "-"),
            Architecture="x86_64",
            RootDeviceName="/dev/sda1",
        )["ImageId"]
        tags = {names.IMAGE_TAG: self._cloud.options.stack, "Ec2ImageBuilderArn": arn}
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        ec2.create_tags(Resources=[ami], Tags=listed)
        return ami

    def _image(self, arn: str) -> Facts:
        return next(each for each in self.images if each["arn"] == arn)

    def _forget(self, asked: Facts) -> Facts:
        self.images.remove(dict(self._image(asked["imageBuildVersionArn"])))
        return {"imageBuildVersionArn": asked["imageBuildVersionArn"]}

    async def _deregister(self, request: AwsRequest, ask: Ask) -> Answer:
        """EC2 deletes an image's snapshots with it, if it is asked to; moto leaves them."""
        ec2, image = self._cloud.moto.client("ec2"), request.params["ImageId"]
        found = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
        answer = await ask()
        if request.params.get("DeleteAssociatedSnapshots"):
            for each in found:
                ec2.delete_snapshot(SnapshotId=each["Ebs"]["SnapshotId"])
        return answer

    def shake_hands(self) -> None:
        """What a person does in the console."""
        for each in self.connections.values():
            each["ConnectionStatus"] = "AVAILABLE"

    # --- executions of the delivery pipeline: one, which hangs

    @property
    def _executions(self) -> Mapping[str, Callable[[Facts], Facts]]:
        run = {"pipelineExecutionId": EXECUTION}
        # A later one waits before the stage that hangs: it is not the one to be ended.
        done = {"pipelineExecutionId": WAITING, "status": "Succeeded"}
        build = {"status": "InProgress", "externalExecutionId": BUILD}
        stages = [
            {"stageName": "Test", "latestExecution": done},
            {
                "stageName": "Deploy",
                "latestExecution": {**run, "status": "InProgress"},
                "actionStates": [
                    {"actionName": "Deploy", "latestExecution": {"status": "Succeeded"}},
                    {"actionName": "Smoke", "latestExecution": build},
                ],
            },
        ]
        return {
            "GetPipelineState": lambda _: {"stageStates": stages},
            "StopPipelineExecution": self._stopped,
            "RetryStageExecution": self._stopped,
            "StartPipelineExecution": lambda _: run,
        }

    def _stopped(self, asked: Facts) -> Facts:
        """Ends, or runs again, the execution that hangs."""
        wrong = asked["pipelineExecutionId"] != EXECUTION
        if wrong or asked.get("stageName", "Deploy") != "Deploy":
            raise AwsError(400, "PipelineExecutionNotFoundException", "it does not hang there")
        return {"pipelineExecutionId": EXECUTION}

    def _stop_build(self, asked: Facts) -> Facts:
        if asked["id"] != BUILD:
            raise AwsError(400, "ResourceNotFoundException", "no such build")
        self.stopped_builds.append(asked["id"])
        return {"build": {"id": BUILD, "buildStatus": "STOPPED"}}

    # --- quotas and connections

    @property
    def _quotas(self) -> Mapping[str, Callable[[Facts], Facts]]:
        return {
            "GetServiceQuota": lambda asked: {
                "Quota": {"QuotaCode": asked["QuotaCode"], "Value": self.vcpus}
            },
            "RequestServiceQuotaIncrease": self._more,
        }

    def _more(self, asked: Facts) -> Facts:
        self.asked_for = asked["DesiredValue"]
        return {"RequestedQuota": {"Status": "PENDING", "DesiredValue": self.asked_for}}

    def grant(self) -> None:
        """What AWS does hours or days after it was asked; until then EC2 would have refused each
        instance, so none may have been asked for.
        """
        made = self._cloud.moto.client("ec2").describe_instances()["Reservations"]
        assert made == [], "VcpuLimitExceeded"
        self.vcpus = self.asked_for

    @property
    def _connections(self) -> Mapping[str, Callable[[Facts], Facts]]:
        return {
            "CreateConnection": self._connect,
            "GetConnection": lambda asked: {"Connection": self.connections[asked["ConnectionArn"]]},
            "ListConnections": lambda _: {"Connections": list(self.connections.values())},
            "DeleteConnection": self._disconnect,
        }

    def _connect(self, asked: Facts) -> Facts:
        number = f"{len(self.connections) + 1:012d}"
        where = f"arn:aws:codeconnections:{self._cloud.moto.region}:{ACCOUNT_ID}"
        arn = f"{where}:connection/00000000-0000-4000-8000-{number}"
        known = {"ConnectionArn": arn, "ConnectionName": asked["ConnectionName"]}
        self.connections[arn] = {**known, "ConnectionStatus": "PENDING"}
        return {"ConnectionArn": arn}

    def _disconnect(self, asked: Facts) -> Facts:
        del self.connections[asked["ConnectionArn"]]
        return {}


def _handler(make: Callable[[Facts], Facts]) -> Callable[[AwsRequest, Ask], Any]:
    async def answer(request: AwsRequest, ask: Ask) -> Answer:
        return json_answer(make(request.params))

    return answer
