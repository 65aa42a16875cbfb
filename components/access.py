"""What functions and nodes are given of the queue and the fleet: what they are told, and may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi

from components import iam
from components.lambda_function import function_name
from components.settings import CpuSettings, GpuSettings
from components.storage import RepliesBucket

# The folder of functions/ that is the instant lane.
LANE_SOURCE = "cpu_worker"


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
    lane_function: NotRequired[str]
    gpu_wake: NotRequired[str]
    gpu_wake_after_seconds: NotRequired[int]
    lane_prompt_bytes: NotRequired[int]


@dataclass(frozen=True, kw_only=True)
class FleetAccess:
    """What a function needs that wakes whoever works on jobs, nodes and the instant lane: the
    router, the guardian.
    """

    region: str
    account_id: str
    stack: str
    gpu: GpuSettings
    cpu: CpuSettings
    queue: QueueFields
    replies_bucket: RepliesBucket

    @property
    def fields(self) -> FleetFields:
        """What it is told."""
        fields: FleetFields = {
            **self.queue,
            "stack": self.stack,
            "replies_bucket": self.replies_bucket.name,
            "gpu_count": self.gpu.count,
            "gpu_slots": self.gpu.slots,
        }
        if not self.cpu.enabled:
            return fields
        return {
            **fields,
            "lane_function": function_name(self.stack, LANE_SOURCE),
            "gpu_wake": self.gpu.wake,
            "gpu_wake_after_seconds": self.gpu.wake_after_seconds,
            "lane_prompt_bytes": self.cpu.max_prompt_bytes,
        }

    @property
    def lane_arn(self) -> str:
        """The instant lane's ARN, by its name: it is known before the function is made."""
        name = function_name(self.stack, LANE_SOURCE)
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{name}"

    @property
    def statements(self) -> Sequence[iam.Statement]:
        """What it may do: this stack's nodes, its instant lane and its replies, and no other's."""
        where = (self.region, self.account_id, self.stack)
        nodes = [iam.start_nodes(*where), iam.stop_nodes(*where)] if self.gpu.has_nodes else []
        lane = [iam.call_lane(self.lane_arn)] if self.cpu.enabled else []
        return [
            iam.describe_nodes(),
            *nodes,
            *lane,
            iam.read_replies(self.replies_bucket.arn),
            iam.see_missing(self.replies_bucket.arn),
            iam.write_replies(self.replies_bucket.arn),
        ]
