"""The router's versions and the alias that callers use, in Lambda's API.

Each change of the alias names the revision that it was decided on, so that of two who move it at
once one is told.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tlfif.names import ALIAS

LATEST = "$LATEST"
KEPT = 5
# How many failures in a row are one.
TRIES = 3
# Every answer of Lambda that is no error of the API; a function in a VPC takes seconds to be ready.
CONFIG = Config(
    connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 4}
)
_READY_TRIES, _READY_S, _MOVE_TRIES = 120, 1.0, 5
# A request without a token: answered by what is before the queue, and with nobody's data.
EVENT: Mapping[str, Any] = {
    "resource": "/status",
    "path": "/status",
    "httpMethod": "GET",
    "headers": {},
    "multiValueHeaders": {},
    "pathParameters": None,
    "queryStringParameters": None,
    "requestContext": {"requestId": "deployment"},
    "body": None,
    "isBase64Encoded": False,
}
# What a version freezes beside its code. Lambda names only a VPC's parts that were given.
_FROZEN = (
    "Architectures",
    "Environment",
    "EphemeralStorage",
    "Handler",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "Role",
    "Runtime",
    "Timeout",
    "TracingConfig",
    "VpcConfig",
)
_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")


class DeliveryError(RuntimeError):
    """Nothing (more) was delivered; the message says why and what to do."""


class MovedError(DeliveryError):
    """Somebody else moved the alias meanwhile: it is theirs."""


@dataclass(frozen=True)
class Serving:
    """What the alias names: a version, and the part of the traffic (0 to 1) that another gets."""

    version: str
    weights: Mapping[str, float] = field(default_factory=dict)
    revision: str = ""

    def __str__(self) -> str:
        parts = [f"{weight:.0%} of it version {each}" for each, weight in self.weights.items()]
        return ", ".join([f"version {self.version}", *parts])


class Router:
    """One deployed router; `pause(seconds)` lets time pass while Lambda makes a version ready."""

    def __init__(self, client: Any, function_arn: str, pause: Callable[[float], None]) -> None:
        self.name = function_arn.rpartition(":")[2]
        self._client, self._pause = client, pause
        self._trace = ""
        client.meta.events.register("before-call.lambda.Invoke", self._add_trace)

    # --- the alias

    def serving(self) -> Serving:
        """What the alias names now. Raises DeliveryError when there is none."""
        try:
            told = self._client.get_alias(FunctionName=self.name, Name=ALIAS)
        except self._client.exceptions.ResourceNotFoundException:
            fix = "is the stack deployed? (pulumi up)"
            raise DeliveryError(f"the function {self.name} has no alias {ALIAS}; {fix}") from None
        return _serving(told)

    def move(self, now: Serving, version: str, weights: Mapping[str, float]) -> Serving:
        """Points the alias elsewhere, if it still is as it was `now`. Raises MovedError."""
        try:
            told = self._client.update_alias(
                FunctionName=self.name,
                Name=ALIAS,
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": dict(weights)},
                RevisionId=now.revision,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailedException":
                raise
            # An answer that was lost on its way is asked for again: then the change is our own.
            found = self.serving()
            if (found.version, dict(found.weights)) == (version, dict(weights)):
                return found
            raise MovedError(f"somebody else moved the alias {ALIAS}: it names {found}") from None
        return _serving(told)

    def settle(self) -> tuple[Serving, Serving]:
        """Takes back a shift that was never finished: the alias's own version alone serves.

        Returns what was found, and what is. Raises MovedError.
        """
        found = self.serving()
        if not found.weights:
            return found, found
        return found, self.move(found, found.version, {})

    def restore(self, old: str, new: str) -> Serving:
        """Has `old` alone serve again, if the alias names `new` in whatever part; returns what it
        names then. Raises MovedError when others move it again and again.
        """
        for _ in range(_MOVE_TRIES):
            found = self.serving()
            if new not in (found.version, *found.weights):
                return found
            try:
                return self.move(found, old, {})
            except MovedError:
                continue
        raise MovedError(f"the alias {ALIAS} is moved by somebody else, again and again")

    # --- versions

    def settings(self, qualifier: str = LATEST) -> Mapping[str, Any]:
        """A version's settings, or the function's. Raises DeliveryError when there is none."""
        try:
            return self._client.get_function_configuration(
                FunctionName=self.name, Qualifier=qualifier
            )
        except self._client.exceptions.ResourceNotFoundException:
            raise DeliveryError(
                f"the function {self.name} has no version {qualifier}{self._known()}"
            ) from None

    def _known(self) -> str:
        """Not every role may list them."""
        try:
            known = ", ".join(map(str, self.numbers())) or "none"
        except (BotoCoreError, ClientError):
            return ""
        return f"; there are: {known}"

    def is_served(self, serving: Serving, zipped: bytes) -> bool:
        """Whether what serves has this code, and the settings that a new version would have."""
        served, latest = self.settings(serving.version), self.settings()
        same = all(served.get(key) == latest.get(key) for key in _FROZEN)
        return same and served["CodeSha256"] == digest(zipped)

    def take(self, zipped: bytes) -> None:
        """Makes this the code of the next version; serves nobody yet."""
        if self.settings()["CodeSha256"] != digest(zipped):
            self._client.update_function_code(FunctionName=self.name, ZipFile=zipped)
            self._wait_until_ready(LATEST)

    def publish(self, description: str, code_sha256: str | None = None) -> str:
        """The number of a new version, or of the last one if nothing has changed since. It can be
        called after `wake`.

        Raises DeliveryError when somebody else has changed the code meanwhile.
        """
        condition = {"CodeSha256": code_sha256} if code_sha256 else {}
        try:
            made = self._client.publish_version(
                FunctionName=self.name, Description=description, **condition
            )
        except ClientError as error:
            if not code_sha256 or error.response["Error"]["Code"] not in _OTHERS_CODE:
                raise
            raise DeliveryError(
                f"somebody else changed the code of {self.name} meanwhile; deploy again"
            ) from error
        return made["Version"]

    def wake(self, version: str) -> None:
        """Waits until a version can take traffic: one that nobody called for weeks is Inactive, and
        a call has Lambda make it ready. Raises DeliveryError when it cannot.
        """
        told = self.settings(version)
        if told.get("State") == "Inactive":
            # This call is refused; it is what wakes it.
            self.call(version, EVENT)
            self._pause(_READY_S)
        self._wait_until_ready(version, asleep={"Inactive"})

    def _wait_until_ready(self, version: str, asleep: Collection[str] = ()) -> None:
        for _ in range(_READY_TRIES):
            told = self.settings(version)
            states = {told.get("State", "Active"), told.get("LastUpdateStatus", "Successful")}
            if "Failed" in states:
                why = told.get("LastUpdateStatusReason") or told.get("StateReason") or "no reason"
                raise DeliveryError(f"Lambda cannot run version {version} of {self.name}: {why}")
            if not states & {"Pending", "InProgress", *asleep}:
                return
            self._pause(_READY_S)
        raise DeliveryError(f"version {version} of {self.name} is not ready, and nobody says why")

    def numbers(self) -> list[int]:
        """The published versions, the oldest first."""
        pages = self._client.get_paginator("list_versions_by_function").paginate(
            FunctionName=self.name
        )
        found = [each["Version"] for page in pages for each in page["Versions"]]
        return sorted(int(each) for each in found if each != LATEST)

    def commit_of(self, version: str) -> str:
        """The commit that a version was made of, "" if it does not say."""
        found = _COMMIT.search(self.settings(version).get("Description") or "")
        return found[0] if found else ""

    def prune(self, keep: Collection[str]) -> list[str]:
        """Deletes all but those that an alias names, those of `keep`, and the newest five of the
        others; Lambda itself refuses to delete one that an alias names by then. Returns which.
        """
        used = self._named()
        unused = [str(each) for each in self.numbers() if str(each) not in used]
        gone = [each for each in unused[:-KEPT] if each not in keep]
        for version in gone:
            self._delete(version)
        return gone

    def discard(self, version: str) -> str:
        """Deletes a version that proved bad: it is not rolled back to, and takes no place among
        those that are kept. Says what came of it; Lambda refuses while an alias names it.
        """
        for tried in range(TRIES):
            try:
                self._delete(version)
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) or tried == TRIES - 1:
                    return f"version {version} could not be deleted: {error}"
                self._pause(_READY_S)
            else:
                break
        return f"version {version} is deleted"

    def _delete(self, version: str) -> None:
        if not version.isdigit():
            # Without a version's number this would delete the function.
            raise ValueError(f"{version!r} is no version's number")
        # An answer that was lost on its way is asked for again: then it is gone.
        with suppress(self._client.exceptions.ResourceNotFoundException):
            self._client.delete_function(FunctionName=self.name, Qualifier=version)

    def _named(self) -> set[str]:
        pages = self._client.get_paginator("list_aliases").paginate(FunctionName=self.name)
        named = [_serving(each) for page in pages for each in page["Aliases"]]
        return {version for each in named for version in (each.version, *each.weights)}

    # --- calls

    def call(self, version: str, event: Mapping[str, Any], trace: str = "") -> str:
        """What is wrong with the answer of this version to an API request, "" if nothing is; with
        `trace`, X-Ray keeps a trace of this id.
        """
        self._trace = trace
        try:
            answer = self._client.invoke(
                FunctionName=self.name, Qualifier=version, Payload=json.dumps(event).encode()
            )
            said = json.loads(answer["Payload"].read() or b"null")
        except ClientError as error:
            return f"Lambda says {error.response['Error']['Code']}"
        except ValueError:
            return "its answer is not JSON"
        finally:
            self._trace = ""
        if answer.get("FunctionError"):
            told = said if isinstance(said, dict) else {}
            return f"it failed: {told.get('errorType')}: {told.get('errorMessage')}"[:300]
        status = said.get("statusCode") if isinstance(said, dict) else None
        if not isinstance(status, int):
            return "its answer has no statusCode"
        return f"it answered {status}" if status >= 500 else ""

    def _add_trace(self, params: dict[str, Any], **_: Any) -> None:
        if self._trace:
            parent = self._trace[-16:]
            sampled = f"Root={self._trace};Parent={parent};Sampled=1"
            params["headers"]["X-Amzn-Trace-Id"] = sampled


# How Lambda says that the code is not what it was thought to be.
_OTHERS_CODE = ("PreconditionFailedException", "InvalidParameterValueException")


def digest(zipped: bytes) -> str:
    """A bundle's digest as Lambda states it."""
    return base64.b64encode(hashlib.sha256(zipped).digest()).decode()


def _serving(told: Mapping[str, Any]) -> Serving:
    weights = (told.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return Serving(told["FunctionVersion"], weights, told.get("RevisionId", ""))
