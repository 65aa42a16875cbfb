"""What the guardian is told by its environment; a missing variable fails its start, naming it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The guardian's environment, typed."""

    stack: str
    redis_host: str
    redis_port: int
    bucket: str
    node_count: int
    slots: int

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads TLFIF_*; raises KeyError naming what is missing."""
        env = os.environ
        return cls(
            stack=env["TLFIF_STACK"],
            redis_host=env["TLFIF_REDIS_HOST"],
            redis_port=int(env["TLFIF_REDIS_PORT"]),
            bucket=env["TLFIF_REPLIES_BUCKET"],
            node_count=int(env["TLFIF_GPU_COUNT"]),
            slots=int(env["TLFIF_GPU_SLOTS"]),
        )
