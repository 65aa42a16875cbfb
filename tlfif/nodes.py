"""Starts and stops the stack's nodes: `decide` is pure, and two EC2 calls do what it says."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tlfif import aws, names

# EC2 has no machine to give, or the account may not have one: asking again soon will not help.
NO_CAPACITY = {
    "InsufficientCapacity",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
}
CALL_TIMEOUT_S = 0.8


@dataclass(frozen=True)
class Node:
    """One EC2 instance of the stack.

    `state` is EC2's word for it, `latched` says that the budget latch is on it.
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
    """What to do for `wanted` more nodes than work or load a model (LAM-004).

    `nodes` are all of the stack's; `phases` by instance id, of those whose heartbeat the queue has.
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
    """Makes an EC2 client that gives up in time for the caller to answer."""
    return aws.client("ec2", connect_s=timeout_s, read_s=timeout_s)


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
    """Starts what `decide` says: the outcome, how many EC2 started, and EC2's error code or ''."""
    started = 0
    try:
        with aws.answering():
            decision = decide(find(ec2, stack), wanted, phases)
            for instance in decision.start:
                ec2.start_instances(InstanceIds=[instance])
                started += 1
    except aws.Unavailable as error:
        code = str(error)
        return Outcome.STARTED if started else _refused(code), started, code
    return decision.otherwise, started, ""


def _refused(code: str) -> Outcome:
    if code == "IncorrectInstanceState":
        return Outcome.STOPPING
    return Outcome.NO_CAPACITY if code in NO_CAPACITY else Outcome.UNKNOWN


def stop(ec2: Any, stack: str) -> list[str]:
    """Stops the nodes of the stack that run; their ids.

    One that is still pending can't be. Raises aws.Unavailable.
    """
    with aws.answering():
        running = [node.id for node in find(ec2, stack) if node.state == "running"]
        if running:
            ec2.stop_instances(InstanceIds=running)
    return running
