"""Lambda's side of the local cloud: a function's bundle in its workers, and its calls."""

import asyncio
import contextlib
import hashlib
import itertools
import time
import zipfile
from collections.abc import Coroutine, Mapping
from pathlib import Path

from components import packages
from local.lambda_.model import (
    INIT_TIMEOUT_S,
    MAX_REQUEST_BYTES,
    FunctionSpec,
    Invocation,
    InvokeResult,
    LambdaApiError,
    OnCall,
    OnLog,
    Outcome,
)
from local.lambda_.worker import Worker, environment
from local.machine.processes import Processes

# What the local cloud may add to the environment that the program declares (design.md); AWS_*
# besides.
_LOCAL_VARIABLES = (
    "TLFIF_EC2_TIMEOUT_S",
    "TLFIF_JWKS_URL",
    "TLFIF_PATIENCE_S",
    "TLFIF_SECONDS_PER_MINUTE",
)
_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0


def runtime_dir(root: Path = packages.ROOT) -> Path:
    """What Lambda's python3.12 image brings along: AWS's runtime client and boto3, in the versions
    we pin.

    Installed once; seconds the first time. Raises BundleError.
    """
    return packages.install(
        ("awslambdaric", "boto3"), root / "requirements-local.txt", "host", root
    )


class FunctionHost:
    """Runs one function in up to `workers` processes and answers its invocations.

    `extra_env` may hold AWS_* and the two names of the scaled clock and the key set; anything else
    would hide that the program forgot to declare it. `on_log(function name, line)` gets every line
    the function writes, in order, and `on_call` what came of each call. More
    than `workers` calls at a time wait, at most `wait_s` seconds, then are refused as Lambda
    refuses them (429). Posted events wait longer, and are tried again after `retry_s`, then after
    twice as long.
    """

    def __init__(
        self,
        procs: Processes,
        function: FunctionSpec,
        *,
        workers: int = 1,
        extra_env: Mapping[str, str] | None = None,
        on_log: OnLog | None = None,
        on_call: OnCall = lambda function, qualifier, result: None,
        wait_s: float = 5.0,
        retry_s: float = 60.0,
        init_timeout_s: float = INIT_TIMEOUT_S,
    ):
        self.function = function
        self._procs = procs
        self._workers = workers
        self._extra_env = dict(extra_env or {})
        _check_extra(self._extra_env)
        self._on_log = on_log
        self._on_call = on_call
        self._wait_s, self._retry_s = wait_s, retry_s
        self._init_timeout_s = init_timeout_s
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[Worker] = []
        self._workers_up: set[Worker] = set()
        self._calls: set[asyncio.Task[InvokeResult]] = set()
        self._folders: asyncio.Task[tuple[Path, Path]] | None = None
        self._losses = 0
        self._not_before = 0.0
        self._stopped = asyncio.Event()

    @property
    def pids(self) -> list[int]:
        """The processes of its workers, each the leader of a group."""
        return [worker.pid for worker in self._workers_up]

    async def start(self) -> None:
        """Starts and initialises every worker now, so that no call is cold.

        What fails is left to the first call.
        """
        await asyncio.gather(*(self._warm_up() for _ in range(self._workers - len(self._idle))))

    async def stop(self) -> None:
        """Ends every worker; calls in flight are answered as crashed, and those that wait for a
        worker are refused.
        """
        self._stopped.set()
        await asyncio.gather(*(worker.stop() for worker in self._workers_up))
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def recycle(self) -> None:
        """Ends the workers that wait for a call, as Lambda does when it likes: the next call is a
        cold one.
        """
        await asyncio.gather(*(worker.stop() for worker in list(self._idle)))

    async def drain(self) -> None:
        """Waits until the calls that are in flight are answered."""
        while self._calls:
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def invoke(
        self,
        payload: bytes,
        *,
        client_context: str | None = None,
        timeout: float | None = None,
        qualifier: str = "",
        trace: str | None = None,
    ) -> InvokeResult:
        """Calls the function with a JSON event; `client_context` is a JSON object.

        `qualifier` is the version or alias by which it was called, `trace` an X-Ray header.

        The function's own time limit applies as on Lambda. A caller that leaves, or waits `timeout`
        seconds in vain (TimeoutError), does not stop it. Raises LambdaApiError (413, 429), and
        BundleError when it cannot be started.
        """
        invocation = self._invocation(payload, client_context, qualifier, trace)
        call = self._keep(self._invoke(invocation, self._wait_s))
        return await asyncio.wait_for(asyncio.shield(call), timeout)

    async def post(
        self, payload: bytes, *, client_context: str | None = None, qualifier: str = ""
    ) -> InvokeResult:
        """Calls the function as Lambda does for an asynchronous call, and answers what came of it.

        The event waits for a worker, and is tried again when the function fails, as the function's
        spec allows. Raises what `invoke` raises: 429 when it got too old.
        """
        invocation = self._invocation(payload, client_context, qualifier)
        return await asyncio.shield(self._keep(self._post(invocation)))

    def _invocation(
        self,
        payload: bytes,
        client_context: str | None,
        qualifier: str,
        trace: str | None = None,
    ) -> Invocation:
        if len(payload) > MAX_REQUEST_BYTES:
            limit = f"the limit is {MAX_REQUEST_BYTES} bytes"
            message = f"{len(payload)} byte payload is too large: {limit}"
            raise LambdaApiError(413, "RequestTooLargeException", message)
        return Invocation(self.function, payload, client_context, qualifier, trace)

    def _keep(self, calling: Coroutine[None, None, InvokeResult]) -> asyncio.Task[InvokeResult]:
        call = asyncio.create_task(calling)
        self._calls.add(call)
        call.add_done_callback(self._forget_call)
        return call

    def _forget_call(self, call: asyncio.Task[InvokeResult]) -> None:
        self._calls.discard(call)
        # The caller may have left: looking at the error here keeps asyncio from complaining that
        # nobody did.
        if not call.cancelled():
            call.exception()

    async def _post(self, invocation: Invocation) -> InvokeResult:
        for tried in itertools.count():
            left_s = self.function.max_event_age_s - invocation.age_s()
            result = await self._invoke(invocation, left_s)
            pause_s = self._retry_s * (tried + 1)
            if result.error is None or tried == self.function.retries or pause_s > left_s:
                return result
            await self._pause(pause_s)
        raise AssertionError("it counts without end")

    async def _pause(self, seconds: float) -> None:
        """Lets time pass, unless the host is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    async def _invoke(self, invocation: Invocation, wait_s: float) -> InvokeResult:
        await self._take_slot(wait_s, invocation.qualifier)
        try:
            cold = not self._idle
            worker, outcome = await self._run(invocation)
        finally:
            self._slots.release()
        result = InvokeResult(
            payload=outcome.payload,
            error="Unhandled" if outcome.error else None,
            log_tail=worker.take_tail(),
            duration_ms=invocation.elapsed_ms(),
            cold=cold,
            request_id=invocation.request_id,
            version=self.function.version,
        )
        self._on_call(self.function, invocation.qualifier, result)
        return result

    async def _take_slot(self, wait_s: float, qualifier: str) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError:
            self._on_call(self.function, qualifier, None)
            raise LambdaApiError(429, "TooManyRequestsException", "Rate Exceeded.") from None

    async def _run(self, invocation: Invocation) -> tuple[Worker, Outcome]:
        """Runs the call in an idle worker or in a new one, whose init phase may fail."""
        self._require_running()
        if self._idle:
            worker, failure = self._idle.pop(), None
        else:
            worker, failure = await self._start_worker(invocation)
        outcome = failure or await worker.run(invocation)
        self._settle(worker, outcome)
        return worker, outcome

    async def _warm_up(self) -> None:
        async with self._slots:
            worker, failure = await self._start_worker(Invocation(self.function, b""))
            self._settle(worker, failure or Outcome(b""))

    def _settle(self, worker: Worker, outcome: Outcome) -> None:
        """A worker that answered serves the next call; after a lost one the next start waits,
        longer each time.
        """
        if worker in self._workers_up and not outcome.lost:
            self._idle.append(worker)
            self._losses = 0
            return
        self._losses += 1
        pause_s = min(_BACKOFF_S * 2 ** (self._losses - 1), _MAX_BACKOFF_S)
        self._not_before = time.monotonic() + pause_s

    async def _start_worker(self, invocation: Invocation) -> tuple[Worker, Outcome | None]:
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        self._require_running()
        task, runtime = await self._prepared()
        worker = Worker(self.function, self._take_line, self._forget_worker)
        variables = environment(self.function, task, runtime) | self._extra_env
        await worker.spawn(self._procs, variables)
        self._workers_up.add(worker)
        return worker, await worker.initialise(invocation, self._init_timeout_s)

    def _require_running(self) -> None:
        if self._stopped.is_set():
            message = f"the host of {self.function.name} has stopped"
            raise LambdaApiError(500, "ServiceException", message)

    async def _prepared(self) -> tuple[Path, Path]:
        """The unpacked bundle and the runtime, made once for all workers; a failure is tried
        again.
        """
        if self._folders is None or (self._folders.done() and self._folders.exception()):
            self._folders = asyncio.create_task(asyncio.to_thread(self._prepare))
        return await asyncio.shield(self._folders)

    def _prepare(self) -> tuple[Path, Path]:
        return _unpacked(self.function.zip_path.resolve()), runtime_dir()

    def _forget_worker(self, worker: Worker) -> None:
        self._workers_up.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)

    def _take_line(self, line: str) -> None:
        if self._on_log is not None:
            self._on_log(self.function.name, line)


def _check_extra(variables: Mapping[str, str]) -> None:
    for name in variables:
        if not name.startswith("AWS_") and name not in _LOCAL_VARIABLES:
            fix = "declare it in the function's component instead"
            raise ValueError(f"extra_env holds {name!r}: {fix}")


def _unpacked(zip_path: Path) -> Path:
    """The bundle's files in a folder beside it, named after its content; unpacked once."""
    digest = hashlib.sha256(zip_path.read_bytes()).hexdigest()[:16]
    folder = zip_path.with_name(f"{zip_path.stem}-{digest}")
    if not folder.exists():
        with packages.new_folder(folder) as new, zipfile.ZipFile(zip_path) as zipped:
            zipped.extractall(new)
    return folder
