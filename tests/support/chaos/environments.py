"""Lambda as the instant lane meets it: environments that are frozen between calls, run out of time,
and die; every line that they write is kept with its time.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.calls import REGION

from local.lambda_.model import FunctionSpec, Invocation, InvokeResult, Outcome
from local.lambda_.worker import Worker, environment
from local.machine.processes import Processes
from recording.model import ACCOUNT_ID, ROOT

NAME = "tl-fif-dev-cpu-worker"
# Of a call; its orderly end begins 4 s before that, so that one often calls its successor.
LIMIT_S, INIT_S = 10.0, 20.0
# Lambda takes idle environments away when it likes.
KEPT = 2


@dataclass
class Life:
    """One call of the function: when it was what (epoch ms), as which lane, and what it did.

    `token` is "" unless it became the lane. `called_ms`: an environment was there for it. `claims`
    and `ends` are (ms, job id); `struck` is what was done to it, and `frozen` when. `over` is how
    the call ended: "" by itself, else Lambda's words.
    """

    called_ms: int = 0
    token: str = ""
    entered_ms: int = 0
    ended_ms: int = 0
    over: str = ""
    limit_s: float = LIMIT_S
    warm: bool = False
    why: str = ""
    claims: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    ends: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    frozen: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    struck: list[str] = field(default_factory=list[str])
    _called: str = ""

    def take(self, entry: dict[str, Any]) -> None:
        """One line of its log."""
        match entry:
            case {"event": "lane_called"}:
                self._called = entry["token"]
            case {"event": "lane", "answer": "entered"}:
                self.token, self.entered_ms = self._called, entry["time"]
            case {"event": "job_claimed"}:
                self.claims.append((entry["time"], entry["id"]))
            case {"event": "job_ended" | "handed_back" | "lease_lost" | "not_mine"}:
                self.ends.append((entry["time"], entry["id"]))
            case {"event": "lane_left"}:
                self.why = entry["why"]
            case _:
                pass


class LambdaEnvironment(Worker):
    """One execution environment, which can be struck: all its processes at once."""

    def __init__(
        self, spec: FunctionSpec, on_line: Callable[[str], None], on_end: Callable[[Any], None]
    ) -> None:
        super().__init__(spec, self._take_log, on_end)
        self._told = on_line
        self.life: Life | None = None
        self.lines: list[str] = []

    def _take_log(self, line: str) -> None:
        self._told(line)
        # Two threads may have written one line.
        for entry in line.replace('}{"time"', '}\n{"time"').splitlines():
            with contextlib.suppress(ValueError):
                if self.life is not None and entry.startswith("{"):
                    self.life.take(json.loads(entry))

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """To every process of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill_engine(self) -> bool:
        """Whether it had one to kill."""
        for pid, line in self._family():
            if b"support.chaos.engine" in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def sockets(self) -> set[int]:
        """The local ports of its connections."""
        inodes: set[str] = set()
        for pid, _ in self._family():
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        inodes.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}

    def _family(self) -> Iterator[tuple[int, bytes]]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ProcessLookupError):
                pid = int(process.name)
                if os.getpgid(pid) == self.pid:
                    yield pid, (process / "cmdline").read_bytes()

    async def call(self, spec: FunctionSpec, payload: bytes) -> Outcome:
        """One call within the limit of `spec`; frozen before and after it."""
        self._function = spec
        self.signal(signal.SIGCONT)
        outcome = await self.run(Invocation(spec, payload))
        self.signal(signal.SIGSTOP)
        return outcome


class Lambda:
    """The function's environments: a call takes an idle one, or a new one."""

    def __init__(
        self, procs: Processes, variables: dict[str, str], endpoint_url: str, keys: tuple[str, str]
    ) -> None:
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{NAME}"
        self._spec = FunctionSpec(
            name=NAME,
            arn=arn,
            handler="support.chaos.function.handler",
            zip_path=Path(),
            environment=variables,
            timeout_s=LIMIT_S,
            memory_mb=3_008,
            role_access_key=keys,
        )
        self._procs, self._endpoint_url = procs, endpoint_url
        self._idle: list[LambdaEnvironment] = []
        self.busy: set[LambdaEnvironment] = set()
        self.lives: list[Life] = []
        self.lines: list[str] = []
        # How long the next calls may take, in s; then LIMIT_S again.
        self.limits_s: list[float] = []
        self._closed = False

    async def invoke(self, name: str, payload: bytes, _: str | None = None) -> InvokeResult:
        """Lambda's Invoke, as the endpoint wants it."""
        assert name == NAME
        if self._closed:
            raise LookupError(name)
        life = Life()
        self.lives.append(life)
        life.warm = bool(self._idle)
        at, outcome = (self._idle.pop(), None) if self._idle else await self._start()
        at.life = life
        self.busy.add(at)
        limit_s = self.limits_s.pop() if self.limits_s else LIMIT_S
        life.limit_s = limit_s
        spec = dataclasses.replace(self._spec, timeout_s=limit_s)
        try:
            life.called_ms = now_ms()
            outcome = outcome or await at.call(spec, payload)
        finally:
            self.busy.discard(at)
            life.ended_ms = now_ms()
        life.over = json.loads(outcome.payload)["errorType"] if outcome.error else ""
        if outcome.lost:
            await at.stop()
        else:
            await self._keep(at)
        return InvokeResult(
            payload=outcome.payload,
            error="Unhandled" if outcome.error else None,
            log_tail="",
            duration_ms=0,
            cold=False,
            request_id="",
        )

    async def _start(self) -> tuple[LambdaEnvironment, Outcome | None]:
        """A new one, and how it failed to begin, if it did."""
        made = LambdaEnvironment(self._spec, self.lines.append, self._forget)
        roots = [ROOT, ROOT / "functions", ROOT / "tests", *filter(None, sys.path)]
        variables = environment(self._spec, ROOT, ROOT) | {
            "PYTHONPATH": os.pathsep.join(map(str, roots)),
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "PATH": os.environ.get("PATH", os.defpath),
        }
        await made.spawn(self._procs, variables)
        return made, await made.initialise(Invocation(self._spec, b""), INIT_S)

    async def _keep(self, at: LambdaEnvironment) -> None:
        self._idle.append(at)
        if len(self._idle) > KEPT:
            await self._idle.pop(0).stop()

    def _forget(self, at: Any) -> None:
        if at in self._idle:
            self._idle.remove(at)

    def close(self) -> None:
        """Ends every environment."""
        self._closed = True
        for at in (*self._idle, *self.busy):
            at.signal(signal.SIGKILL)


def now_ms() -> int:
    """Epoch ms, as the functions log it."""
    return int(time.time() * 1000)
