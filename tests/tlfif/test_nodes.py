"""When EC2 is asked for a node, and what its answers mean (LAM-004)."""

import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from tlfif import names, nodes
from tlfif.nodes import Node, Outcome


def states(*states: str, latched: bool = False) -> list[Node]:
    return [Node(f"i-{number}", state, latched) for number, state in enumerate(states)]


READY, DRAINING = {"i-0": "ready"}, {"i-0": "draining"}
FALLEN = Node("i-0", "stopped", failure="Server.InsufficientInstanceCapacity")
SILENT = Node("i-0", "running", started_ago_s=names.WAKE_TTL_S)


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize(
    ("present", "wanted", "phases", "start", "otherwise"),
    [
        ([], 1, {}, (), Outcome.ABSENT),
        (states("terminated", "shutting-down"), 1, {}, (), Outcome.ABSENT),
        (states("stopped"), 1, {}, ("i-0",), Outcome.STARTED),
        (states("stopping"), 1, {}, (), Outcome.STOPPING),
        (states("pending"), 1, {}, (), Outcome.COMING),
        (states("running"), 1, {}, (), Outcome.COMING),
        (states("stopped", latched=True), 1, {}, (), Outcome.LATCHED),
        (states("stopped", "stopped", "stopped"), 2, {}, ("i-0", "i-1"), Outcome.STARTED),
        (states("running", "stopped"), 1, {}, (), Outcome.COMING),
        (states("running", "stopped"), 1, READY, ("i-1",), Outcome.STARTED),
        ([SILENT, Node("i-1", "stopped")], 1, {}, ("i-1",), Outcome.STARTED),
        ([SILENT], 1, {}, (), Outcome.COMING),
        (states("running", "stopped", "stopped"), 2, {}, ("i-1",), Outcome.STARTED),
        (states("pending", "stopped", "stopped"), 1, {}, (), Outcome.COMING),
        (states("stopping", "stopped"), 1, {}, ("i-1",), Outcome.STARTED),
        (states("stopping", "running"), 1, {}, (), Outcome.COMING),
        (states("running", "stopping"), 1, READY, (), Outcome.STOPPING),
        (states("running"), 1, DRAINING, (), Outcome.STOPPING),
        (states("pending"), 1, DRAINING, (), Outcome.COMING),
        (states("running", "stopped"), 1, DRAINING, ("i-1",), Outcome.STARTED),
        (states("running", latched=True), 1, READY, (), Outcome.LATCHED),
        ([FALLEN, Node("i-1", "stopped")], 1, {}, ("i-1",), Outcome.STARTED),
        ([FALLEN], 1, {}, ("i-0",), Outcome.STARTED),
    ],
)
def test_decision(
    present: list[Node],
    wanted: int,
    phases: dict[str, str],
    start: tuple[str, ...],
    otherwise: Outcome,
) -> None:
    decision = nodes.decide(present, wanted, phases)
    assert tuple(node.id for node in decision.candidates)[: decision.number] == start
    assert decision.otherwise == otherwise


class Ec2:
    """EC2 with given nodes, answering StartInstances with the given errors in turn."""

    def __init__(
        self,
        *states: str,
        errors: list[Exception | None] | None = None,
        reasons: list[dict[str, Any]] | None = None,
    ) -> None:
        self.states, self.errors, self.started = states, errors or [], []
        self.reasons = reasons or [{} for _ in states]

    def describe_instances(self, Filters: Any) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        instances = [
            {
                "InstanceId": f"i-{n}",
                "State": {"Name": s},
                "LaunchTime": now,
                "Placement": {"AvailabilityZone": "abc"[n % 3]},
                **self.reasons[n],
            }
            for n, s in enumerate(self.states)
        ]
        return {"Reservations": [{"Instances": instances}]}

    def start_instances(self, InstanceIds: list[str]) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error
        self.started += InstanceIds


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "StartInstances")


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (refusal("InsufficientInstanceCapacity"), Outcome.NO_CAPACITY),
        (refusal("VcpuLimitExceeded"), Outcome.NO_CAPACITY),
        (refusal("IncorrectInstanceState"), Outcome.STOPPING),
        (refusal("RequestLimitExceeded"), Outcome.UNKNOWN),
        (refusal("UnauthorizedOperation"), Outcome.UNKNOWN),
        (ConnectTimeoutError(endpoint_url="https://ec2"), Outcome.UNKNOWN),
    ],
)
def test_what_a_refused_start_means(error: Exception, outcome: Outcome) -> None:
    assert nodes.wake(Ec2("stopped", errors=[error]), "dev", 1, {})[:2] == (outcome, [])


@pytest.mark.story("LAM-004")
def test_one_start_that_worked_is_a_start_even_if_the_second_was_refused() -> None:
    ec2 = Ec2("stopped", "stopped", errors=[None, refusal("InsufficientInstanceCapacity")])
    assert nodes.wake(ec2, "dev", 2, {})[:2] == (Outcome.STARTED, ["i-0"])
    assert ec2.started == ["i-0"]


@pytest.mark.story("LAM-004")
def test_where_one_node_is_refused_for_lack_of_machines_the_next_is_asked_for() -> None:
    ec2 = Ec2("stopped", "stopped", errors=[refusal("InsufficientInstanceCapacity")])
    assert nodes.wake(ec2, "dev", 1, {})[:2] == (Outcome.STARTED, ["i-1"])
    throttled = Ec2("stopped", "stopped", errors=[refusal("RequestLimitExceeded")])
    assert nodes.wake(throttled, "dev", 1, {})[:2] == (Outcome.UNKNOWN, [])


@pytest.mark.story("LAM-004")
def test_a_node_to_avoid_is_not_started() -> None:
    present = [FALLEN, Node("i-1", "stopped")]
    assert [node.id for node in nodes.decide(present, 1, {}, ["i-0"]).candidates] == ["i-1"]
    assert nodes.decide([FALLEN], 1, {}, ["i-0"]) == nodes.Decision(0, (), Outcome.FAILED)


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize(
    ("state", "code", "failure"),
    [
        ("stopped", "Server.InsufficientInstanceCapacity", True),
        ("stopped", "Client.InternalError", True),
        ("stopped", "Client.VolumeLimitExceeded", True),
        ("stopped", "Client.UserInitiatedShutdown", False),
        ("stopped", "Client.InstanceInitiatedShutdown", False),
        ("stopped", None, False),
        ("pending", "Server.InternalError", False),
    ],
)
def test_a_node_that_nobody_stopped_has_failed(state: str, code: str | None, failure: bool) -> None:
    ec2 = Ec2(state, reasons=[{"StateReason": {"Code": code, "Message": "…"}} if code else {}])
    [node] = nodes.find(ec2, "dev")
    assert node.failure == (code if failure else "")


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("VcpuLimitExceeded", "L-DB2E81BA"),
        ("Client.InternalError", "KMS key"),
        ("Server.InsufficientInstanceCapacity", "no GPU now"),
        ("UnauthorizedOperation", "did not start"),
    ],
)
def test_a_failed_start_is_explained_with_its_code(code: str, says: str) -> None:
    assert says in nodes.explain(code)
    assert code in nodes.explain(code)
