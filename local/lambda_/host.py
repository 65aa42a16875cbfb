"""Lambda's side of the local cloud: each function's built bundle under AWS's own runtime client, as
on Lambda.
"""

import asyncio
import collections
import hashlib
import json
import os
import signal
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import h11

from components import bundle
from local.machine.ports import LOOPBACK
from local.machine.processes import Processes

OnLog = Callable[[str, str], None]

# Lambda's own limits: bytes of a synchronous request or answer, seconds of the init phase, bytes of
# a log tail.
MAX_PAYLOAD_BYTES = 6_291_556
INIT_TIMEOUT_S = 10.0
_TAIL_BYTES = 4096

# What the local cloud may add to the environment that the program declares (design.md); AWS_*
# besides.
_LOCAL_VARIABLES = ("TLFIF_JWKS_URL", "TLFIF_SECONDS_PER_MINUTE")

_API = "/2018-06-01/runtime"
# The runtime client reports a fault's X-Ray document in one header of up to a megabyte.
_MAX_HEAD_BYTES = 2 << 20
_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0

# The last on a worker's path: used only where awslambdaric comes without its native module.
_RUNTIME_CLIENT = Path(__file__).resolve().parent / "runtime_client"


class LambdaApiError(RuntimeError):
    """Lambda's API refuses an invocation before any function sees it: HTTP `status` and AWS's error
    `code`.
    """

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """One function as the program declares it, with the bundle to run and its role's (access key
    id, secret).
    """

    name: str
    arn: str
    handler: str
    zip_path: Path
    environment: Mapping[str, str]
    timeout_s: float
    memory_mb: int
    role_access_key: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class InvokeResult:
    """What Lambda's Invoke answers; `error` as in X-Amz-Function-Error, `duration_ms` without the
    init phase.

    `cold` means that this call waited for an init phase; `log_tail` holds the last 4 kB that the
    function wrote in it.
    """

    payload: bytes
    error: Literal["Handled", "Unhandled"] | None
    log_tail: str
    duration_ms: float
    cold: bool
    request_id: str


def runtime_dir(root: Path = packages.ROOT) -> Path:
    """What Lambda's python3.12 image brings along: AWS's runtime client and boto3, in the versions
    we pin.

    Installed once; seconds the first time. Raises BundleError.
    """
    return packages.install(("awslambdaric", "boto3"), root / "requirements-local.txt", "host", root)


class FunctionHost:
    """Runs one function in up to `workers` processes and answers its invocations.

    `extra_env` may hold AWS_* and the two names of the scaled clock and the key set; anything else
    would hide that the program forgot to declare it. `on_log(function name, line)` gets every line
    the function writes, in order. More than `workers` calls at a time wait, at most `wait_s`
    seconds, then are refused as Lambda refuses them (429).
    """

    def __init__(
        self,
        procs: Processes,
        function: FunctionSpec,
        *,
        workers: int = 1,
        extra_env: Mapping[str, str] | None = None,
        on_log: OnLog | None = None,
        wait_s: float = 5.0,
        init_timeout_s: float = INIT_TIMEOUT_S,
    ):
        foreign = [
            name
            for name in extra_env or {}
            if not name.startswith("AWS_") and name not in _LOCAL_VARIABLES
        ]
        if foreign:
            raise ValueError(
                f"extra_env holds {foreign[0]!r}: declare it in the function's component instead"
            )
        self.function = function
        self._procs = procs
        self._workers = workers
        self._extra_env = dict(extra_env or {})
        self._on_log = on_log
        self._wait_s = wait_s
        self._init_timeout_s = init_timeout_s
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._workers_up: set[_Worker] = set()
        self._calls: set[asyncio.Task[InvokeResult]] = set()
        self._folders: asyncio.Task[tuple[Path, Path]] | None = None
        self._losses = 0
        self._not_before = 0.0
        self._stopped = False

    async def start(self) -> None:
        """Starts and initialises every worker now, so that no call is cold.

        What fails is left to the first call.
        """
        await asyncio.gather(*(self._warm_up() for _ in range(self._workers - len(self._idle))))

    async def stop(self) -> None:
        """Ends every worker; calls in flight are answered as crashed, and those that wait for a
        worker are refused.
        """
        self._stopped = True
        await asyncio.gather(*(worker.stop() for worker in self._workers_up))
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def recycle(self) -> None:
        """Ends the workers that wait for a call, as Lambda does when it likes: the next call is a
        cold one.
        """
        await asyncio.gather(*(worker.stop() for worker in list(self._idle)))

    async def invoke(
        self, payload: bytes, *, client_context: str | None = None, timeout: float | None = None
    ) -> InvokeResult:
        """Calls the function with a JSON event; `client_context` is a JSON object.

        The function's own time limit applies as on Lambda. A caller that leaves, or waits `timeout`
        seconds in vain (TimeoutError), does not stop it. Raises LambdaApiError (413, 429), and
        BundleError when it cannot be started.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            message = (
                f"{len(payload)} byte payload is too large: the limit is {MAX_PAYLOAD_BYTES} bytes"
            )
            raise LambdaApiError(413, "RequestTooLargeException", message)
        call = asyncio.create_task(
            self._invoke(_Invocation(payload, client_context, self.function))
        )
        self._calls.add(call)
        call.add_done_callback(self._forget_call)
        return await asyncio.wait_for(asyncio.shield(call), timeout)

    def _forget_call(self, call: asyncio.Task[InvokeResult]) -> None:
        self._calls.discard(call)
        # The caller may have left: looking at the error here keeps asyncio from complaining that
        # nobody did.
        if not call.cancelled():
            call.exception()

    async def _invoke(self, invocation: "_Invocation") -> InvokeResult:
        await self._take_slot()
        try:
            cold = not self._idle
            worker, failure = (
                await self._start_worker(invocation) if cold else (self._idle.pop(), None)
            )
            answer = failure or await worker.run(invocation)
            self._settle(worker, answer)
        finally:
            self._slots.release()
        return InvokeResult(
            payload=answer.payload,
            error="Unhandled" if answer.error else None,
            log_tail=worker.take_tail(),
            duration_ms=invocation.elapsed_ms(),
            cold=cold,
            request_id=invocation.request_id,
        )

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise LambdaApiError(429, "TooManyRequestsException", "Rate Exceeded.") from None

    async def _warm_up(self) -> None:
        async with self._slots:
            worker, failure = await self._start_worker(_Invocation(b"", None, self.function))
            self._settle(worker, failure or _Answer(b""))

    def _settle(self, worker: "_Worker", answer: "_Answer") -> None:
        """A worker that answered serves the next call; after a lost one the next start waits,
        longer each time.
        """
        if worker in self._workers_up and not answer.lost:
            self._idle.append(worker)
            self._losses = 0
            return
        self._losses += 1
        self._not_before = time.monotonic() + min(
            _BACKOFF_S * 2 ** (self._losses - 1), _MAX_BACKOFF_S
        )

    async def _start_worker(self, invocation: "_Invocation") -> "tuple[_Worker, _Answer | None]":
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        if self._stopped:
            raise LambdaApiError(
                500, "ServiceException", f"the host of {self.function.name} has stopped"
            )
        if self._folders is None or (self._folders.done() and self._folders.exception()):
            self._folders = asyncio.create_task(asyncio.to_thread(self._prepare))
        task, runtime = await asyncio.shield(self._folders)
        worker = _Worker(self.function, self._take_line, self._forget_worker)
        await worker.spawn(
            self._procs, _environment(self.function, task, runtime) | self._extra_env
        )
        self._workers_up.add(worker)
        return worker, await worker.initialise(invocation, self._init_timeout_s)

    def _prepare(self) -> tuple[Path, Path]:
        return _unpacked(self.function.zip_path), runtime_dir()

    def _forget_worker(self, worker: "_Worker") -> None:
        self._workers_up.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)

    def _take_line(self, line: str) -> None:
        if self._on_log is not None:
            self._on_log(self.function.name, line)


class _Answer(NamedTuple):
    """What one call, or one init phase, came to; `lost` means that its worker cannot be used again."""

    payload: bytes
    error: bool = False
    lost: bool = False


class _Invocation:
    """One event on its way to a worker."""

    def __init__(self, payload: bytes, client_context: str | None, function: FunctionSpec):
        self.request_id = str(uuid.uuid4())
        self.payload = payload
        self.function = function
        self._client_context = client_context
        self._started: float | None = None

    def headers(self) -> list[tuple[str, str]]:
        """The Runtime API's headers for this event; its time limit begins now."""
        self._started = time.perf_counter()
        trace = uuid.uuid4().hex
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            (
                "Lambda-Runtime-Deadline-Ms",
                str(int((time.time() + self.function.timeout_s) * 1000)),
            ),
            ("Lambda-Runtime-Invoked-Function-Arn", self.function.arn),
            (
                "Lambda-Runtime-Trace-Id",
                f"Root=1-{int(time.time()):08x}-{trace[:24]};Parent={trace[:16]};Sampled=1",
            ),
        ]
        return headers + (
            [("Lambda-Runtime-Client-Context", self._client_context)]
            if self._client_context
            else []
        )

    def elapsed_ms(self) -> float:
        return 0.0 if self._started is None else (time.perf_counter() - self._started) * 1000


class _Worker:
    """One execution environment: a runtime process and the Runtime API that it alone polls."""

    def __init__(
        self,
        function: FunctionSpec,
        on_line: Callable[[str], None],
        on_end: Callable[["_Worker"], None],
    ):
        self._function = function
        self._on_line = on_line
        self._on_end = on_end
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_BYTES)
        self._poller: _Connection | None = None
        self._waiting: _Invocation | None = None
        self._current: _Invocation | None = None
        self._request_id = ""
        self._outcome: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()

    async def spawn(self, procs: Processes, environment: Mapping[str, str]) -> None:
        """Starts the runtime process, with a Runtime API of its own."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), LOOPBACK, 0)
        port = self._server.sockets[0].getsockname()[1]
        try:
            self._process = await procs.start(
                self._function.name,
                # -S: like Lambda, without this machine's site-packages; what the bundle lacks must
                # be missed.
                [sys.executable, "-S", "-m", "awslambdaric", self._function.handler],
                env={**environment, "AWS_LAMBDA_RUNTIME_API": f"{LOOPBACK}:{port}"},
                cwd=Path(environment["LAMBDA_TASK_ROOT"]),
                on_line=self._take_line,
                on_exit=self._take_exit,
            )
        except BaseException:
            self._server.close()
            raise

    async def initialise(self, invocation: _Invocation, limit_s: float) -> _Answer | None:
        """The init phase: None when the handler is imported and asks for events, else the failure
        to answer.
        """
        return await self._phase(invocation, limit_s)

    async def run(self, invocation: _Invocation) -> _Answer:
        """Hands one event to the runtime and waits for what becomes of it."""
        self._waiting = invocation
        self._deliver()
        return await self._phase(invocation, self._function.timeout_s) or _Answer(b"null")

    async def stop(self) -> None:
        """Ends the process; what it is working on is answered as crashed."""
        await self._process.stop(grace_s=1.0)

    def take_tail(self) -> str:
        """The last 4 kB written since the last call."""
        tail = "".join(f"{line}\n" for line in self._tail)
        self._tail.clear()
        return tail.encode()[-_TAIL_BYTES:].decode(errors="ignore")

    def handle(self, connection: "_Connection", method: str, path: str, body: bytes) -> None:
        """One request of the runtime; asking for the next event is answered when there is one."""
        # What the function wrote before it made this request belongs to the call that ends here.
        self._process.drain()
        current = self._current.request_id if self._current else ""
        match method, path.removeprefix(_API).split("/")[1:]:
            case "GET", ["invocation", "next"]:
                self._poller = connection
                self._deliver()
            case "POST", ["invocation", request_id, "response"] if request_id == current:
                self._take_response(connection, body)
            case "POST", ["invocation", request_id, "error"] if request_id == current:
                connection.respond(202)
                self._finish(_Answer(body, error=True))
            case "POST", ["init", "error"]:
                connection.respond(202)
                self._finish(_Answer(body, error=True, lost=True))
            case _:
                connection.respond(
                    400,
                    body=_error_payload("InvalidRequest", f"{method} {path} is not expected now"),
                )

    def hang_up(self, connection: "_Connection") -> None:
        """The runtime has closed a connection."""
        if self._poller is connection:
            self._poller = None

    def _take_response(self, connection: "_Connection", body: bytes) -> None:
        if len(body) <= MAX_PAYLOAD_BYTES:
            connection.respond(202)
            self._finish(_Answer(body))
            return
        connection.respond(413)
        message = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
        # The runtime client does not survive a refused answer.
        self._finish(
            _Answer(_error_payload("Function.ResponseSizeTooLarge", message), error=True, lost=True)
        )

    def _deliver(self) -> None:
        if self._poller is None:
            return
        if self._waiting is None:
            # Asking for an event ends the init phase.
            self._finish(None)
            return
        self._current, self._waiting = self._waiting, None
        poller, self._poller = self._poller, None
        poller.respond(200, self._current.headers(), self._current.payload)

    async def _phase(self, invocation: _Invocation, limit_s: float) -> _Answer | None:
        loop = asyncio.get_running_loop()
        self._request_id, self._outcome = invocation.request_id, loop.create_future()
        timer = loop.call_later(limit_s, self._time_out, limit_s)
        try:
            answer = await self._outcome
        finally:
            timer.cancel()
            self._current = self._waiting = None
        if answer is not None and answer.lost:
            await self.stop()
        return answer

    def _finish(self, answer: _Answer | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(answer)

    def _time_out(self, limit_s: float) -> None:
        self._process.kill()
        self._fail("Sandbox.Timedout", f"Task timed out after {limit_s:.2f} seconds")

    def _take_exit(self, code: int) -> None:
        self._server.close()
        self._on_end(self)
        self._fail("Runtime.ExitError", _exit_reason(code))

    def _fail(self, kind: str, reason: str) -> None:
        if not self._outcome.done():
            message = f"RequestId: {self._request_id} Error: {reason}"
            self._take_line(f"{message} {kind}")
            self._finish(_Answer(_error_payload(kind, message), error=True, lost=True))

    def _take_line(self, line: str) -> None:
        self._tail.append(line)
        self._on_line(line)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 for one connection of a runtime; the worker answers each request at once or later."""

    def __init__(self, worker: _Worker):
        self._worker = worker
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._worker.hang_up(self)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._take(event)
        except h11.RemoteProtocolError:
            self._transport.close()

    def respond(
        self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Sends one whole answer; the connection stays open for the next request."""
        length = ("Content-Length", str(len(body)))
        response = h11.Response(status_code=status, headers=[*headers, length])
        self._send(response, h11.Data(data=body), h11.EndOfMessage())
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._http.start_next_cycle()

    def _send(self, *events: h11.Event) -> None:
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))

    def _take(self, event: object) -> None:
        match event:
            case h11.Request():
                self._request, self._body = event, []
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
            case h11.Data():
                self._body.append(bytes(event.data))
            case h11.EndOfMessage() if self._request is not None:
                method, path = self._request.method.decode(), self._request.target.decode()
                self._worker.handle(self, method, path, b"".join(self._body))
            case h11.ConnectionClosed():
                self._transport.close()


def _environment(function: FunctionSpec, task: Path, runtime: Path) -> dict[str, str]:
    """The environment of a worker: the program's own for this function, and what Lambda itself
    sets.
    """
    region = function.arn.split(":")[3]
    key_id, secret = function.role_access_key
    return {
        **function.environment,
        "PATH": os.defpath,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, (task, runtime, _RUNTIME_CLIENT))),
        "LAMBDA_TASK_ROOT": str(task),
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "_HANDLER": function.handler,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{uuid.uuid4().hex}",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


def _unpacked(zip_path: Path) -> Path:
    """The bundle's files in a folder beside it, named after its content; unpacked once."""
    digest = hashlib.sha256(zip_path.read_bytes()).hexdigest()[:16]
    folder = zip_path.with_name(f"{zip_path.stem}-{digest}")
    if not folder.exists():
        with packages.new_folder(folder) as new, zipfile.ZipFile(zip_path) as zipped:
            zipped.extractall(new)
    return folder


def _error_payload(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _exit_reason(code: int) -> str:
    if code == 0:
        return "Runtime exited without providing a reason"
    if code > 0:
        return f"Runtime exited with error: exit status {code}"
    return f"Runtime exited with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
