"""The image that nodes boot: the configured one, or the last one baked."""

from dataclasses import dataclass

import pulumi_aws as aws

from components.naming import stack_name
from tlfif.names import AMI_PARAMETER


@dataclass(frozen=True, kw_only=True)
class NodeImage:
    """`ami_id` is None until an image was baked: a stack without nodes is complete and costs
    nothing for them. `next_step` tells the operator what to do about it.
    """

    ami_id: str | None
    next_step: str


def find_image(configured: str | None, stack: str) -> NodeImage:
    """The configured image, or the one that the stack's SSM parameter names, if there is one."""
    parameter = stack_name(AMI_PARAMETER, stack)
    ami_id = configured or _baked(parameter)
    if ami_id:
        done = "Nothing: the stack is complete. Create a user and send the first prompt."
        return NodeImage(ami_id=ami_id, next_step=done)
    bake = (
        f"There is no image for the nodes yet: the SSM parameter {parameter} does not exist. "
        "Bake one (gpu_image/), or name one you have: "
        "pulumi config set --path 'tl-fif:gpu.amiId' ami-...; then run `pulumi up` again."
    )
    return NodeImage(ami_id=None, next_step=bake)


def _baked(parameter: str) -> str | None:
    # By path, because asking for one parameter that is not there is an error.
    folder = parameter.rpartition("/")[0]
    found = aws.ssm.get_parameters_by_path(path=folder, with_decryption=False)
    return dict(zip(found.names, found.values, strict=True)).get(parameter)
