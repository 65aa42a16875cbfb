"""The provider's side of the engine's protocol (pulumi/proto/provider.proto), over the registry of
kinds that recordings and the local cloud use too.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from secrets import token_hex
from typing import Any

import grpc
from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf import empty_pb2
from pulumi.runtime import MockCallArgs
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from local.deployment.backend import LocalBackend
from local.deployment.provider import naming
from local.deployment.provider.journal import Journal
from local.deployment.provider.values import UNKNOWN, plain, secrets_of, struct
from recording.invented import invented
from recording.kinds import kind_of
from recording.model import ACCOUNT_ID

VERSION = "7.51.1"
Properties = dict[str, Any]
_DIFF = provider_pb2.DiffResponse
_KIND = provider_pb2.PropertyDiff


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    """What AWS refuses reaches the engine in AWS's words."""

    @wraps(method)
    def answered(self: Any, request: Any, context: Any) -> Any:
        try:
            return method(self, request)
        except (ClientError, BotoCoreError, LookupError, ValueError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))

    return answered


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """AWS as the local cloud has it; the engine calls it from many threads."""

    def __init__(self, backend: LocalBackend, journal: Journal) -> None:
        self._backend = backend
        self._resources = backend.resources
        self._journal = journal

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema="{}")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=_DIFF.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=True, acceptSecrets=True
        )

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    @_told
    def Invoke(self, request: Any) -> Any:
        question = MockCallArgs(request.tok, plain(request.args), "")
        answer: Any = {"return": struct(self._backend.call(question))}
        return provider_pb2.InvokeResponse(**answer)

    @_told
    def Check(self, request: Any) -> Any:
        """Gives a resource its physical name, and refuses one that AWS would refuse."""
        kind = kind_of(request.type)
        inputs, failure = naming.named(kind, plain(request.news), plain(request.olds), request)
        failures = [provider_pb2.CheckFailure(**failure)] if failure else []
        checked = struct(inputs, secrets_of(request.news))
        return provider_pb2.CheckResponse(inputs=checked, failures=failures)

    @_told
    def Diff(self, request: Any) -> Any:
        """Which inputs differ, and which of them AWS can only change by a replacement."""
        old, new = plain(request.old_inputs), plain(request.news)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        replaced = sorted(kind_of(request.type).replacing(old, new))
        return provider_pb2.DiffResponse(
            changes=_DIFF.DIFF_SOME if changed else _DIFF.DIFF_NONE,
            replaces=replaced,
            diffs=changed,
            hasDetailedDiff=True,
            detailedDiff={
                key: _KIND(kind=_difference(old, new, key, key in replaced), inputDiff=True)
                for key in changed
            },
        )

    @_told
    def Create(self, request: Any) -> Any:
        inputs, secret = plain(request.properties), secrets_of(request.properties)
        if request.preview:
            shape = kind_of(request.type).shape
            unknown = {key: UNKNOWN for key in shape if key != "id"}
            return provider_pb2.CreateResponse(properties=struct({**unknown, **inputs}, secret))
        name = naming.physical(kind_of(request.type), inputs, request.name)
        known = {**inputs, "name": name, "hex": token_hex(32)}
        made = invented(
            request.type, {**known, "region": self._backend.region, "account": ACCOUNT_ID}
        )
        added = self._resources.create(request.type, name, inputs, {**inputs, **made})
        outputs = {**inputs, **added}
        open_ = {key: value for key, value in outputs.items() if key not in secret}
        self._journal.made(request.type, added["id"], open_)
        return provider_pb2.CreateResponse(id=added["id"], properties=struct(outputs, secret))

    @_told
    def Read(self, request: Any) -> Any:
        outputs, inputs = plain(request.properties), plain(request.inputs)
        found = self._resources.read(request.type, request.id, outputs)
        if found is None:
            return provider_pb2.ReadResponse()
        # What was given is what drifts; the rest is AWS's own.
        drifted = {key: value for key, value in found.items() if key in inputs or key == "tags"}
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=struct({**outputs, **found}, secrets_of(request.properties)),
            inputs=struct(
                _without_empty({**inputs, **drifted}, inputs), secrets_of(request.inputs)
            ),
        )

    @_told
    def Update(self, request: Any) -> Any:
        old, new, secret = plain(request.olds), plain(request.news), secrets_of(request.news)
        if request.preview:
            foreseen = self._resources.foreseen(request.type, old, new)
            changed = dict.fromkeys(foreseen, UNKNOWN)
        else:
            changed = self._resources.change(request.type, request.id, old, new)
        gone = plain(request.old_inputs).keys() - new.keys()
        kept = {key: value for key, value in old.items() if key not in gone}
        return provider_pb2.UpdateResponse(properties=struct({**kept, **new, **changed}, secret))

    @_told
    def Delete(self, request: Any) -> Any:
        self._resources.remove(request.type, request.id, plain(request.properties))
        return empty_pb2.Empty()


def _difference(old: Properties, new: Properties, key: str, replaced: bool) -> Any:
    if key not in old:
        return _KIND.ADD_REPLACE if replaced else _KIND.ADD
    if key not in new:
        return _KIND.DELETE_REPLACE if replaced else _KIND.DELETE
    return _KIND.UPDATE_REPLACE if replaced else _KIND.UPDATE


def _without_empty(found: Mapping[str, Any], given: Mapping[str, Any]) -> Properties:
    return {key: value for key, value in found.items() if value or key in given}
