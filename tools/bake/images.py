"""The AMIs of a stack: the newest is published, and what nobody uses any more is removed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from components.naming import stack_name
from tlfif import names
from tools.bake.outcome import FAILED, BakeError
from tools.bake.pipeline import Clock

# SSM looks whether there is such an image after it has answered, and only then has the value.
CONFIRM_S, CONFIRM_EVERY_S = 60.0, 2.0
# Where every stack of the account publishes.
_FOLDER = names.AMI_PARAMETER.rpartition("/")[0]
_ALIVE = ("pending", "running", "shutting-down", "stopping", "stopped")
_ARN_TAG = "Ec2ImageBuilderArn"


@dataclass(frozen=True, kw_only=True)
class Ami:
    """An image of this account; `arn` is what Image Builder calls it, if that is known."""

    id: str
    created: str
    arn: str | None


def exists(ec2: Any, ami_id: str) -> bool:
    """Whether there is this image, and a node could boot it."""
    filters = [{"Name": "image-id", "Values": [ami_id]}]
    found = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    return [each["State"] for each in found] == ["available"]


def publish(ssm: Any, stack: str, ami_id: str, clock: Clock) -> bool:
    """Makes an image the one that the stack's next nodes boot; False if it was.

    Raises BakeError where SSM does not take it.
    """
    name = stack_name(names.AMI_PARAMETER, stack)
    if _value(ssm, name) == ami_id:
        return False
    ssm.put_parameter(
        Name=name,
        Value=ami_id,
        Type="String",
        DataType="aws:ec2:image",
        Description="The image that new GPU nodes boot; written by make bake",
        Overwrite=True,
    )
    until = clock.now() + CONFIRM_S
    while _value(ssm, name) != ami_id:
        if clock.now() >= until:
            raise BakeError(
                FAILED,
                f"{ami_id} is baked, and SSM has not taken it as {name} after {CONFIRM_S:.0f} "
                "seconds: run this again to publish it",
            )
        clock.sleep(CONFIRM_EVERY_S)
    return True


def unused(ec2: Any, ssm: Any, stack: str, keep: int) -> list[Ami]:
    """The stack's images but for its `keep` newest, those that any instance was made of, stopped
    ones too, and those that any stack publishes; the oldest first.
    """
    filters = [{"Name": f"tag:{names.IMAGE_TAG}", "Values": [stack]}]
    images = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    ours = sorted(map(_ami, images), key=lambda each: each.created)
    old = ours[: max(0, len(ours) - keep)]
    used = {*_booted(ec2, [each.id for each in old]), *_published(ssm)}
    return [each for each in old if each.id not in used]


def remove(ec2: Any, ami: Ami) -> list[str]:
    """Deregisters an image with its snapshots; returns those that are still there."""
    gone = ec2.deregister_image(ImageId=ami.id, DeleteAssociatedSnapshots=True)
    results = gone.get("DeleteSnapshotResults", ())
    return [each["SnapshotId"] for each in results if each.get("ReturnCode") != "success"]


def _ami(image: dict[str, Any]) -> Ami:
    tags = {each["Key"]: each["Value"] for each in image.get("Tags", ())}
    return Ami(id=image["ImageId"], created=image["CreationDate"], arn=tags.get(_ARN_TAG))


def _booted(ec2: Any, ami_ids: Sequence[str]) -> Iterator[str]:
    if not ami_ids:
        return
    filters = [
        {"Name": "image-id", "Values": list(ami_ids)},
        {"Name": "instance-state-name", "Values": list(_ALIVE)},
    ]
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in page["Reservations"]:
            yield from (each["ImageId"] for each in reservation["Instances"])


def _published(ssm: Any) -> Iterator[str]:
    for page in ssm.get_paginator("get_parameters_by_path").paginate(Path=_FOLDER):
        for each in page["Parameters"]:
            if each["Name"].startswith(names.AMI_PARAMETER):
                yield each["Value"]


def _value(ssm: Any, name: str) -> str | None:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return None
