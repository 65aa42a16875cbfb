"""What the router is told by its environment; a missing variable fails its start, naming it."""

import os
from dataclasses import dataclass

from tlfif.queue import Limits


@dataclass(frozen=True)
class Settings:
    """The router's environment, typed. Money in EUR, durations in minutes."""

    stack: str
    redis_host: str
    redis_port: int
    user_pool_id: str
    client_id: str
    bucket: str
    limits: Limits
    idle_minutes: int
    cap_eur: float
    gpu_eur_per_hour: float

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads TLFIF_*; raises KeyError naming what is missing."""
        env = os.environ
        return cls(
            stack=env["TLFIF_STACK"],
            redis_host=env["TLFIF_REDIS_HOST"],
            redis_port=int(env["TLFIF_REDIS_PORT"]),
            user_pool_id=env["TLFIF_USER_POOL_ID"],
            client_id=env["TLFIF_CLIENT_ID"],
            bucket=env["TLFIF_REPLIES_BUCKET"],
            limits=Limits(
                backlog_cap=int(env["TLFIF_BACKLOG_CAP"]),
                node_count=int(env["TLFIF_GPU_COUNT"]),
                slots=int(env["TLFIF_GPU_SLOTS"]),
            ),
            idle_minutes=int(env["TLFIF_IDLE_MINUTES"]),
            cap_eur=float(env["TLFIF_CAP_EUR"]),
            gpu_eur_per_hour=float(env["TLFIF_GPU_EUR_PER_HOUR"]),
        )
