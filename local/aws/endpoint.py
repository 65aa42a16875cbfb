"""The one address of AWS's APIs: knows every caller, records every call, injects faults, and hands
the rest to moto.
"""

import asyncio
import base64
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from local.aws import requests as aws_requests
from local.aws.ec2 import Delays, Ec2Error, InstanceStates, StateListener
from local.aws.faults import Fault, Faults
from local.aws.imds import PREFIX, Credentials, InstanceFacts, MetadataService
from local.aws.moto import Moto
from local.aws.requests import AwsRequest, UnknownRequestError
from local.aws.upstream import Answer, exchange
from local.lambda_.model import InvokeResult, LambdaApiError
from local.machine.ports import listen
from local.machine.serving import reset, serving
from recording.model import ACCOUNT_ID

InvokeFunction = Callable[[str, bytes, str | None], Awaitable[InvokeResult]]

MAX_CALLS = 50_000
_MOTO_TIMEOUT_S = 30.0
_JWKS_PATH = "/.well-known/jwks.json"
# Between two hops each names its own; the lengths are known by then.
_HOP_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"expect", b"host", b"content-length"}
)
# What changes one S3 object: moto checks If-Match and then writes, with room for another thread
# between.
_OBJECT_WRITES = frozenset({"PutObject", "CopyObject", "DeleteObject", "CompleteMultipartUpload"})

# How each protocol says that it does not know an access key, and that it wants one.
_UNKNOWN_KEY = {
    "ec2": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "json": (
        400,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ),
    "query": (
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    ),
    "rest-json": (
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ),
    "rest-xml": (
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
}
_NO_KEY = {"rest-xml": (403, "AccessDenied", "Access Denied")}
_NO_KEY_OTHERS = (403, "MissingAuthenticationToken", "Request is missing Authentication Token")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an AWS API.

    `action` is IAM's name; `params` are what boto3's call was given, without blobs.

    `role_arn` is None for the operator and for unsigned calls; `instance_arn` is the instance whose
    credentials were used (`ec2:SourceInstanceARN`); `resource_tags` are the tags, at that time, of
    the instances the call names, by id; `status` is None when no answer was sent (a hang, a reset,
    a client that left).
    """

    time: float
    duration_ms: float
    role_arn: str | None
    instance_arn: str | None
    service: str
    operation: str
    action: str
    params: Mapping[str, Any]
    resource_tags: Mapping[str, Mapping[str, str]]
    status: int | None


class _Principal(NamedTuple):
    role_arn: str | None = None
    instance_arn: str | None = None


class _Incoming(NamedTuple):
    """One HTTP request: raw for moto, text for reading."""

    method: str
    path: str
    query: str
    target: bytes
    raw_headers: Sequence[tuple[bytes, bytes]]
    headers: Mapping[str, str]
    body: bytes
    transport: asyncio.Transport


class _NoAnswerError(Exception):
    """The client gets no answer: its connection hangs, or is reset."""

    def __init__(self, *, hangs: bool):
        super().__init__()
        self.hangs = hangs


class _Refusal(Exception):
    """AWS refuses the request with this status, code and message."""


@dataclass
class _Trace:
    """What becomes known of a call while it is answered."""

    started: float = field(default_factory=time.perf_counter)
    principal: _Principal = field(default_factory=_Principal)
    resource_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    status: int | None = None


class Endpoint:
    """`async with Endpoint(moto)`: then `url` is what AWS_ENDPOINT_URL wants.

    Access keys are checked, signatures and policies are not: `calls` says who did what, for others
    to judge.
    """

    def __init__(self, moto: Moto, *, port: int = 0, delays: Delays | None = None):
        self.url = ""
        self.calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self.faults = Faults()
        self.instances = InstanceStates(moto.client("ec2"), delays or Delays())
        self.on_invoke: InvokeFunction | None = None
        self._moto = moto
        self._port = port
        self._metadata = MetadataService(self._instance_facts)
        self._principals: dict[str, _Principal] = {}
        self._issued: dict[_Principal, Credentials] = {}
        self._object_locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._background: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()
        self.operator = self._issue(_Principal(), "AKIA")

    async def __aenter__(self) -> "Endpoint":
        self._stack = contextlib.AsyncExitStack()
        listener = listen(self._port, "the AWS endpoint")
        self.url = await self._stack.enter_async_context(serving(self, listener))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._stack.aclose()
        await self.instances.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def credentials_for(self, role_arn: str, instance_arn: str | None = None) -> Credentials:
        """The role's access key and secret, always the same; an instance's own when it is the
        instance that acts.
        """
        principal = _Principal(role_arn, instance_arn)
        return self._issued.get(principal) or self._issue(principal, "ASIA")

    def on_instance_state(self, listener: StateListener) -> None:
        """Calls `listener(instance_id, state)`, plain or async, at each change of an instance's
        state.
        """
        self.instances.listen(listener)

    def imds_url(self, instance_id: str) -> str:
        """What AWS_EC2_METADATA_SERVICE_ENDPOINT is on that instance."""
        return f"{self.url}{PREFIX}{instance_id}"

    def jwks_url(self, user_pool_id: str) -> str:
        """Where a user pool's public keys are."""
        return f"{self.url}/{user_pool_id}{_JWKS_PATH}"

    def _issue(self, principal: _Principal, prefix: str) -> Credentials:
        credentials = Credentials(prefix + secrets.token_hex(8).upper(), secrets.token_urlsafe(30))
        self._principals[credentials.access_key] = principal
        self._issued[principal] = credentials
        return credentials

    async def __call__(
        self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """The ASGI app."""
        incoming = await _read(scope, receive)
        answering = asyncio.ensure_future(self._answer(incoming))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await _send(send, answering.result())
        except _NoAnswerError as silence:
            if silence.hangs:
                await self._until_gone(leaving)
            reset(incoming.transport)
            await leaving
        finally:
            # What a client has asked for happens on AWS even when it does not wait for the answer;
            # a hang does not.
            leaving.cancel()
            if not answering.done():
                self._keep(answering)

    async def _until_gone(self, leaving: asyncio.Future[None]) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((leaving, closing), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()

    def _keep(self, task: asyncio.Future[Any]) -> None:
        assert isinstance(task, asyncio.Task)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()

    async def _answer(self, incoming: _Incoming) -> Answer:
        if incoming.path.startswith(PREFIX):
            reply = await self._metadata.answer(incoming.method, incoming.path, incoming.headers)
            headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
            return Answer(
                reply.status, [(b"content-type", b"text/plain"), *headers], reply.text.encode()
            )
        try:
            request = _understand(incoming)
        except UnknownRequestError as error:
            _log.warning("%s", error)
            return _error("rest-xml", 400, "UnknownOperationException", str(error))
        trace = _Trace()
        try:
            answer = await self._serve(incoming, request, trace)
            trace.status = answer.status
            return answer
        finally:
            self.calls.append(_call(request, trace))

    async def _serve(self, incoming: _Incoming, request: AwsRequest, trace: _Trace) -> Answer:
        try:
            trace.principal = self._principal(request)
            if request.service == "ec2" and not request.operation.startswith("Describe"):
                trace.resource_tags = await self._tags(request)
            fault = self.faults.take(request.service, request.operation, trace.principal.role_arn)
            if fault is None:
                return await self._handle(incoming, request)
            answer = await self._handle(incoming, request) if fault.after else None
            await _suffer(fault)
            return answer or await self._handle(incoming, request)
        except _Refusal as refusal:
            return _error(request.protocol, *refusal.args)
        except (Ec2Error, LambdaApiError) as error:
            return _error(request.protocol, error.status, error.code, str(error))
        except OSError as error:
            return _error(
                request.protocol, 503, "ServiceUnavailable", f"moto does not answer: {error!r}"
            )

    def _principal(self, request: AwsRequest) -> _Principal:
        if request.access_key is None:
            if request.public:
                return _Principal()
            raise _Refusal(*_NO_KEY.get(request.protocol, _NO_KEY_OTHERS))
        try:
            return self._principals[request.access_key]
        except KeyError:
            raise _Refusal(*_UNKNOWN_KEY[request.protocol]) from None

    async def _tags(self, request: AwsRequest) -> dict[str, dict[str, str]]:
        """The tags of the instances that the call names; conditions of policies ask for them."""
        named = [*request.params.get("InstanceIds", ()), *request.params.get("Resources", ())]
        instance_ids = [name for name in named if name.startswith("i-")]
        if not instance_ids:
            return {}
        with contextlib.suppress(Ec2Error):
            return {
                each["InstanceId"]: _tag_map(each)
                for each in await self.instances.describe(instance_ids)
            }
        return {}

    async def _handle(self, incoming: _Incoming, request: AwsRequest) -> Answer:
        match request.service, request.operation:
            case "ec2", "StartInstances" | "StopInstances" if not request.params.get("DryRun"):
                change = (
                    self.instances.start
                    if request.operation == "StartInstances"
                    else self.instances.stop
                )
                return _xml(await change(request.params.get("InstanceIds", ())))
            case "ec2", "DescribeInstances" | "DescribeInstanceStatus":
                return await self._describe(incoming, request)
            case "s3", operation if operation in _OBJECT_WRITES:
                async with self._object_lock(request):
                    return await self._ask_moto(incoming)
            case "lambda", "Invoke":
                return await self._invoke(incoming, request)
        return await self._ask_moto(incoming)

    @contextlib.asynccontextmanager
    async def _object_lock(self, request: AwsRequest) -> AsyncIterator[None]:
        name = request.params["Bucket"], request.params["Key"]
        lock = self._object_locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    async def _describe(self, incoming: _Incoming, request: AwsRequest) -> Answer:
        body = self.instances.without_state_filters(incoming.body)
        answer = await self._ask_moto(incoming._replace(body=body))
        if answer.status != 200:
            return answer
        return answer._replace(
            body=self.instances.show(request.operation, request.params, answer.body)
        )

    async def _invoke(self, incoming: _Incoming, request: AwsRequest) -> Answer:
        """Lambda's Invoke, by the function host; an asynchronous one is answered at once and not
        retried.
        """
        name = (
            request.params["FunctionName"].partition(":function:")[2]
            or request.params["FunctionName"]
        )
        context = incoming.headers.get("x-amz-client-context")
        kind = request.params.get("InvocationType", "RequestResponse")
        if self.on_invoke is None:
            raise _Refusal(
                404,
                "ResourceNotFoundException",
                f"Function not found: {name}: the local cloud runs none",
            )
        if kind == "DryRun":
            return Answer(204)
        call = self.on_invoke(
            name.partition(":")[0],
            incoming.body,
            base64.b64decode(context).decode() if context else None,
        )
        if kind == "Event":
            self._keep(asyncio.ensure_future(call))
            return Answer(202)
        try:
            return _invoked(await call, with_log=request.params.get("LogType") == "Tail")
        except LookupError:
            raise _Refusal(
                404, "ResourceNotFoundException", f"Function not found: {name}"
            ) from None

    async def _ask_moto(self, incoming: _Incoming) -> Answer:
        kept = [(name, value) for name, value in incoming.raw_headers if name not in _HOP_HEADERS]
        own = [
            (b"host", self._moto.host.encode()),
            (b"content-length", str(len(incoming.body)).encode()),
        ]
        host, _, port = self._moto.host.partition(":")
        async with asyncio.timeout(_MOTO_TIMEOUT_S):
            answer = await exchange(
                host, int(port), incoming.method, incoming.target, [*own, *kept], incoming.body
            )
        # HEAD's content-length is the object's, and there is no body to count.
        dropped = _HOP_HEADERS - {b"content-length"} if incoming.method == "HEAD" else _HOP_HEADERS
        return answer._replace(
            headers=[(name, value) for name, value in answer.headers if name not in dropped]
        )

    async def _instance_facts(self, instance_id: str) -> InstanceFacts | None:
        with contextlib.suppress(Ec2Error):
            (instance,) = await self.instances.describe([instance_id])
            user_data, role_arn = await asyncio.to_thread(self._moto.user_data_and_role, instance)
            arn = f"arn:aws:ec2:{self._moto.region}:{ACCOUNT_ID}:instance/{instance_id}"
            return InstanceFacts(
                instance=instance,
                region=self._moto.region,
                account_id=ACCOUNT_ID,
                user_data=user_data,
                role=role_arn.rpartition("/")[2] if role_arn else None,
                credentials=self.credentials_for(role_arn, arn) if role_arn else None,
            )
        return None


def _understand(incoming: _Incoming) -> AwsRequest:
    if incoming.method == "GET" and incoming.path.endswith(_JWKS_PATH):
        # No API operation, but part of the service: it can be counted and can fail like one.
        pool = incoming.path.removesuffix(_JWKS_PATH).strip("/")
        return AwsRequest(
            service="cognito-idp",
            operation="GetJwks",
            protocol="json",
            public=True,
            access_key=None,
            region=None,
            params={"UserPoolId": pool},
        )
    return aws_requests.parse(
        incoming.method, incoming.path, incoming.query, incoming.headers, incoming.body
    )


def _call(request: AwsRequest, trace: _Trace) -> Call:
    duration_s = time.perf_counter() - trace.started
    return Call(
        time=time.time() - duration_s,
        duration_ms=duration_s * 1000,
        role_arn=trace.principal.role_arn,
        instance_arn=trace.principal.instance_arn,
        service=request.service,
        operation=request.operation,
        action=request.action,
        params=request.params,
        resource_tags=trace.resource_tags,
        status=trace.status,
    )


async def _suffer(fault: Fault) -> None:
    await asyncio.sleep(fault.delay_s)
    if fault.hang or fault.reset:
        raise _NoAnswerError(hangs=fault.hang)
    if fault.status is not None:
        raise _Refusal(fault.status, fault.code, fault.message)


def _error(protocol: str, status: int, code: str, message: str) -> Answer:
    status, headers, body = aws_requests.error_response(protocol, status, code, message)
    return Answer(
        status, [(name.encode(), value.encode()) for name, value in headers.items()], body
    )


def _xml(body: bytes) -> Answer:
    return Answer(200, [(b"content-type", b"text/xml;charset=UTF-8")], body)


def _invoked(result: InvokeResult, *, with_log: bool) -> Answer:
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


def _tag_map(instance: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


async def _read(scope: Mapping[str, Any], receive: Callable[..., Any]) -> _Incoming:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path, query = scope["raw_path"], scope["query_string"]
    return _Incoming(
        method=scope["method"],
        path=path.decode("latin-1"),
        query=query.decode("latin-1"),
        target=path + b"?" + query if query else path,
        raw_headers=scope["headers"],
        headers={
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        },
        body=body,
        transport=scope["state"]["transport"],
    )


async def _disconnected(receive: Callable[..., Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Callable[..., Any], answer: Answer) -> None:
    headers = list(answer.headers)
    if not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
