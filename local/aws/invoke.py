"""Lambda's Invoke, answered by whoever runs the functions."""

import base64
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from local.aws.errors import AwsError
from local.aws.messages import Answer, Incoming
from local.aws.requests import AwsRequest
from local.lambda_.model import LATEST, InvokeResult


class Called(NamedTuple):
    """One call: by which version or alias ("" for neither), what is handed over, and the X-Ray
    header that came with it.
    """

    name: str
    qualifier: str
    payload: bytes
    context: str | None
    trace: str | None


class Functions(Protocol):
    """Who runs functions by their versions and aliases; raises what an `InvokeFunction` does."""

    async def invoke(self, called: Called) -> InvokeResult:
        """Calls one and waits for its answer."""
        ...

    def post(self, called: Called) -> Awaitable[InvokeResult]:
        """Takes an event at once; what it returns is awaited when the caller has been answered."""
        ...


# Gets (name or ARN, payload, client context as JSON text); raises LookupError and LambdaApiError.
# For an event it raises at once, and what it returns is awaited when the caller has been answered.
InvokeFunction = Callable[[str, bytes, str | None], Awaitable[InvokeResult]]


async def invoke(
    incoming: Incoming,
    request: AwsRequest,
    functions: Functions,
    keep: Callable[[Awaitable[InvokeResult]], None],
) -> Answer:
    """Calls the function that the request names.

    An asynchronous call is handed to `keep` and answered at once.
    """
    params = request.params
    # A name, or an ARN, each perhaps with a version or an alias behind it, or beside it.
    name, qualifier = split(params["FunctionName"])
    qualifier = split(f"{name}:{params['Qualifier']}")[1] if "Qualifier" in params else qualifier
    kind = params.get("InvocationType", "RequestResponse")
    if kind == "DryRun":
        return Answer(204)
    context = incoming.headers.get("x-amz-client-context")
    text = base64.b64decode(context).decode() if context else None
    trace = incoming.headers.get("x-amzn-trace-id")
    called = Called(name, qualifier, incoming.body, text, trace)
    try:
        if kind == "Event":
            keep(functions.post(called))
            return Answer(202)
        answer = await functions.invoke(called)
        return _answer(answer, with_log=params.get("LogType") == "Tail")
    except LookupError:
        raise _not_found(f"{name}:{qualifier}" if qualifier else name) from None


class Unversioned:
    """Functions that one callable runs, whatever version is called."""

    def __init__(self, function: InvokeFunction | None) -> None:
        self._function = function

    async def invoke(self, called: Called) -> InvokeResult:
        """Calls the function and waits for its answer."""
        return await self.post(called)

    def post(self, called: Called) -> Awaitable[InvokeResult]:
        """Calls the function."""
        if self._function is None:
            raise _not_found(f"{called.name}: the local cloud runs none")
        return self._function(called.name, called.payload, called.context)


def _not_found(what: str) -> AwsError:
    return AwsError(404, "ResourceNotFoundException", f"Function not found: {what}")


def _answer(result: InvokeResult, *, with_log: bool) -> Answer:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-amzn-requestid", result.request_id.encode()),
        (b"x-amz-executed-version", result.version.encode()),
    ]
    if result.error:
        headers.append((b"x-amz-function-error", result.error.encode()))
    if with_log:
        headers.append((b"x-amz-log-result", base64.b64encode(result.log_tail.encode())))
    return Answer(200, headers, result.payload)


def split(name: str) -> tuple[str, str]:
    """The name and the qualifier of a function given by name or ARN, "" without one."""
    named = name.partition(":function:")[2] or name
    function, _, qualifier = named.partition(":")
    return function, "" if qualifier == LATEST else qualifier
