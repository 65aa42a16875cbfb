"""The image that nodes boot: the configured one, or the last one baked."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import pricing
from components.naming import stack_name
from tlfif.names import AMI_PARAMETER


@dataclass(frozen=True, kw_only=True)
class GpuImageArgs:
    stack: str
    ami_id: str | None
    image_gb: int


class GpuImage(pulumi.ComponentResource):
    """`ami_id` is None until an image was baked: a stack without nodes is complete and costs
    nothing for them.
    """

    def __init__(
        self, name: str, args: GpuImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:GpuImage", name, None, opts)
        self.parameter = stack_name(AMI_PARAMETER, args.stack)
        self.ami_id = args.ami_id or self._baked()
        self.next_step = self._next_step()
        # The bake makes the snapshot, not this program; it is paid for as long as there is an
        # image.
        snapshot = pricing.line(
            "EBS snapshot",
            args.image_gb,
            "image of the nodes",
            resource=pricing.INSTANCE,
            key="costs:imageGb",
        )
        self.cost_lines = [snapshot] if self.ami_id else []
        self.register_outputs({"ami_id": self.ami_id})

    def _baked(self) -> str | None:
        # By path, because asking for one parameter that is not there is an error.
        found = aws.ssm.get_parameters_by_path(
            path=self.parameter.rpartition("/")[0],
            with_decryption=False,
            opts=pulumi.InvokeOptions(parent=self),
        )
        return dict(zip(found.names, found.values, strict=True)).get(self.parameter)

    def _next_step(self) -> str:
        if self.ami_id:
            return "Nothing: the stack is complete. Create a user and send the first prompt."
        return (
            f"There is no image for the nodes yet: the SSM parameter {self.parameter} does not exist. Bake one "
            "(gpu_image/), or name one you have: pulumi config set --path 'tl-fif:gpu.amiId' ami-...; "
            "then run `pulumi up` again."
        )
