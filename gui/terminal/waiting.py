"""What a person sees while nobody has answered: the phase, who will answer, and for how long yet,
by the 202's estimate and by GET /status.
"""

import time
from typing import Any

from gui.answers import ClientError, one_line
from gui.client import Client, Job
from gui.terminal.screen import Screen

# Between two questions; a caller has 10 requests a second, and the reply is asked for, too.
LIVE_S, PLAIN_S, AFTER_FAILURE_S = 2.0, 5.0, 10.0
# A warm answer is there before the first of them.
FIRST_S = 1.0
# In a log, one line for each phase, and one after so long in the same.
REPEAT_S = 30.0
# Nobody waits for what is only shown.
STATUS_TIMEOUT_S = 5.0
BAR, NARROW_BAR = 24, 10
_CYAN, _PLAIN = "\x1b[36m", "\x1b[0m"

LANE_PHASES = {
    "off": "the instant lane is called",
    "loading": "the instant lane loads the model",
    "working": "the instant lane is at work",
}
NODE_PHASES = {
    "off": "no node is up yet",
    "starting": "the node starts",
    "booting": "the node boots",
    "loading": "the node loads the model",
    "ready": "the node is ready",
    "draining": "the node rests, and is woken again",
}


class Waiting:
    """Called at each poll, it redraws the line, or says a new one where that is no terminal."""

    def __init__(self, client: Client, job: Job, screen: Screen) -> None:
        self._client, self._screen = client, screen
        self._began = time.monotonic()
        self._estimate_s = number(job.answer.get("estimate")) or number(job.answer.get("eta"))
        self._phase = "nobody is ready yet" if job.state == "starting" else "it is queued"
        # Whoever is being woken is asked about at once.
        self._ask_at = self._began + (0 if job.state == "starting" else FIRST_S)
        self._said, self._said_at = "", self._began
        self._over = False

    def __call__(self) -> None:
        if self._over or self._screen.quiet:
            return
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask(now)
        if self._screen.is_live:
            self._screen.draw(self._line(now - self._began))
        elif self._is_news(now):
            self._said, self._said_at = self._phase, now
            self._screen.say(f"{self._phase}, {left(now - self._began, self._estimate_s)}")

    def taken(self) -> None:
        """A worker has it, and has written nothing yet."""
        self._phase, self._ask_at = "a worker reads the prompt", float("inf")

    def over(self) -> None:
        """There are words to see."""
        self._over = True
        self._screen.clear()

    def _is_news(self, now: float) -> bool:
        """Whether a log wants a line; a warm answer is there before there is one."""
        if not self._estimate_s and now - self._began < FIRST_S:
            return False
        return self._phase != self._said or now - self._said_at >= REPEAT_S

    def _ask(self, now: float) -> None:
        self._ask_at = now + (LIVE_S if self._screen.is_live else PLAIN_S)
        try:
            status = self._client.status(timeout_s=STATUS_TIMEOUT_S)
        except ClientError:
            self._ask_at = now + AFTER_FAILURE_S
            return
        self._phase = phase(status)
        if self._estimate_s and not answers_by_lane(status) and status.get("node") != "ready":
            # The lane's estimate is no longer what is waited for.
            self._estimate_s = max(self._estimate_s, number(status.get("estimate")) or 0)

    def _line(self, elapsed_s: float) -> str:
        """The fullest line that the terminal has room for."""
        room = max(1, self._screen.width - 1)
        ends = left(elapsed_s, self._estimate_s)
        # Of whom is waited for, the first.
        short = self._phase.partition(", ")[0]
        if self._estimate_s and elapsed_s <= self._estimate_s:
            for words, cells in (
                (self._phase, BAR),
                (self._phase, NARROW_BAR),
                (short, NARROW_BAR),
            ):
                if len(words) + cells + len(ends) + 4 <= room:
                    return f"{words}  {self._bar(elapsed_s / self._estimate_s, cells)}  {ends}"
        lines = (f"{self._phase}, {ends}", f"{short}, {ends}", ends)
        return next((line for line in lines if len(line) <= room), ends[:room])

    def _bar(self, share: float, cells: int) -> str:
        full, empty = "█░" if self._screen.has_letters("█░") else "#-"
        done = int(share * cells)
        bar = full * done + empty * (cells - done)
        return f"{_CYAN}{bar}{_PLAIN}" if self._screen.has_colour else bar


def left(elapsed_s: float, estimate_s: float | None) -> str:
    """For how long yet, in words."""
    if not estimate_s:
        return f"{elapsed_s:.0f} s so far"
    if elapsed_s <= estimate_s:
        return f"about {estimate_s - elapsed_s:.0f} s left"
    return f"{elapsed_s:.0f} s so far, longer than usual ({estimate_s:.0f} s)"


def answers_by_lane(status: dict[str, Any]) -> bool:
    """Whether the instant lane is to answer, and no node."""
    lane = status.get("lane")
    return isinstance(lane, dict) and not lane.get("failure") and status.get("node") != "ready"


def phase(status: dict[str, Any]) -> str:
    """What GET /status says is going on, in a few words; of what it does not know, too."""
    node, lane = status.get("node"), status.get("lane")
    words = NODE_PHASES.get(str(node), one_line(f"the node: {node}", 40))
    failure = status.get("start_failure")
    if isinstance(failure, dict) and node in ("off", "starting"):
        words = f"no node started ({one_line(failure.get('code') or 'EC2 refused', 40)})"
    if answers_by_lane(status):
        at = str(lane.get("phase") if isinstance(lane, dict) else "")
        words = f"{LANE_PHASES.get(at, LANE_PHASES['off'])}, {words}"
    depth = number(status.get("queue_depth")) or 0
    return f"{words}, {depth:.0f} in the queue" if depth > 1 else words


def number(value: object) -> float | None:
    """A figure that is one, and no smaller than 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
        return float(value)
    return None
