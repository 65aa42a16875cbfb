"""What the router is told by its environment, beyond what every keeper of the fleet is."""

import os
from dataclasses import dataclass

from tlfif.fleet import Fleet
from tlfif.queue import Limits


@dataclass(frozen=True, kw_only=True)
class Settings(Fleet):
    """The router's environment, typed. Money in EUR, durations in minutes."""

    user_pool_id: str
    client_id: str
    limits: Limits
    idle_minutes: int
    cap_eur: float
    gpu_eur_per_hour: float

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads TLFIF_*; raises KeyError naming what is missing, which fails the function's start."""
        env, fleet = os.environ, Fleet.from_environment()
        return cls(
            **vars(fleet),
            user_pool_id=env["TLFIF_USER_POOL_ID"],
            client_id=env["TLFIF_CLIENT_ID"],
            limits=Limits(int(env["TLFIF_BACKLOG_CAP"]), fleet.node_count, fleet.slots),
            idle_minutes=int(env["TLFIF_IDLE_MINUTES"]),
            cap_eur=float(env["TLFIF_CAP_EUR"]),
            gpu_eur_per_hour=float(env["TLFIF_GPU_EUR_PER_HOUR"]),
        )
