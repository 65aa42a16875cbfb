"""EC2's side of waking and stopping: what to start is decided by a pure function, done by two EC2
calls.

boto3 is imported on use: most requests find the node's heartbeat in the queue and never need EC2.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tlfif import names

# EC2 has no machine to give, or the account may not have one: asking again soon will not help.
NO_CAPACITY = {
    "InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity", "InstanceLimitExceeded", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded",
}  # fmt: skip
CALL_TIMEOUT_S = 0.8


@dataclass(frozen=True)
class Node:
    """One EC2 instance of the stack: `state` is EC2's word for it, `latched` that the budget latch
    is on it.
    """

    id: str
    state: str
    latched: bool = False
    started_ago_s: float = 0.0

    def is_expected(self, phases: Mapping[str, str]) -> bool:
        """Started, and not heard of yet.

        One that is silent for as long as a wake lasts won't be.
        """
        silent = self.id not in phases and self.started_ago_s < names.WAKE_TTL_S
        return self.state == "pending" or (self.state == "running" and silent)

    def is_leaving(self, phases: Mapping[str, str]) -> bool:
        """Stopping, or about to: EC2 hears of it after the queue does."""
        return self.state == "stopping" or (
            self.state == "running" and phases.get(self.id) == "draining"
        )


class Outcome(Enum):
    """What became of a wake."""

    STARTED = "started"
    COMING = "coming"  # pending, or running without a heartbeat yet
    STOPPING = "stopping"  # or about to; can't be started before it has stopped
    ABSENT = "absent"
    LATCHED = "latched"
    NO_CAPACITY = "no capacity"
    UNKNOWN = "unknown"  # EC2 throttled, silent or refusing: somebody must try again


@dataclass(frozen=True)
class Decision:
    """Which instances to start, and what to say when there is none to start."""

    start: tuple[str, ...]
    otherwise: Outcome


def decide(nodes: Sequence[Node], wanted: int, phases: Mapping[str, str]) -> Decision:
    """What to do for `wanted` more nodes than work or load a model, given all nodes of the stack
    (LAM-004).

    `phases` by instance id, of the nodes whose heartbeat the queue has.
    """
    present = [node for node in nodes if node.state not in ("terminated", "shutting-down")]
    free = [node for node in present if not node.latched]
    stopped = sorted(node.id for node in free if node.state == "stopped")
    missing = wanted - sum(node.is_expected(phases) for node in free)
    if missing > 0 and stopped:
        return Decision(tuple(stopped[:missing]), Outcome.STARTED)
    if missing > 0 and any(node.is_leaving(phases) for node in free):
        return Decision((), Outcome.STOPPING)
    if any(node.state in ("pending", "running") for node in free):
        return Decision((), Outcome.COMING)
    return Decision((), Outcome.LATCHED if present else Outcome.ABSENT)


def client(timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """An EC2 client that gives up in time for the caller to answer."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "ec2",
        config=Config(
            connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 1}
        ),
    )


def find(ec2: Any, stack: str) -> list[Node]:
    """The stack's nodes, by their two tags."""
    filters = [
        {"Name": f"tag:{names.ENV_TAG}", "Values": [names.ENV_VALUE]},
        {"Name": f"tag:{names.STACK_TAG}", "Values": [stack]},
    ]
    reservations = ec2.describe_instances(Filters=filters)["Reservations"]
    return [
        _node(instance) for reservation in reservations for instance in reservation["Instances"]
    ]


def _node(instance: dict[str, Any]) -> Node:
    latched = any(tag["Key"] == names.LATCH_TAG for tag in instance.get("Tags", []))
    started_ago = datetime.datetime.now(datetime.timezone.utc) - instance["LaunchTime"]
    return Node(
        instance["InstanceId"], instance["State"]["Name"], latched, started_ago.total_seconds()
    )


def wake(ec2: Any, stack: str, wanted: int, phases: Mapping[str, str]) -> tuple[Outcome, int, str]:
    """Starts what `decide` says: what came of it, how many EC2 started, and EC2's error code or ''."""
    from botocore.exceptions import BotoCoreError, ClientError

    started = 0
    try:
        decision = decide(find(ec2, stack), wanted, phases)
        for instance in decision.start:
            ec2.start_instances(InstanceIds=[instance])
            started += 1
    except ClientError as error:
        return _refused(error.response["Error"]["Code"], started)
    except BotoCoreError as error:
        return Outcome.STARTED if started else Outcome.UNKNOWN, started, type(error).__name__
    return decision.otherwise, started, ""


def _refused(code: str, started: int) -> tuple[Outcome, int, str]:
    if started:
        return Outcome.STARTED, started, code
    if code == "IncorrectInstanceState":
        return Outcome.STOPPING, 0, code
    return Outcome.NO_CAPACITY if code in NO_CAPACITY else Outcome.UNKNOWN, 0, code


class Unavailable(Exception):
    """EC2 is throttling, silent or refusing; the message is its error code."""


def stop(ec2: Any, stack: str) -> list[str]:
    """Stops the nodes of the stack that run; their ids.

    One that is still pending can't be. Raises Unavailable.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        running = [node.id for node in find(ec2, stack) if node.state == "running"]
        if running:
            ec2.stop_instances(InstanceIds=running)
    except ClientError as error:
        raise Unavailable(error.response["Error"]["Code"]) from error
    except BotoCoreError as error:
        raise Unavailable(type(error).__name__) from error
    return running
