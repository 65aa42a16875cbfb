"""What a function is given that starts and stops nodes for the queue's jobs: the router and the
guardian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components import iam
from components.lambda_function import VpcPlacement
from components.queue import Queue
from components.settings import Settings
from components.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """One stack's nodes, their queue and their replies. tlfif/environment.py reads what
    `environment` tells.
    """

    settings: Settings
    stack: str
    account_id: str
    queue: Queue
    storage: Storage
    vpc: VpcPlacement

    @property
    def told(self) -> Mapping[str, Any]:
        """What a function that acts on the fleet is told: the fields of tlfif.environment.Fleet."""
        return {
            **self.queue.told,
            "stack": self.stack,
            "replies_bucket": self.storage.bucket.bucket,
            "gpu_count": self.settings.gpu.count,
            "gpu_slots": self.settings.gpu.slots,
        }

    @property
    def statements(self) -> Sequence[iam.Statement]:
        """What it may do: this stack's nodes alone, and the replies of this stack's jobs."""
        where = (self.settings.region, self.account_id, self.stack)
        return [
            iam.describe_nodes(),
            iam.start_nodes(*where),
            iam.stop_nodes(*where),
            iam.read_replies(self.storage.bucket.arn),
            iam.write_replies(self.storage.bucket.arn),
        ]
