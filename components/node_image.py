"""The image that nodes boot: the configured one, or the last one baked."""

from dataclasses import dataclass

import pulumi_aws as aws

from components.naming import stack_name
from components.settings import Settings
from tlfif.names import AMI_PARAMETER

_FIRST = "Create a user and send the first prompt."
_DONE = f"Nothing: the stack is complete. {_FIRST}"


@dataclass(frozen=True, kw_only=True)
class NodeImage:
    """`ami_id` is None until an image was baked: a stack without nodes is complete and costs
    nothing for them. `next_step` tells the operator what to do about it.
    """

    ami_id: str | None
    next_step: str


def find_image(settings: Settings, stack: str) -> NodeImage:
    """The configured image, or the one that the stack's SSM parameter names, if there is one; None
    is asked for where there are no nodes.
    """
    if not settings.gpu.has_nodes:
        alone = f"It has no nodes (gpu:wake = {settings.gpu.wake}): the instant lane answers."
        return NodeImage(ami_id=None, next_step=f"{_DONE} {alone}")
    parameter = stack_name(AMI_PARAMETER, stack)
    ami_id = settings.gpu.ami_id or _baked(parameter)
    if ami_id:
        return NodeImage(ami_id=ami_id, next_step=_DONE)
    bake = (
        f"There is no image for the nodes yet: the SSM parameter {parameter} does not exist. "
        f"Bake one: make bake STACK={stack}; or name one you have: "
        "pulumi config set --path 'tl-fif:gpu.amiId' ami-...; then run `pulumi up` again."
    )
    lane = (
        f"{_FIRST} The instant lane answers already. For the nodes: "
        if settings.cpu.enabled
        else ""
    )
    return NodeImage(ami_id=None, next_step=f"{lane}{bake}")


def _baked(parameter: str) -> str | None:
    # By path, because asking for one parameter that is not there is an error.
    folder = parameter.rpartition("/")[0]
    found = aws.ssm.get_parameters_by_path(path=folder, with_decryption=False)
    return dict(zip(found.names, found.values, strict=True)).get(parameter)
