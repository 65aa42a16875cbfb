"""Starts and stops the stack's nodes: `decide` is pure, and two EC2 calls do what it says."""

import datetime
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from tlfif import aws, names
from tlfif.log import log

# EC2's words for an instance that will not be any more.
GONE = ("shutting-down", "terminated")
# A zone has no machine to give; another may.
NO_CAPACITY_IN_ZONE = {
    "InsufficientCapacity",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "SpotMaxPriceTooLow",
    "Unsupported",
}
# The account may have no more, in no zone.
QUOTA_EXCEEDED = {
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
}
# Of this node alone: it has not stopped yet, or its spot request does not know it.
NOT_YET = {"IncorrectInstanceState", "IncorrectSpotRequestState"}
# Why a spot node is stopped that EC2 took back: EC2 alone starts it again.
INTERRUPTED = "Server.SpotInstanceShutdown"
# Its machine went down by itself: EC2 did not hear of the stop, or nothing ran on it any more.
POWERED_OFF = "Client.InstanceInitiatedShutdown"
# Where EC2 says when somebody stopped an instance; of one that stopped itself it does not.
STOPPED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
# A wake asks EC2 for no further node after so long: who called waits, the guardian goes on.
START_WITHIN_S = 4.0
# EC2's words for a stop that somebody wanted; any other stopped an instance that was to run.
ORDINARY_STOPS = {
    "",
    POWERED_OFF,
    "Client.UserInitiatedHibernate",
    "Client.UserInitiatedShutdown",
    "Server.ScheduledStop",
}
QUOTA = (
    "The account's quota of running G and VT instances (L-DB2E81BA) is used up, or 0 as in a new "
    "account; ask for a node's vCPUs, times gpu:count, in Service Quotas"
)
SPOT_QUOTA = (
    "The account's quota of G and VT spot requests (L-3819A6DF) is used up, or 0 as in a new "
    "account; ask for a node's vCPUs, times gpu:count, in Service Quotas"
)
REASONS = {
    "VcpuLimitExceeded": QUOTA,
    "InstanceLimitExceeded": QUOTA,
    "MaxSpotInstanceCountExceeded": SPOT_QUOTA,
    INTERRUPTED: "EC2 took the spot node back, and starts it again by itself when it has capacity",
    "Client.InternalError": "EC2 started the node and stopped it at once, as it does when it may "
    "not use the KMS key of the node's volume; look at the key's policy and grants",
    "Client.VolumeLimitExceeded": "The account's quota of EBS storage is used up; raise it in "
    "Service Quotas",
}


@dataclass(frozen=True)
class Node:
    """One EC2 instance of the stack.

    `state` is EC2's word for it, `latched` says that the budget latch is on it, `failure` why it
    is stopped though nobody stopped it ('' otherwise), `zone` its availability zone. `latch` is the
    month for which it is latched, and `powered_off` says that it is stopped because its machine
    went down by itself. Epoch s, 0 where EC2 does not say: `launched_at` of its last start,
    `stopped_at` of a stop since.
    """

    id: str
    state: str
    latched: bool = False
    started_ago_s: float = 0.0
    failure: str = ""
    zone: str = ""
    latch: str = ""
    powered_off: bool = False
    launched_at: float = 0.0
    stopped_at: float = 0.0

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
    FAILED = "failed"  # started just now, and stopped again
    UNKNOWN = "unknown"  # EC2 throttled, silent or refusing: somebody must try again


@dataclass(frozen=True)
class Decision:
    """How many to start of which instances, in this order, and what to say of none to start."""

    number: int
    candidates: tuple[Node, ...]
    otherwise: Outcome


class Woken(NamedTuple):
    """What came of a wake: whom EC2 promised to start, its last error code or '', and the zones
    that had no machine.

    A promise is no start: EC2 may find later that it has none.
    """

    outcome: Outcome
    started: list[str]
    code: str
    empty: list[str]


def decide(
    nodes: Sequence[Node],
    wanted: int,
    phases: Mapping[str, str],
    avoid: Collection[str] = (),
    empty: Collection[str] = (),
) -> Decision:
    """What to do for `wanted` more nodes than work or load a model (LAM-004).

    `nodes` are all of the stack's; `phases` by instance id, of those whose heartbeat the queue has.
    Nodes whose last start failed come last, and before them those of zones that were `empty` a
    moment ago; those to `avoid`, and those that EC2 took back, are not started.
    """
    present = [node for node in nodes if node.state not in GONE]
    free = [node for node in present if not node.latched]
    stopped = [node for node in free if node.state == "stopped"]
    ours = [node for node in stopped if node.failure != INTERRUPTED]
    missing = wanted - sum(node.is_expected(phases) for node in free)
    candidates = [node for node in ours if node.id not in avoid]
    if missing > 0 and candidates:
        candidates.sort(key=lambda node: (node.failure != "", node.zone in empty, node.id))
        return Decision(missing, tuple(candidates), Outcome.STARTED)
    if missing > 0 and any(node.is_leaving(phases) for node in free):
        return Decision(0, (), Outcome.STOPPING)
    if any(node.state in ("pending", "running") for node in free):
        return Decision(0, (), Outcome.COMING)
    if stopped:
        return Decision(0, (), Outcome.FAILED if ours else Outcome.NO_CAPACITY)
    return Decision(0, (), Outcome.LATCHED if present else Outcome.ABSENT)


def client(timeout_s: float) -> Any:
    """Makes an EC2 client that gives up in time for the caller to answer."""
    return aws.client("ec2", connect_s=timeout_s, read_s=timeout_s)


def look(ec2: Any, stack: str) -> list[Node] | None:
    """The stack's nodes; None, and a line of why, where EC2 does not answer."""
    try:
        with aws.answering():
            return find(ec2, stack)
    except aws.Unavailable as error:
        log("nodes not found", "ERROR", why=str(error))
        return None


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
    state = instance["State"]["Name"]
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    launched: datetime.datetime = instance["LaunchTime"]
    started_ago = datetime.datetime.now(datetime.timezone.utc) - launched
    reason: str = instance.get("StateReason", {}).get("Code", "")
    stopped = state == "stopped"
    return Node(
        id=instance["InstanceId"],
        state=state,
        latched=names.LATCH_TAG in tags,
        started_ago_s=started_ago.total_seconds(),
        failure=reason if stopped and reason not in ORDINARY_STOPS else "",
        zone=instance["Placement"]["AvailabilityZone"],
        latch=tags.get(names.LATCH_TAG, ""),
        powered_off=stopped and reason == POWERED_OFF,
        launched_at=launched.timestamp(),
        stopped_at=_stopped_at(instance.get("StateTransitionReason", "")),
    )


def _stopped_at(reason: str) -> float:
    """When, by a reason such as `User initiated (2026-11-26 13:00:00 GMT)`, an instance changed."""
    found = STOPPED_AT.search(reason)
    if not found:
        return 0.0
    at = datetime.datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S")
    return at.replace(tzinfo=datetime.timezone.utc).timestamp()


def wake(
    ec2: Any,
    stack: str,
    wanted: int,
    phases: Mapping[str, str],
    avoid: Collection[str] = (),
    empty: Collection[str] = (),
) -> Woken:
    """Starts what `decide` says, and elsewhere what one zone has no machine for."""
    try:
        with aws.answering():
            decision = decide(find(ec2, stack), wanted, phases, avoid, empty)
    except aws.Unavailable as error:
        return Woken(_refused(str(error)) or Outcome.UNKNOWN, [], str(error), [])
    if decision.otherwise is Outcome.NO_CAPACITY:
        return Woken(Outcome.NO_CAPACITY, [], INTERRUPTED, [])
    started, code, found_empty = _start(ec2, decision)
    refused = None if started else _refused(code)
    return Woken(refused or decision.otherwise, started, code, found_empty)


def _start(ec2: Any, decision: Decision) -> tuple[list[str], str, list[str]]:
    """Asks for one node after another, because EC2 starts all the instances of a call or none:
    as long as another may be had where one was refused, and for each zone once that has none.
    """
    started: list[str] = []
    empty: list[str] = []
    code, give_up_at = "", time.monotonic() + START_WITHIN_S
    for node in decision.candidates:
        enough = len(started) == decision.number or time.monotonic() >= give_up_at
        if enough or _holds_for_all(code):
            break
        if node.zone in empty:
            continue
        try:
            with aws.answering():
                ec2.start_instances(InstanceIds=[node.id])
            started.append(node.id)
        except aws.Unavailable as error:
            code = str(error)
            if code in NO_CAPACITY_IN_ZONE:
                empty.append(node.zone)
    return started, code, empty


def _holds_for_all(code: str) -> bool:
    """Whether EC2 would say the same of any other node: a quota, a lack of rights, a throttle."""
    return code != "" and code not in NO_CAPACITY_IN_ZONE and code not in NOT_YET


def _refused(code: str) -> Outcome | None:
    """What an error code of StartInstances means; None for none."""
    if not code:
        return None
    if code in NOT_YET:
        return Outcome.STOPPING
    return Outcome.NO_CAPACITY if is_capacity(code) else Outcome.UNKNOWN


def is_capacity(code: str) -> bool:
    """Whether an error code, or an instance's state reason, says that EC2 has no machine for us."""
    return code.removeprefix("Server.") in NO_CAPACITY_IN_ZONE | QUOTA_EXCEEDED


def explain(code: str) -> str:
    """What to tell whoever waits for a node that was not started, and what mends it."""
    if code in REASONS:
        return f"{REASONS[code]} ({code})."
    if is_capacity(code):
        return f"EC2 has no GPU now ({code})."
    return f"EC2 did not start the node ({code})."


def stop(ec2: Any, stack: str) -> list[str]:
    """Stops the nodes of the stack that run; the ids of all that are stopping now.

    Of two who stop at once, router and guardian, the second finds them stopping. One that is still
    pending can't be stopped. Raises aws.Unavailable.
    """
    with aws.answering():
        found = find(ec2, stack)
        if running := [node.id for node in found if node.state == "running"]:
            ec2.stop_instances(InstanceIds=running)
    return [node.id for node in found if node.state in ("running", "stopping")]


def stop_each(ec2: Any, instances: Sequence[str]) -> dict[str, str]:
    """Asks EC2 to stop these nodes, one by one: one that it will not stop keeps no other running.
    EC2's error code of each, '' if it took the call.
    """
    told: dict[str, str] = {}
    for instance in instances:
        try:
            with aws.answering():
                ec2.stop_instances(InstanceIds=[instance])
            told[instance] = ""
        except aws.Unavailable as error:
            told[instance] = str(error)
    return told
