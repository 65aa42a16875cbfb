"""One execution environment of a function: a process under AWS's runtime client, and the Runtime
API that it polls.
"""

import asyncio
import collections
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from local.lambda_.model import (
    MAX_ANSWER_BYTES,
    FunctionSpec,
    Invocation,
    Outcome,
    error_payload,
)
from local.lambda_.runtime_api import Connection
from local.machine.ports import LOOPBACK
from local.machine.processes import Processes

_API = "/2018-06-01/runtime"
# What Lambda returns of a call's log.
_TAIL_BYTES = 4096

# The last on a worker's path: used only where awslambdaric comes without its native module.
RUNTIME_CLIENT = Path(__file__).resolve().parent / "runtime_client"


class Worker:
    """A runtime process, and the Runtime API that it alone polls.

    A worker does one thing at a time: its init phase, or one call. `_phase` is that thing; it ends
    by what the runtime posts, by the time limit, or by the end of the process. Between two of them
    the process is frozen, as on Lambda: its threads stand still, its timers and sockets grow old.
    """

    def __init__(
        self,
        function: FunctionSpec,
        on_line: Callable[[str], None],
        on_end: Callable[["Worker"], None],
    ):
        self._function = function
        self._on_line = on_line
        self._on_end = on_end
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_BYTES)
        self._poller: Connection | None = None
        self._waiting: Invocation | None = None
        self._current: Invocation | None = None
        self._request_id = ""
        self._stopping = False
        self._outcome: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

    async def spawn(self, procs: Processes, environment: Mapping[str, str]) -> None:
        """Starts the runtime process, with a Runtime API and a folder for temporary files of its
        own.
        """
        loop = asyncio.get_running_loop()
        # Lambda's /tmp: of this process alone, kept between its calls, gone with it.
        self._temporary = Path(tempfile.mkdtemp(prefix="lambda-tmp-", dir=procs.log_dir))
        self._server = await loop.create_server(lambda: Connection(self), LOOPBACK, 0)
        port = self._server.sockets[0].getsockname()[1]
        try:
            self._process = await procs.start(
                self._function.name,
                # -S: like Lambda, without this machine's site-packages; what the bundle lacks must
                # be missed.
                [sys.executable, "-S", "-m", "awslambdaric", self._function.handler],
                env={
                    **environment,
                    "AWS_LAMBDA_RUNTIME_API": f"{LOOPBACK}:{port}",
                    "TMPDIR": str(self._temporary),
                },
                cwd=Path(environment["LAMBDA_TASK_ROOT"]),
                on_line=self._take_line,
                on_exit=self._take_exit,
            )
        except BaseException:
            self._server.close()
            self._temporary.rmdir()
            raise

    @property
    def pid(self) -> int:
        """Of the runtime process, once it was spawned."""
        return self._process.pid

    async def initialise(self, invocation: Invocation, limit_s: float) -> Outcome | None:
        """The init phase: None when the handler is imported and asks for events, else the failure
        to answer.
        """
        return await self._phase(invocation, limit_s)

    async def run(self, invocation: Invocation) -> Outcome:
        """Hands one event to the runtime and waits for what becomes of it."""
        self._waiting = invocation
        self._deliver()
        return await self._phase(invocation, self._function.timeout_s) or Outcome(b"null")

    async def stop(self) -> None:
        """Ends the process; what it is working on is answered as crashed."""
        self._stopping = True
        await self._process.stop(grace_s=1.0)

    def take_tail(self) -> str:
        """The last 4 kB written since the last call."""
        tail = "".join(f"{line}\n" for line in self._tail)
        self._tail.clear()
        return tail.encode()[-_TAIL_BYTES:].decode(errors="ignore")

    def handle(self, connection: Connection, method: str, path: str, body: bytes) -> None:
        """Takes one request of the runtime; that for an event is answered when there is one."""
        # What the function wrote before it made this request belongs to the call that ends here.
        self._process.drain()
        current = self._current.request_id if self._current else ""
        match method, path.removeprefix(_API).split("/")[1:]:
            case "GET", ["invocation", "next"]:
                self._poller = connection
                self._deliver()
            # The id is compared: an answer may come after its call has timed out.
            case "POST", ["invocation", request_id, "response"] if request_id == current:
                self._take_response(connection, body)
            case "POST", ["invocation", request_id, "error"] if request_id == current:
                connection.respond(202)
                self._finish(Outcome(body, error=True))
            case "POST", ["init", "error"]:
                # The runtime exits after it has reported that the handler cannot be imported.
                connection.respond(202)
                self._finish(Outcome(body, error=True, lost=True))
            case _:
                unexpected = f"{method} {path} is not expected now"
                connection.respond(400, body=error_payload("InvalidRequest", unexpected))

    def hang_up(self, connection: Connection) -> None:
        """The runtime has closed a connection."""
        if self._poller is connection:
            self._poller = None

    def _take_response(self, connection: Connection, body: bytes) -> None:
        if len(body) <= MAX_ANSWER_BYTES:
            connection.respond(202)
            self._finish(Outcome(body))
            return
        connection.respond(413)
        # The runtime client does not survive a refused answer.
        limit = f"maximum allowed payload size ({MAX_ANSWER_BYTES} bytes)."
        message = f"Response payload size exceeded {limit}"
        self._finish(Outcome.failure("Function.ResponseSizeTooLarge", message))

    def _deliver(self) -> None:
        if self._poller is None:
            return
        if self._waiting is None:
            # Asking for an event ends the init phase.
            self._finish(None)
            if not self._stopping:
                self._process.freeze()
            return
        self._process.thaw()
        self._current, self._waiting = self._waiting, None
        poller, self._poller = self._poller, None
        poller.respond(200, self._current.headers(), self._current.payload)

    async def _phase(self, invocation: Invocation, limit_s: float) -> Outcome | None:
        loop = asyncio.get_running_loop()
        self._request_id, self._outcome = invocation.request_id, loop.create_future()
        timer = loop.call_later(limit_s, self._time_out, limit_s)
        try:
            outcome = await self._outcome
        finally:
            timer.cancel()
            self._current = self._waiting = None
        if outcome is not None and outcome.lost:
            await self.stop()
        return outcome

    def _finish(self, outcome: Outcome | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _time_out(self, limit_s: float) -> None:
        # The answer may have come in this very moment: then this worker serves the next call.
        if self._outcome.done():
            return
        self._process.kill()
        self._fail("Sandbox.Timedout", f"Task timed out after {limit_s:.2f} seconds")

    def _take_exit(self, code: int) -> None:
        self._server.close()
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._on_end(self)
        self._fail("Runtime.ExitError", _exit_reason(code))

    def _fail(self, kind: str, reason: str) -> None:
        if not self._outcome.done():
            message = f"RequestId: {self._request_id} Error: {reason}"
            self._take_line(f"{message} {kind}")
            self._finish(Outcome.failure(kind, message))

    def _take_line(self, line: str) -> None:
        self._tail.append(line)
        self._on_line(line)


def environment(function: FunctionSpec, task: Path, runtime: Path) -> dict[str, str]:
    """The environment of a worker: the program's own for this function, and what Lambda itself
    sets.
    """
    region = function.arn.split(":")[3]
    key_id, secret = function.role_access_key
    libraries = (runtime, f"{runtime}/lib", task, f"{task}/lib")
    day = time.strftime("%Y/%m/%d", time.gmtime())
    return {
        **function.environment,
        "PATH": os.defpath,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, (task, runtime, RUNTIME_CLIENT))),
        # Of Lambda's folders those that are of the function; the loader finds the system's anyway.
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "LAMBDA_TASK_ROOT": str(task),
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "_HANDLER": function.handler,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{day}/[{function.version}]{uuid.uuid4().hex}",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


def _exit_reason(code: int) -> str:
    if code == 0:
        return "Runtime exited without providing a reason"
    if code > 0:
        return f"Runtime exited with error: exit status {code}"
    return f"Runtime exited with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
