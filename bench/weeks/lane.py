"""The instant lane: invocations of one function, whose container Lambda keeps for a while."""

from collections.abc import Callable

from bench.weeks import engines
from bench.weeks.clock import Clock, SimulatedQueue
from bench.weeks.engines import Engine
from bench.weeks.record import Record
from tlfif.queue import lane, working
from tlfif.queue.working import ClaimedJob

# It beats every second; all that matters here is that its key lives for 15, because a claim sees by
# itself that a node is ready.
INVOKE_S, BEAT_S = 0.05, 5.0
# A read of the stream blocks for so long before the lane can ask whether to go.
LEAVES_AFTER_S = 0.25
LIMIT_S, OVER_S, GRACE_S, RENEW_EVERY_S = 900.0, 45.0, 30.0, 30.0
# AWS does not say for how long it keeps a container that is not used; others see 5 to 15 minutes.
KEPT_S = 420.0


class Lane:
    """The function: every call of it is an invocation, in a container that is warm or not."""

    def __init__(self, clock: Clock, queue: SimulatedQueue, record: Record, slots: int) -> None:
        self._clock, self._queue, self._record, self._slots = clock, queue, record, slots
        # Until when each idle container is kept.
        self._idle: list[int] = []
        self._invocations: list[Invocation] = []

    def call(self, token: str) -> None:
        """Lambda's asynchronous invocation."""
        self._clock.after(INVOKE_S, self._invoke)

    def look(self) -> None:
        """Takes what there is, as a blocked read does at once."""
        for each in list(self._invocations):
            each.look()

    def _invoke(self) -> None:
        self._idle = [until for until in self._idle if until > self._clock.now_ms]
        cold = not self._idle
        if not cold:
            self._idle.pop()
        number = self._record.invocations = self._record.invocations + 1
        made = Invocation(self._clock, self._queue, self._record, self._slots, f"call-{number}")
        self._invocations.append(made)
        made.begin(cold, self.call, lambda: self._over(made))

    def _over(self, invocation: "Invocation") -> None:
        self._invocations.remove(invocation)
        self._idle.append(self._clock.now_ms + round(KEPT_S * 1000))


class Invocation:
    """One run of the function: it enters, loads, works, and leaves."""

    def __init__(
        self, clock: Clock, queue: SimulatedQueue, record: Record, slots: int, token: str
    ) -> None:
        self._clock, self._queue, self._record, self._slots = clock, queue, record, slots
        self._token, self._consumer = token, lane.consumer_name(token)
        self._engine = Engine(clock, shared=True)
        self._held: dict[str, ClaimedJob] = {}
        self._begun_ms = self._told_ms = clock.now_ms
        self._phase = ""

    def begin(self, cold: bool, call: Callable[[str], None], over: Callable[[], None]) -> None:
        """Runs; `call` calls the function, `over` is told of the end."""
        self._call, self._over = call, over
        load_s = engines.LANE_READ_S + engines.LANE_LOAD_S if cold else 0.0
        first_s = engines.LANE_INIT_S if cold else engines.LANE_WARM_S
        self._clock.after(first_s, lambda: self._enter(load_s))

    def _enter(self, load_s: float) -> None:
        if self._queue.ask(lane.enter(self._token)) != "entered":
            self._end()
            return
        self._record.lanes += 1
        assert self._record.lanes == 1, "two lanes at once"
        self._phase = "loading"
        if self._is_gone():
            return
        self._clock.after(BEAT_S, self._beat)
        self._clock.after(RENEW_EVERY_S, self._renew)
        left_s = (self._clock.now_ms - self._begun_ms) / 1000
        self._clock.after(LIMIT_S - OVER_S - left_s, self._take_no_more)
        self._clock.after(load_s, self._work)

    def _work(self) -> None:
        if self._phase != "loading":
            return
        self._queue.ask(working.create_group())
        self._phase = "working"
        self._tell()
        self.look()
        self._clock.after(LEAVES_AFTER_S, self._leave)

    def look(self) -> None:
        """Takes what suits it while it works."""
        while self._phase == "working" and len(self._held) < self._slots and self._record.waiting:
            claimed = self._queue.claim(self._consumer, self._slots - len(self._held))
            if not claimed:
                return
            for job in claimed:
                self._start(job)

    def _start(self, job: ClaimedJob) -> None:
        if job.values is None:
            self._queue.ask(working.finish(job.entry, job.id))
            self._record.expired(job.id)
            return
        self._held[job.id] = job
        self._record.held += 1
        work = engines.on_lane(job)
        work_ms = round((work.first_s + work.rest_s) * 1000)
        self._engine.begin(
            job.id, work, lambda: self._record.first_token(job.id), lambda: self._done(job, work_ms)
        )

    def _done(self, job: ClaimedJob, work_ms: int) -> None:
        del self._held[job.id]
        self._queue.ask(working.finish(job.entry, job.id))
        first_s = self._record.ended(job.id, "lane")
        self._queue.ask(lane.answered(round(first_s * 1000), work_ms))
        self.look()
        self._clock.after(LEAVES_AFTER_S, self._leave)

    # --- being the lane

    def _used_s(self) -> float:
        """Since it last said so."""
        used_s = (self._clock.now_ms - self._told_ms) / 1000
        self._told_ms = self._clock.now_ms
        return used_s

    def _tell(self) -> None:
        phase = "loading" if self._phase == "loading" else "working"
        told = (self._token, phase, len(self._held), self._used_s())
        answer = self._queue.ask(lane.beat(*told))
        assert answer != "lost", "nobody else may be the lane while this one beats"
        if answer != "go on":
            # A node is ready: it finishes what runs, and goes.
            self._take_no_more()

    def _beat(self) -> None:
        if self._phase == "":
            return
        self._tell()
        # What suits it only now, because no node is coming any more.
        self.look()
        self._leave()
        self._clock.after(BEAT_S, self._beat)

    def _renew(self) -> None:
        if self._phase == "":
            return
        if held := [(job.entry, job.id) for job in self._held.values()]:
            self._queue.ask(working.renew(self._consumer, held))
        self._clock.after(RENEW_EVERY_S, self._renew)

    def _leave(self) -> None:
        """Goes, if nothing runs and nothing has come; when it takes no more, in any case."""
        if self._phase == "closing" and not self._held:
            self._go()
        elif self._phase == "working" and not self._held:
            self._is_gone()

    def _is_gone(self) -> bool:
        """Whether it went, for want of work."""
        told_ms = self._told_ms
        if self._queue.ask(lane.leave(self._token, self._used_s())) == "work":
            self._told_ms = told_ms  # which it did not note
            return False
        self._end()
        return True

    def _take_no_more(self) -> None:
        """A node is ready, or its time is nearly over; what runs may end."""
        if self._phase in ("loading", "working"):
            self._phase = "closing"
            self._clock.after(0, self._leave)
            self._clock.after(GRACE_S, self._go)

    def _go(self) -> None:
        """Hands back what still runs, and calls its successor if there is work."""
        if self._phase == "":
            return
        for job in self._held.values():
            self._engine.abort(job.id)
            self._record.begin_again(job.id)
            self._queue.ask(working.hand_back(self._consumer, job.entry, job.id))
        self._held.clear()
        answer = self._queue.ask(lane.leave(self._token, self._used_s(), over=True))
        if answer == "call":
            self._call(self._token)
        self._end()

    def _end(self) -> None:
        if self._phase:
            self._record.lanes -= 1
        self._phase = ""
        self._record.lane_s += (self._clock.now_ms - self._begun_ms) / 1000
        self._over()
