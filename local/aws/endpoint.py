"""The one address of AWS's APIs: knows every caller, records every call, injects faults, and hands
the rest to moto.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from local.aws import messages
from local.aws.answers import Handler
from local.aws.ec2 import Delays, InstanceStates, StateListener
from local.aws.errors import AwsError, error_answer
from local.aws.faults import Faults, NoAnswerError
from local.aws.imds import PREFIX, InstanceFacts, MetadataService
from local.aws.invoke import Functions, InvokeFunction, Unversioned, invoke
from local.aws.messages import Answer, Incoming
from local.aws.moto import Moto
from local.aws.principals import Credentials, Principal, Principals
from local.aws.records import Records, Tags, Trace
from local.aws.requests import JWKS_PATH, AwsRequest, UnknownRequestError, parse
from local.aws.spot import Interruptions
from local.aws.upstream import forward
from local.lambda_.model import LambdaApiError
from local.machine.ports import listen
from local.machine.serving import reset, serving
from recording.model import ACCOUNT_ID

# What changes one S3 object: moto checks If-Match and then writes, with room for another thread
# between.
_OBJECT_WRITES = frozenset({"PutObject", "CopyObject", "DeleteObject", "CompleteMultipartUpload"})

_log = logging.getLogger(__name__)


class Endpoint:
    """`async with Endpoint(moto)`: then `url` is what AWS_ENDPOINT_URL wants.

    A request is understood, its caller known, a fault perhaps injected; then it is answered by what
    emulates EC2's states and Lambda, or by moto, and recorded. Access keys are checked, signatures
    and policies are not: `calls` says who did what, for others to judge.
    """

    def __init__(self, moto: Moto, *, port: int = 0, delays: Delays | None = None):
        self.url = ""
        self.faults = Faults()
        self.instances = InstanceStates(moto.client("ec2"), delays or Delays())
        self.spot = Interruptions(self.instances)
        # What runs functions: one callable, or else who knows their versions and aliases.
        self.on_invoke: InvokeFunction | None = None
        self.functions: Functions | None = None
        # Who else answers what, by service and operation.
        self.answers: dict[tuple[str, str], Handler] = {}
        self._moto = moto
        self._port = port
        self._metadata = MetadataService(self._instance_facts)
        self._principals = Principals()
        self.operator = self._principals.operator
        self._records = Records()
        self.calls = self._records.calls
        self._object_locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._background: set[asyncio.Future[Any]] = set()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> "Endpoint":
        self._stack = contextlib.AsyncExitStack()
        listener = listen(self._port, "the AWS endpoint")
        self.url = await self._stack.enter_async_context(serving(self, listener))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._stack.aclose()
        await self.spot.close()
        await self.instances.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def credentials_for(self, role_arn: str, instance_arn: str | None = None) -> Credentials:
        """The role's access key and secret, always the same; an instance's own when it is the
        instance that acts.
        """
        return self._principals.credentials_of(Principal(role_arn, instance_arn))

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
        return f"{self.url}/{user_pool_id}{JWKS_PATH}"

    # --- one request and its client

    async def __call__(
        self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """The ASGI app."""
        incoming = await messages.read(scope, receive)
        if incoming is None:
            # AWS does nothing for half a request.
            return
        answering = asyncio.ensure_future(self._answer(incoming))
        leaving = asyncio.ensure_future(messages.disconnected(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await messages.send(send, answering.result())
        except NoAnswerError as silence:
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

    def _keep(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()

    # --- the chain: understand, who, fault, handle; recorded whatever comes of it

    async def _answer(self, incoming: Incoming) -> Answer:
        if incoming.path.startswith(PREFIX):
            return await self._answer_metadata(incoming)
        if (allowed := messages.preflight(incoming)) is not None:
            return allowed
        try:
            request = parse(
                incoming.method, incoming.path, incoming.query, incoming.headers, incoming.body
            )
        except UnknownRequestError as error:
            _log.warning("%s", error)
            return error_answer("rest-xml", 400, "UnknownOperationException", str(error))
        with self._records.keeping(request) as trace:
            answer = await self._serve(incoming, request, trace)
            trace.status = answer.status
        return messages.for_any_page(answer) if request.service == "cognito-idp" else answer

    async def _answer_metadata(self, incoming: Incoming) -> Answer:
        """The metadata service's answer; to a fault it is `imds`, and its paths are operations."""
        _, _, path = incoming.path.removeprefix(PREFIX).partition("/")
        fault = self.faults.take("imds", path, None)
        try:
            if fault is not None:
                await fault.strike()
        except AwsError as error:
            return Answer(error.status, [(b"content-type", b"text/plain")], str(error).encode())
        return await self._metadata.answer(incoming)

    async def _serve(self, incoming: Incoming, request: AwsRequest, trace: Trace) -> Answer:
        try:
            trace.principal = self._principals.caller(request)
            trace.resource_tags = await self._tags(request)
            return await self._unless_faulty(incoming, request, trace.principal)
        except (AwsError, LambdaApiError) as error:
            return error_answer(request.protocol, error.status, error.code, str(error))
        except OSError as error:
            silence = f"moto does not answer: {error!r}"
            return error_answer(request.protocol, 503, "ServiceUnavailable", silence)

    async def _tags(self, request: AwsRequest) -> Tags:
        """The tags of the instances, or of the image, that a call would change; conditions of
        policies ask for them.
        """
        if request.service != "ec2" or request.operation.startswith("Describe"):
            return {}
        if request.operation == "DeregisterImage":
            return await asyncio.to_thread(self._image_tags, request.params["ImageId"])
        named = [*request.params.get("InstanceIds", ()), *request.params.get("Resources", ())]
        instance_ids = [name for name in named if name.startswith("i-")]
        try:
            return await self.instances.tags(instance_ids)
        except AwsError:
            return {}

    def _image_tags(self, image_id: str) -> Tags:
        asked = [{"Name": "resource-id", "Values": [image_id]}]
        found = self._moto.client("ec2").describe_tags(Filters=asked)["Tags"]
        return {image_id: {each["Key"]: each["Value"] for each in found}}

    async def _unless_faulty(
        self, incoming: Incoming, request: AwsRequest, principal: Principal
    ) -> Answer:
        fault = self.faults.take(request.service, request.operation, principal.role_arn)
        if fault is None:
            return await self._handle(incoming, request)
        if fault.falls_back:
            self.instances.doom(request.params.get("InstanceIds", ()), fault.falls_back)
        answer = await self._handle(incoming, request) if fault.after else None
        await fault.strike()
        return answer or await self._handle(incoming, request)

    async def _handle(self, incoming: Incoming, request: AwsRequest) -> Answer:
        match request.service, request.operation:
            case "ec2", "StartInstances" if not request.params.get("DryRun"):
                return _xml(await self.instances.start(request.params.get("InstanceIds", ())))
            case "ec2", "StopInstances" if not request.params.get("DryRun"):
                return _xml(await self.instances.stop(request.params.get("InstanceIds", ())))
            case "ec2", "DescribeInstances" | "DescribeInstanceStatus":
                return await self._describe(incoming, request)
            case "s3", operation if operation in _OBJECT_WRITES:
                async with self._object_lock(request):
                    return await forward(incoming, self._moto.host)
            case "lambda", "Invoke":
                functions = self.functions
                if self.on_invoke is not None or functions is None:
                    functions = Unversioned(self.on_invoke)
                return await invoke(incoming, request, functions, self._keep)
        handler = self.answers.get((request.service, request.operation))
        if handler is not None:
            return await handler(request, lambda: forward(incoming, self._moto.host))
        return await forward(incoming, self._moto.host)

    async def _describe(self, incoming: Incoming, request: AwsRequest) -> Answer:
        body = self.instances.without_state_filters(incoming.body)
        answer = await forward(incoming._replace(body=body), self._moto.host)
        if answer.status != 200:
            return answer
        shown = self.instances.show(request.operation, request.params, answer.body)
        return answer._replace(body=shown)

    @contextlib.asynccontextmanager
    async def _object_lock(self, request: AwsRequest) -> AsyncIterator[None]:
        name = request.params["Bucket"], request.params["Key"]
        lock = self._object_locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    async def _instance_facts(self, instance_id: str) -> InstanceFacts | None:
        """What the metadata service tells an instance of itself; None when there is none."""
        try:
            [instance] = await self.instances.describe([instance_id])
        except AwsError:
            return None
        user_data, role_arn = await asyncio.to_thread(self._moto.user_data_and_role, instance)
        arn = f"arn:aws:ec2:{self._moto.region}:{ACCOUNT_ID}:instance/{instance_id}"
        return InstanceFacts(
            instance=instance,
            region=self._moto.region,
            account_id=ACCOUNT_ID,
            user_data=user_data,
            role=role_arn.rpartition("/")[2] if role_arn else None,
            credentials=self.credentials_for(role_arn, arn) if role_arn else None,
            notice=self.spot.notice(instance_id),
        )


def _xml(body: bytes) -> Answer:
    return Answer(200, [(b"content-type", b"text/xml;charset=UTF-8")], body)
