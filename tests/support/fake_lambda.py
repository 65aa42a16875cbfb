"""Lambda's versions and aliases in this process, with faults: a call that fails before or after it
has done its work, a process that is killed there, somebody who moves the alias meanwhile.
"""

import base64
import hashlib
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

ROUTER_ARN = "arn:aws:lambda:us-east-1:123456789012:function:router"
PROBE_ARN = "arn:aws:lambda:us-east-1:123456789012:function:probe"
WELL = {"ping": True, "queue-health": True}


class KilledError(BaseException):
    """SIGKILL: whatever is called from then on has no effect."""


class NotFoundError(ClientError):
    """ResourceNotFoundException."""


def refusal(code: str, kind: type[ClientError] = ClientError) -> ClientError:
    return kind({"Error": {"Code": code, "Message": code}}, "operation")


@dataclass
class FakeLambda:
    """One function and its alias, as boto3's client has them.

    `bad` are the codes whose versions answer 500; `fault(number)` is what happens at each call, or
    nothing: "error", "lost" (it was done, and the answer was lost), "kill", "killed after", "stop",
    or a function that somebody else calls.
    """

    variables: dict[str, str]
    fault: Callable[[int, str], Any] = lambda number, operation: None
    bad: set[bytes] = field(default_factory=set)
    probe: Any = field(default_factory=lambda: dict(WELL))
    code: bytes = b"first"
    role: str = "router"
    # The versions that nobody called for weeks, or that Lambda cannot run.
    states: dict[str, str] = field(default_factory=dict)
    # How often the probe was well.
    probed: int = 0
    calls: int = 0
    dead: bool = False
    stop: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.versions: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, bytes] = {}
        self.alias = {"FunctionVersion": "$LATEST", "RoutingConfig": {}, "RevisionId": "r"}
        self.given = 0
        self.meta = SimpleNamespace(events=SimpleNamespace(register=lambda name, hook: None))
        self.exceptions = SimpleNamespace(ResourceNotFoundException=NotFoundError)

    # --- the API

    def get_alias(self, **_: str) -> Any:
        return self._do("GetAlias", lambda: dict(self.alias))

    def update_alias(self, **told: Any) -> Any:
        return self._do("UpdateAlias", lambda: self.move(**told))

    def get_function_configuration(self, FunctionName: str, Qualifier: str) -> Any:
        return self._do("GetFunctionConfiguration", lambda: self._settings(Qualifier))

    def update_function_code(self, FunctionName: str, ZipFile: bytes) -> Any:
        def change() -> Any:
            self.code = ZipFile
            return self._settings("$LATEST")

        return self._do("UpdateFunctionCode", change)

    def publish_version(self, FunctionName: str, Description: str, CodeSha256: str = "") -> Any:
        return self._do("PublishVersion", lambda: self._publish(Description, CodeSha256))

    def delete_function(self, FunctionName: str, Qualifier: str) -> Any:
        def delete() -> None:
            if Qualifier in self.named():
                raise refusal("ResourceConflictException")
            if Qualifier not in self.versions:
                raise refusal("ResourceNotFoundException", NotFoundError)
            del self.versions[Qualifier]

        return self._do("DeleteFunction", delete)

    def invoke(self, FunctionName: str, Qualifier: str = "", **_: Any) -> Any:
        def answer() -> Any:
            if FunctionName == PROBE_ARN:
                self.probed += self.probe == WELL
                return {"Payload": io.BytesIO(json.dumps(self.probe).encode())}
            if Qualifier not in self.versions:
                raise refusal("ResourceNotFoundException", NotFoundError)
            if self.states.get(Qualifier) == "Inactive":
                del self.states[Qualifier]
                raise refusal("ResourceNotReadyException")
            status = 500 if self.codes[Qualifier] in self.bad else 401
            return {"Payload": io.BytesIO(json.dumps({"statusCode": status}).encode())}

        return self._do("Invoke", answer)

    def get_paginator(self, operation: str) -> Any:
        def pages(FunctionName: str) -> Iterator[Any]:
            latest = {"Version": "$LATEST"}
            versions = [{"Version": each} for each in self.versions]
            listed = {
                "list_versions_by_function": {"Versions": [latest, *versions]},
                "list_aliases": {"Aliases": [dict(self.alias)]},
            }
            return self._do(operation, lambda: [listed[operation]])

        return SimpleNamespace(paginate=pages)

    # --- what it is

    def named(self) -> set[str]:
        """The versions that the alias names."""
        return {self.alias["FunctionVersion"], *self.weights()}

    def weights(self) -> Mapping[str, float]:
        return self.alias["RoutingConfig"].get("AdditionalVersionWeights") or {}

    def move(
        self, FunctionVersion: str, RoutingConfig: Any, RevisionId: str | None = None, **_: Any
    ) -> Any:
        weights = RoutingConfig["AdditionalVersionWeights"]
        if RevisionId not in (None, self.alias["RevisionId"]):
            raise refusal("PreconditionFailedException")
        for each in (FunctionVersion, *weights):
            if each != "$LATEST" and each not in self.versions:
                raise refusal("ResourceNotFoundException", NotFoundError)
        if weights and "$LATEST" in (FunctionVersion, *weights):
            raise refusal("InvalidParameterValueException")
        if (
            weights
            and len({self.versions[each]["Role"] for each in (FunctionVersion, *weights)}) > 1
        ):
            raise refusal("InvalidParameterValueException")
        self.alias = {
            "FunctionVersion": FunctionVersion,
            "RoutingConfig": {"AdditionalVersionWeights": dict(weights)},
            "RevisionId": uuid.uuid4().hex,
        }
        return dict(self.alias)

    def _settings(self, qualifier: str) -> dict[str, Any]:
        if qualifier == "$LATEST":
            return {
                "CodeSha256": base64.b64encode(hashlib.sha256(self.code).digest()).decode(),
                "Environment": {"Variables": dict(self.variables)},
                "Role": self.role,
            }
        if qualifier not in self.versions:
            raise refusal("ResourceNotFoundException", NotFoundError)
        return {**self.versions[qualifier], "State": self.states.get(qualifier, "Active")}

    def _publish(self, description: str, code_sha256: str) -> Any:
        latest = self._settings("$LATEST")
        if code_sha256 not in ("", latest["CodeSha256"]):
            raise refusal("PreconditionFailedException")
        last = self.versions.get(str(self.given))
        if last and all(last[key] == latest[key] for key in latest):
            return last
        self.given += 1
        number = str(self.given)
        self.versions[number] = {**latest, "Version": number, "Description": description}
        self.codes[number] = self.code
        return self.versions[number]

    def _do(self, operation: str, work: Callable[[], Any]) -> Any:
        if self.dead:
            raise KilledError
        self.calls += 1
        fault = self.fault(self.calls, operation)
        lost = EndpointConnectionError(endpoint_url="https://lambda")
        if fault == "error":
            raise lost
        if fault == "stop":
            self.stop()
        if fault == "kill":
            self.dead = True
            raise KilledError
        if callable(fault):
            fault(self)
        done = work()
        if fault == "lost":
            raise lost
        if fault == "killed after":
            self.dead = True
            raise KilledError
        return done


@dataclass
class FakeAlarms:
    """CloudWatch: `rings(number)` are the names of alarms that ring at each look."""

    names: list[str]
    rings: Callable[[int], set[str]] = lambda number: set()
    looks: int = 0

    def describe_alarms(self, AlarmNames: list[str]) -> Any:
        ringing = self.rings(self.looks)
        self.looks += 1
        return {
            "MetricAlarms": [
                {"AlarmName": each, "StateValue": "ALARM" if each in ringing else "OK"}
                for each in AlarmNames
                if each in self.names
            ]
        }
