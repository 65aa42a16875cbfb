"""What a function is given that starts and stops nodes for the queue's jobs: the router and the
guardian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components import iam
from components.lambda_function import VpcPlacement
from components.queue import Queue
from components.settings import Settings
from components.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """One stack's nodes, their queue and their replies. functions/tlfif/fleet.py reads what
    `environment` tells.
    """

    settings: Settings
    stack: str
    account_id: str
    queue: Queue
    storage: Storage
    vpc: VpcPlacement

    @property
    def environment(self) -> Mapping[str, pulumi.Input[str]]:
        """What a function that acts on the fleet is told."""
        return {
            "TLFIF_STACK": self.stack,
            **self.queue.environment,
            "TLFIF_REPLIES_BUCKET": self.storage.bucket.bucket,
            "TLFIF_GPU_COUNT": str(self.settings.gpu.count),
            "TLFIF_GPU_SLOTS": str(self.settings.gpu.slots),
            # Such a function has no IPv4 way out; AWS's dual-stack hosts are its only ones.
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
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
