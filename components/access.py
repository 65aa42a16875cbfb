"""What functions and nodes are given of the queue and the fleet: what they are told, and may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import pulumi

from components import iam
from components.settings import GpuSettings
from components.storage import RepliesBucket


class QueueFields(TypedDict):
    """The fields of tlfif.environment.Queue, as the program knows them."""

    redis_host: pulumi.Input[str]
    redis_port: pulumi.Input[str]


class FleetFields(QueueFields):
    """The fields of tlfif.environment.Fleet, as the program knows them."""

    stack: str
    replies_bucket: pulumi.Input[str]
    gpu_count: int
    gpu_slots: int


@dataclass(frozen=True, kw_only=True)
class FleetAccess:
    """What a function needs that starts and stops nodes for jobs: the router, the guardian."""

    region: str
    account_id: str
    stack: str
    gpu: GpuSettings
    queue: QueueFields
    replies_bucket: RepliesBucket

    @property
    def fields(self) -> FleetFields:
        """What it is told."""
        return {
            **self.queue,
            "stack": self.stack,
            "replies_bucket": self.replies_bucket.name,
            "gpu_count": self.gpu.count,
            "gpu_slots": self.gpu.slots,
        }

    @property
    def statements(self) -> Sequence[iam.Statement]:
        """What it may do: this stack's nodes alone, and the replies of this stack's jobs."""
        where = (self.region, self.account_id, self.stack)
        return [
            iam.describe_nodes(),
            iam.start_nodes(*where),
            iam.stop_nodes(*where),
            iam.read_replies(self.replies_bucket.arn),
            iam.see_missing_replies(self.replies_bucket.arn),
            iam.write_replies(self.replies_bucket.arn),
        ]
