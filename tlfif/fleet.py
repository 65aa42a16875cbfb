"""What the router and the guardian both act on: the stack, its nodes, and where their replies go."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The environment that components/fleet.py gives them, typed; `slots` = jobs in flight on one
    node.
    """

    stack: str
    bucket: str
    node_count: int
    slots: int

    @classmethod
    def from_environment(cls) -> "Fleet":
        """Reads TLFIF_*; raises KeyError naming what is missing, which fails the function's start."""
        env = os.environ
        return cls(
            stack=env["TLFIF_STACK"],
            bucket=env["TLFIF_REPLIES_BUCKET"],
            node_count=int(env["TLFIF_GPU_COUNT"]),
            slots=int(env["TLFIF_GPU_SLOTS"]),
        )
