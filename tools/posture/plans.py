"""The stacks as the real provider plans them, which is what checkov reads."""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recording.references import link
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import Json, translate


class PlansError(RuntimeError):
    """There is nothing to plan by; the message says what is missing."""


def planned(stacks: Sequence[str]) -> dict[str, Json]:
    """Each stack's plan as Terraform tells it, offline and without credentials.

    Raises PlansError without Terraform or a mirror of its provider, RuntimeError for a plan that is
    refused.
    """
    program, plugins = find_terraform(), find_plugins()
    if program is None or plugins is None:
        raise PlansError(
            "Terraform with a mirror of its AWS provider was not found; "
            "TFLIF_TF_PLUGINS may name the mirror (docs/developing.md)"
        )
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(len(stacks)) as pool:
        made = {}
        for stack in stacks:
            folder = Path(scratch) / stack
            folder.mkdir()
            terraform = Terraform(folder, program=program, plugins=plugins)
            configuration, _ = translate(link(stack), terraform.schema())
            # The provider mostly waits for itself: all plans together take little longer than one.
            made[stack] = pool.submit(terraform.plan, configuration)
        return {stack: plan.result() for stack, plan in made.items()}
