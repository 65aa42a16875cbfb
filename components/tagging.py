"""Tags on every resource that takes them, so that cost allocation and the sweeps of two stacks in
one account work.
"""

from collections.abc import Mapping
from typing import cast

import pulumi


def tag_everything(tags: Mapping[str, str]) -> None:
    """Adds `tags` to every taggable resource made after this call; a resource's own tags win.

    A transformation and not the provider's default tags: those would not show in a recording, and
    an explicit provider would ignore the stack's other `aws:` settings.
    """

    def add(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        # Generated classes set every property they have, if only to None; `tagsAll` marks the
        # taggable ones.
        if "tags_all" not in args.props:
            return None
        own = cast("Mapping[str, pulumi.Input[str]]", args.props["tags"] or {})
        return pulumi.ResourceTransformationResult(
            props={**args.props, "tags": {**tags, **own}}, opts=args.opts
        )

    pulumi.runtime.register_stack_transformation(add)
