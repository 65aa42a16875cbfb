"""What all of EC2's kinds share: tags and ARNs."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import retag
from local.deployment.kinds.spelling import Inputs, tags
from recording.model import ACCOUNT_ID


def ec2_tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    """The tags of what is being made."""
    return [{"ResourceType": kind, "Tags": tags(inputs)}] if inputs.get("tags") else []


def ec2_arn(moto: Moto, kind: str, id_: str) -> str:
    """The ARN of a resource of this account."""
    return f"arn:aws:ec2:{moto.region}:{ACCOUNT_ID}:{kind}/{id_}"


def ec2_retag(moto: Moto, id_: str, old: Inputs, new: Inputs, key: str = "tags") -> None:
    """Changes the tags of what there is."""
    ec2 = moto.client("ec2")
    retag(
        old,
        new,
        key=key,
        tag=lambda set_: ec2.create_tags(Resources=[id_], Tags=tags({"tags": set_})),
        untag=lambda gone: ec2.delete_tags(Resources=[id_], Tags=[{"Key": each} for each in gone]),
    )
