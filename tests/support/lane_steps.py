"""A queue with an instant lane and all who may come to it, a script a step."""

import uuid
from typing import Any

import redis
from support.jobs import (
    BOOT,
    NODE,
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

from tlfif import names
from tlfif.queue import accepting, lane, scripts, working
from tlfif.queue.working import ClaimedJob


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
