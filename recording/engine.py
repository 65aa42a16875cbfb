"""Stands in for Pulumi's engine within this process: hands each declaration to a back end and
records it.
"""

import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, cast

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks, rpc
from pulumi.runtime import resource as declaring
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.proto.provider_pb2 import CheckFailure
from pulumi.runtime.proto.source_pb2 import StackTrace
from pulumi.runtime.settings import get_project, get_stack

from recording.model import Resource

# Where in the program each resource was declared is the engine's to show; it is an eighth of an
# evaluation, and nobody asks for it here.
declaring.__dict__["_get_stack_trace"] = StackTrace

STACK_TYPE = "pulumi:pulumi:Stack"
# What a recording has in place of a secret.
SECRET = "[secret]"


class InvokeRefused(Exception):
    """AWS does not answer a question, and says why; what that means is for the program to say."""


class Backend(Protocol):
    """What makes, or pretends to make, what the program declares.

    Called from several threads at once.
    """

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """The id and outputs of a new resource; None and {} for a component (`args.custom` is
        false).
        """
        ...

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        """The answer to a question the program asks AWS (`args.token`, `args.args`); raises
        InvokeRefused as AWS refuses, and anything else to stop the program.
        """
        ...


class Monitor(MockMonitor):
    """Pulumi's mock monitor, which also records: the back end itself never sees parents or
    dependencies.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(cast(Mocks, backend))
        self.recorded: list[Resource] = []
        self.stack_outputs: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine makes them: the types of all parents but the stack, so that equal names do
        not meet.
        """
        chain = parent.split("::")[2] if parent else STACK_TYPE
        qualified = type_ if chain == STACK_TYPE else f"{chain}${type_}"
        return "::".join([f"urn:pulumi:{get_stack()}", get_project(), qualified, name])

    # The engine calls these in worker threads, which have no event loop.

    def RegisterResource(self, request: Any) -> Any:
        if request.type == STACK_TYPE:
            return super().RegisterResource(request)
        urn = self.make_urn(request.parent, request.type, request.name)
        inputs = rpc.deserialize_properties(request.object)
        made = MockResourceArgs(
            typ=request.type, name=request.name, inputs=_plain(inputs), custom=request.custom
        )
        id_, outputs = self.mocks.new_resource(made)
        shown = _plain(inputs, secrets=False)
        self.recorded.append(
            Resource(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                inputs=shown,
                outputs={**outputs, **{key: shown[key] for key in _secret_keys(inputs)}},
                id=id_ or "",
                dependencies=sorted(request.dependencies),
                custom=request.custom,
                ignore_changes=list(request.ignoreChanges),
                replace_on_changes=list(request.replaceOnChanges),
                protect=request.protect,
                delete_before_replace=request.deleteBeforeReplace,
            )
        )
        properties = _at_once(rpc.serialize_properties(outputs, {}))
        return resource_pb2.RegisterResourceResponse(urn=urn, id=id_ or "", object=properties)

    def Invoke(self, request: Any) -> Any:
        question = MockCallArgs(
            request.tok, _plain(rpc.deserialize_properties(request.args)), request.provider
        )
        try:
            known = cast(dict[str, Any], self.mocks.call(question))
        except InvokeRefused as refusal:
            return resource_pb2.ResourceInvokeResponse(failures=[CheckFailure(reason=str(refusal))])
        answer = _at_once(rpc.serialize_properties(known, {}))
        return resource_pb2.ResourceInvokeResponse(**cast(Any, {"return": answer}))

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if f"::{STACK_TYPE}::" in request.urn:
            self.stack_outputs = _plain(rpc.deserialize_properties(request.outputs), secrets=False)
        return super().RegisterResourceOutputs(request)


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing, as that of plain values: a loop to run it
    would cost more than all it does.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise TypeError("a back end answers with plain values, and one of these has to be waited for")


def _secret_keys(properties: Mapping[str, Any]) -> list[str]:
    return [key for key, value in properties.items() if rpc.is_rpc_secret(value)]


def _plain(value: Any, *, secrets: bool = True) -> Any:
    """Values as the program wrote them: over the wire all numbers are floats.

    Archives and files become their paths, and without `secrets` what the program keeps secret is
    SECRET.
    """
    if rpc.is_rpc_secret(value):
        return _plain(rpc.unwrap_rpc_secret(value)) if secrets else SECRET
    if isinstance(value, dict):
        return {key: _plain(item, secrets=secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, secrets=secrets) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, pulumi.FileArchive | pulumi.FileAsset):
        return value.path
    return value


class Engine:
    """Where the program's messages go: to this module's logger."""

    def Log(self, request: Any) -> None:
        # Pulumi's severities are 0 to 3: debug, info, warning, error.
        logging.getLogger(__name__).log(10 * (1 + request.severity), request.message)
