"""What a function is and what a call of it comes to, with Lambda's own limits."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

# Gets (function name, line) of what a function writes.
OnLog = Callable[[str, str], None]

# Bytes of a synchronous request, and of an answer; seconds of the init phase.
MAX_REQUEST_BYTES, MAX_ANSWER_BYTES = 6_291_456, 6_291_556
INIT_TIMEOUT_S = 10.0
# What a function is that no version froze, and whose place an alias takes.
LATEST = "$LATEST"
# Of asynchronous calls, where the function says nothing else: tries after the first, seconds.
RETRIES, MAX_EVENT_AGE_S = 2, 21_600.0


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

    An asynchronous call that fails is made again up to `retries` times, and given up when its event
    is `max_event_age_s` old; the defaults are Lambda's.
    """

    name: str
    arn: str
    handler: str
    zip_path: Path
    environment: Mapping[str, str]
    timeout_s: float
    memory_mb: int
    role_access_key: tuple[str, str]
    retries: int = RETRIES
    max_event_age_s: float = MAX_EVENT_AGE_S
    version: str = LATEST


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
    version: str = LATEST


class Outcome(NamedTuple):
    """What one call, or one init phase, came to; `lost`: its worker cannot be used again."""

    payload: bytes
    error: bool = False
    lost: bool = False

    @classmethod
    def failure(cls, kind: str, message: str) -> "Outcome":
        """An error that Lambda itself states; it costs the worker."""
        return cls(error_payload(kind, message), error=True, lost=True)


# Gets (function, by which qualifier it was called, what came of a call); None when it was refused
# because all workers were busy.
OnCall = Callable[[FunctionSpec, str, InvokeResult | None], None]


def error_payload(kind: str, message: str) -> bytes:
    """The JSON in which Lambda and its runtimes state an error."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


class Invocation:
    """One event on its way to a worker; `qualifier` is the version or alias that was called, and
    `trace` the X-Ray header that came with the call.
    """

    def __init__(
        self,
        function: FunctionSpec,
        payload: bytes,
        client_context: str | None = None,
        qualifier: str = "",
        trace: str | None = None,
    ):
        self.request_id = str(uuid.uuid4())
        self.payload = payload
        self.qualifier = qualifier
        self._function = function
        self._client_context = client_context
        self._trace = trace or _new_trace()
        self._made = time.monotonic()
        self._started: float | None = None

    def age_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._made

    def headers(self) -> list[tuple[str, str]]:
        """The Runtime API's headers for this event; its time limit begins now."""
        self._started = time.perf_counter()
        deadline_ms = int((time.time() + self._function.timeout_s) * 1000)
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self._arn()),
            ("Lambda-Runtime-Trace-Id", self._trace),
        ]
        if self._client_context:
            headers.append(("Lambda-Runtime-Client-Context", self._client_context))
        return headers

    def _arn(self) -> str:
        suffix = f":{self.qualifier}" if self.qualifier else ""
        return f"{self._function.arn}{suffix}"

    def elapsed_ms(self) -> float:
        """Since the worker got the event; 0 when it never did."""
        return 0.0 if self._started is None else (time.perf_counter() - self._started) * 1000


def _new_trace() -> str:
    """An X-Ray trace header as Lambda makes one when the caller sent none."""
    trace = uuid.uuid4().hex
    return f"Root=1-{int(time.time()):08x}-{trace[:24]};Parent={trace[:16]};Sampled=1"
