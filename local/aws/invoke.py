"""Lambda's Invoke, answered by whoever runs the functions."""

import base64
from collections.abc import Awaitable, Callable

from local.aws.errors import AwsError
from local.aws.messages import Answer, Incoming
from local.aws.requests import AwsRequest
from local.lambda_.model import InvokeResult

# Gets (name or ARN, payload, client context as JSON text); raises LookupError and LambdaApiError.
# For an event it raises at once, and what it returns is awaited when the caller has been answered.
InvokeFunction = Callable[[str, bytes, str | None], Awaitable[InvokeResult]]


async def invoke(
    incoming: Incoming,
    request: AwsRequest,
    function: InvokeFunction | None,
    post: InvokeFunction | None,
    keep: Callable[[Awaitable[InvokeResult]], None],
) -> Answer:
    """Calls the function that the request names, by `function`.

    An asynchronous call is made by `post`, handed to `keep` and answered at once.
    """
    named = request.params["FunctionName"]
    # A name, or an ARN, each perhaps with a version behind it.
    name = named.partition(":function:")[2] or named
    if function is None or post is None:
        raise _not_found(f"{name}: the local cloud runs none")
    kind = request.params.get("InvocationType", "RequestResponse")
    if kind == "DryRun":
        return Answer(204)
    context = incoming.headers.get("x-amz-client-context")
    text = base64.b64decode(context).decode() if context else None
    called = (name.partition(":")[0], incoming.body, text)
    try:
        if kind == "Event":
            keep(post(*called))
            return Answer(202)
        answer = await function(*called)
        return _answer(answer, with_log=request.params.get("LogType") == "Tail")
    except LookupError:
        raise _not_found(name) from None


def _not_found(what: str) -> AwsError:
    return AwsError(404, "ResourceNotFoundException", f"Function not found: {what}")


def _answer(result: InvokeResult, *, with_log: bool) -> Answer:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-amzn-requestid", result.request_id.encode()),
        (b"x-amz-executed-version", b"$LATEST"),
    ]
    if result.error:
        headers.append((b"x-amz-function-error", result.error.encode()))
    if with_log:
        headers.append((b"x-amz-log-result", base64.b64encode(result.log_tail.encode())))
    return Answer(200, headers, result.payload)
