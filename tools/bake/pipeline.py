"""Image Builder's side of a bake: the stack's pipeline, the images it baked, and a bake's end."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tlfif import names
from tools.bake.outcome import BUSY, FAILED, REFUSED, TIMED_OUT, BakeError

RUNNING = ("PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "INTEGRATING")
DONE = "AVAILABLE"
POLL_S = 15.0
_BUSY = "ResourceInUseException"
# What Image Builder says while it has too much to do; the bake goes on meanwhile.
_PASSING = (
    "CallRateLimitExceededException",
    "ServiceException",
    "ServiceUnavailableException",
    "ThrottlingException",
)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The time in seconds, and a way to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of Image Builder's own workflows; `phase` is BUILD, TEST or DISTRIBUTION."""

    phase: str
    name: str
    seconds: float


class Pipeline:
    """The pipeline of one stack, and its recipe as it is now."""

    def __init__(self, client: Any, arn: str, recipe: str) -> None:
        self._client, self._arn = client, arn
        # Images are named and numbered as the recipe that they are of.
        self._images = recipe.replace(":image-recipe/", ":image/", 1) + "/"

    @classmethod
    def find(cls, client: Any, stack: str, region: str, account_id: str) -> "Pipeline":
        """The stack's pipeline. Raises BakeError where it has none."""
        name = names.image_pipeline(stack)
        arn = f"arn:aws:imagebuilder:{region}:{account_id}:image-pipeline/{name}"
        try:
            found = client.get_image_pipeline(imagePipelineArn=arn)["imagePipeline"]
        except client.exceptions.ResourceNotFoundException:
            raise BakeError(
                REFUSED,
                f"there is no image pipeline {name} in {region} of account {account_id}: deploy "
                f"the stack first (pulumi up --stack {stack}); with gpu:wake = never it has none",
            ) from None
        return cls(client, arn, found["imageRecipeArn"])

    def is_current(self, image: str) -> bool:
        """Whether an image, by its ARN, is of what the recipe is now."""
        return image.startswith(self._images)

    def running(self) -> str | None:
        """The ARN of the image that is being baked, if one is.

        Raises BakeError where that is another version: two bakes would publish in any order.
        """
        baking = [each for each in self._listed() if each["state"]["status"] in RUNNING]
        others = [each for each in baking if not self.is_current(each["arn"])]
        if others:
            version = _version(others[0]["arn"])
            raise BakeError(
                BUSY,
                f"another version is being baked ({version}, {others[0]['state']['status']}): run "
                "this again when it has ended, or end it with: aws imagebuilder "
                f"cancel-image-creation --image-build-version-arn {others[0]['arn']}",
            )
        return baking[0]["arn"] if baking else None

    def baked(self, region: str) -> str | None:
        """The newest AMI of the recipe as it is now, if there is one."""
        done = [
            each
            for each in self._listed()
            if each["state"]["status"] == DONE and self.is_current(each["arn"])
        ]
        newest = sorted(done, key=lambda each: int(each["arn"].rpartition("/")[2]))
        return ami_of(newest[-1], region) if newest else None

    def start(self) -> str:
        """Starts a bake, and returns the ARN of the image that will come of it.

        Whoever starts one at the same moment gets the same: the token is of what was baked so far.
        """
        so_far = " ".join([self._images, *sorted(each["arn"] for each in self._listed())])
        token = hashlib.sha256(so_far.encode()).hexdigest()
        try:
            started = self._client.start_image_pipeline_execution(
                imagePipelineArn=self._arn, clientToken=token
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != _BUSY:
                raise
            running = self.running()
            if running is None:
                raise BakeError(BUSY, f"the pipeline is in use: {_words(error)}") from None
            return running
        return started["imageBuildVersionArn"]

    def wait(self, image: str, timeout_s: float, say: Say, clock: Clock) -> dict[str, Any]:
        """Waits until a bake has ended and says each of its states; returns the image.

        Raises BakeError if it failed, or takes longer than `timeout_s`.
        """
        began, last = clock.now(), ""
        while True:
            minutes = (clock.now() - began) / 60
            found = self._ask(image, say)
            status = found["state"]["status"] if found else last
            if status != last:
                say(f"{minutes:6.1f} min  {status}")
                last = status
            if found and status == DONE:
                return found
            if found and status not in RUNNING:
                raise BakeError(FAILED, failure(found))
            if clock.now() - began + POLL_S > timeout_s:
                raise BakeError(
                    TIMED_OUT,
                    f"it is not baked after {minutes:.0f} minutes ({last or 'no answer'}) and goes "
                    "on: run this again to wait for it",
                )
            clock.sleep(POLL_S)

    def _ask(self, image: str, say: Say) -> dict[str, Any] | None:
        """What Image Builder says of an image; None where it cannot be asked just now."""
        try:
            return self._client.get_image(imageBuildVersionArn=image)["image"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in _PASSING:
                raise
            say(f"            asked again: {_words(error)}")
        except BotoCoreError as error:
            say(f"            asked again: {error}")
        return None

    def steps(self, image: str) -> Iterator[Step]:
        """How long each step of a bake took, in their order."""
        executions = self._pages(
            "list_workflow_executions", "workflowExecutions", imageBuildVersionArn=image
        )
        for execution in sorted(executions, key=lambda each: each.get("startTime", "")):
            asked = {"workflowExecutionId": execution["workflowExecutionId"]}
            steps = self._pages("list_workflow_step_executions", "steps", **asked)
            for step in sorted(steps, key=lambda each: each.get("startTime", "")):
                if (seconds := _seconds(step)) is not None:
                    yield Step(phase=execution["type"], name=step["name"], seconds=seconds)

    def delete(self, image: str) -> None:
        """Takes an image out of Image Builder's list, whose AMI is gone."""
        self._client.delete_image(imageBuildVersionArn=image)

    def _listed(self) -> list[dict[str, Any]]:
        return list(
            self._pages(
                "list_image_pipeline_images", "imageSummaryList", imagePipelineArn=self._arn
            )
        )

    def _pages(self, operation: str, listed: str, **asked: str) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator(operation).paginate(**asked):
            yield from page.get(listed, ())


def ami_of(image: Mapping[str, Any], region: str) -> str | None:
    """The AMI that an image has in a region."""
    amis = image.get("outputResources", {}).get("amis", ())
    return next((each["image"] for each in amis if each.get("region") == region), None)


def failure(image: Mapping[str, Any]) -> str:
    """Why a bake failed: the step, what it said, and where its log is."""
    state = image["state"]
    context = state.get("failureContext", {})
    component = context.get("componentFailure", {})
    where = [component.get("phaseName"), component.get("stepName")]
    steps = [each for each in (*where, context.get("failedStep")) if each]
    at = f" at {' / '.join(steps)}" if steps else ""
    why = component.get("errorMessage") or state.get("reason") or "Image Builder gives no reason"
    return f"the bake is {state['status']}{at}: {why}"


def log_of(image: str, stack: str) -> str:
    """The command that shows a bake's log."""
    return (
        f"aws logs tail {names.image_log_group(stack)} --since 2h "
        f"--log-stream-names {_version(image)}"
    )


def _version(image: str) -> str:
    """An image's version and build, such as 1.0.17/2: the name of its log stream too."""
    return "/".join(image.rsplit("/", 2)[1:])


def _seconds(step: Mapping[str, Any]) -> float | None:
    try:
        began, ended = (datetime.fromisoformat(step[key]) for key in ("startTime", "endTime"))
    except (KeyError, ValueError):
        return None
    return (ended - began).total_seconds()


def _words(error: ClientError) -> str:
    return error.response["Error"].get("Message") or error.response["Error"]["Code"]
