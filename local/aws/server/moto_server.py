"""The moto server of a local cloud, run as a script: what it does otherwise than moto's own.
Objects stay in memory, Lambda's versions and aliases are as AWS has them, and Cognito has passwords
proved.

`python moto_server.py CODE_FOLDER REGION ACCOUNT SERVICES -H host -p port`; the code of functions
is kept in CODE_FOLDER, by its SHA-256.
"""

import base64
import copy
import hashlib
import io
import json
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from moto.awslambda import models as lambdas
from moto.awslambda.exceptions import (
    InvalidParameterValueException,
    PreconditionFailedException,
)
from moto.awslambda.responses import LambdaResponse
from moto.backends import get_backend
from moto.core.exceptions import JsonRESTError
from moto.s3 import models
from moto.server import main

from local.aws.server.cognito import mend_cognito

LATEST = "$LATEST"
# What a deployment of this machine uploads: where a bundle is, or will be once it is built. Bundles
# are tens of MB, and many functions are deployed whose code nobody runs.
REFERENCE = b"tl-fif bundle: "
_CHANGED = "The Revision Id provided does not match the latest Revision Id."
_changing = threading.RLock()
# Untyped on purpose: these are moto's own classes, changed.
_Function: Any = lambdas.LambdaFunction
_Alias: Any = lambdas.LambdaAlias
_Storage: Any = lambdas.LambdaStorage
_Response: Any = LambdaResponse


# --- S3: moto reads all of an object, from a file, for each part asked for, and copies what it
# joins five times over. Weights are hundreds of MB: here objects stay in memory, and are joined
# once.


class _Pieces(list[bytes]):
    def extend(self, values: Any) -> None:
        self.append(values)

    def __bytes__(self) -> bytes:
        return b"".join(self)


def _keep(key: Any, value: str | bytes) -> None:
    content = value.encode() if isinstance(value, str) else bytes(value)
    key.contentsize, key._value_buffer = len(content), io.BytesIO(content)


def mend_s3() -> None:
    """Has objects kept in memory."""
    key: Any = models.FakeKey
    key.value = property(lambda key: key._value_buffer.getvalue(), _keep)
    models.bytearray = _Pieces  # type: ignore[attr-defined]


# --- Lambda


def mend_lambda(folder: Path) -> None:
    """Has versions and aliases behave as AWS's: numbers are not given twice, an unchanged function
    is not published again, revisions are compared, and what an alias names is not deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _Function._set_function_code = lambda function, spec: _take_code(function, spec, folder)
    _Function.code_sha_256 = property(_sha256)
    configuration, response = _Function.get_configuration, _Alias.to_json
    _Function.get_configuration = lambda function, on_create=False: {
        **configuration(function, on_create),
        "RevisionId": _revision(function),
        "LoggingConfig": _logging(function),
    }
    _Alias.to_json = lambda alias: {**response(alias), "RevisionId": alias.revision_id}
    _Storage.publish_version = _publish
    _Storage.put_alias = _checked_alias(_Storage.put_alias)
    _Storage.update_alias = _checked_alias(_Storage.update_alias)
    _Storage.del_function = _unless_named(_Storage.del_function)
    versions = _Storage.list_versions_by_function
    # By ARN too, as the other operations.
    _Storage.list_versions_by_function = lambda storage, name: versions(
        storage, name.partition(":function:")[2] or name
    )
    _Response.update_alias = _if_revision(_Response.update_alias)
    _Response.publish_version = _if_unchanged(_Response.publish_version)
    _Response.update_function_code = _once(_Response.update_function_code)
    _Response.update_function_configuration = _configured(_Response.update_function_configuration)
    _Response.create_function = _configured(_Response.create_function)


def _take_code(function: Any, spec: dict[str, Any], folder: Path) -> None:
    """Keeps the code by its digest; only that and its size are remembered."""
    if spec.get("DryRun"):
        return
    content = base64.b64decode(spec["ZipFile"])
    function.code.clear()
    function.code["S3Key"] = f"{function.function_name}-{uuid.uuid4()}"
    function.code_bytes, function.code_size = b"", len(content)
    function.code_reference = ""
    if content.startswith(REFERENCE):
        function.code_reference = content.removeprefix(REFERENCE).decode()
        function.code_folder = folder
        return
    function.code_digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{function.code_digest}.zip"
    if not path.exists():
        partial = path.with_suffix(f".{uuid.uuid4().hex}")
        partial.write_bytes(content)
        partial.replace(path)


def _sha256(function: Any) -> str:
    """Base64, as the API has it. Of a bundle that is not there yet, of its name."""
    if function.code_reference:
        path = Path(function.code_reference.partition("\n")[0])
        function.code_digest = _digest_of(path, function.code_folder)
    return base64.b64encode(bytes.fromhex(function.code_digest)).decode()


_digests: dict[Path, str] = {}


def _digest_of(bundle: Path, folder: Path) -> str:
    """A bundle's name has a hash of its content: one of that name is never another."""
    if bundle not in _digests:
        if not bundle.exists():
            return hashlib.sha256(str(bundle).encode()).hexdigest()
        digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
        link = folder / f"{digest}.zip"
        if not link.exists():
            link.symlink_to(bundle)
        _digests[bundle] = digest
    return _digests[bundle]


def _revision(function: Any) -> str:
    """Changes with whatever is configured, and with the code."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{function.function_arn}{_content(function)}"))


def _content(function: Any) -> str:
    """What a version freezes."""
    frozen = (
        function.code_reference or _sha256(function),
        function.handler,
        function.role,
        function.run_time,
        function.environment_vars,
        function.memory_size,
        function.timeout,
        function._vpc_config,
        function.architectures,
        function.tracing_config,
        function.ephemeral_storage,
        _logging(function),
    )
    return json.dumps(frozen, sort_keys=True, default=str)


def _logging(function: Any) -> dict[str, str]:
    usual = {"LogFormat": "Text", "LogGroup": function.logs_group_name}
    return usual | getattr(function, "logging_config", {})


def _publish(storage: Any, name_or_arn: str, description: str = "") -> Any:
    function = storage.get_function_by_name_or_arn_forbid_qualifier(name_or_arn)
    with _changing:
        found = storage._functions[function.function_name]
        # What has not changed since it was last published is that version.
        if found["versions"] and _content(found["versions"][-1]) == _content(function):
            return found["versions"][-1]
        found["given"] = found.get("given", 0) + 1
        version = copy.copy(function)
        version.code = dict(function.code)
        version.set_version(found["given"])
        # A version without a description has none, whatever that of the function is.
        version.description = description or function.description
        found["versions"].append(version)
        storage._arns[version.function_arn] = version
        return version


def _checked_alias(method: Any) -> Any:
    def checked(
        storage: Any,
        name: str,
        function_name: str,
        function_version: str | None,
        description: str | None,
        routing_config: dict[str, Any] | None,
    ) -> Any:
        with _changing:
            alias = storage._get_function_aliases(function_name).get(name)
            version = function_version or (alias and alias.function_version) or ""
            weights = (routing_config or {}).get("AdditionalVersionWeights") or {}
            if routing_config is None and alias is not None:
                weights = (alias.routing_config or {}).get("AdditionalVersionWeights") or {}
            for each in (version, *weights):
                storage.get_function_by_name_with_qualifier(function_name, each)
            if weights and LATEST in (version, *weights):
                raise InvalidParameterValueException(f"{LATEST} cannot be in a weighted alias")
            if len(weights) > 1 or version in weights:
                raise InvalidParameterValueException("An alias has one other version at most")
            roles = {
                storage.get_function_by_name_with_qualifier(function_name, each).role
                for each in (version, *weights)
            }
            if len(roles) > 1:
                raise InvalidParameterValueException(
                    "The versions of a weighted alias have the same execution role"
                )
            changed = method(storage, name, function_name, version, description, routing_config)
            changed.revision_id = str(uuid.uuid4())
            return changed

    return checked


def _unless_named(method: Any) -> Any:
    def delete(storage: Any, name_or_arn: str, qualifier: str | None = None) -> None:
        with _changing:
            function = storage.get_function_by_name_or_arn_with_qualifier(name_or_arn, qualifier)
            named = storage._aliases[function.function_arn.rpartition(f":{qualifier}")[0]]
            for alias in named.values() if qualifier else ():
                weights = (alias.routing_config or {}).get("AdditionalVersionWeights") or {}
                if qualifier in (alias.function_version, *weights):
                    raise _Conflict(f"Aliases {alias.name} reference version {qualifier}")
            method(storage, name_or_arn, qualifier)
            if not qualifier:
                storage._aliases.pop(function.function_arn, None)

    return delete


class _Conflict(JsonRESTError):
    code = 409

    def __init__(self, message: str) -> None:
        super().__init__("ResourceConflictException", message)


def _if_revision(method: Any) -> Any:
    def update(response: Any) -> Any:
        parts = response.path.split("/")
        told = response.json_body.get("RevisionId")
        with _changing:
            alias = response.backend.get_alias(parts[-1], parts[-3])
            if told and told != alias.revision_id:
                raise PreconditionFailedException(_CHANGED)
            return method(response)

    return update


def _if_unchanged(method: Any) -> Any:
    def publish(response: Any) -> Any:
        told = json.loads(response.body or b"{}")
        with _changing:
            function = response.backend.get_function(response.path.split("/")[-2])
            if told.get("CodeSha256") not in (None, _sha256(function)):
                raise PreconditionFailedException("CodeSHA256 is not that of the function's code")
            if told.get("RevisionId") not in (None, _revision(function)):
                raise PreconditionFailedException(_CHANGED)
            return method(response)

    return publish


def _once(method: Any) -> Any:
    """moto takes new code twice, the second time into the version that it has just published."""

    def update(response: Any) -> Any:
        told = response.json_body
        with _changing:
            function = response.backend.get_function(response.path.split("/")[-2])
            if told.get("RevisionId") not in (None, _revision(function)):
                raise PreconditionFailedException(_CHANGED)
            if "ZipFile" not in told:
                return method(response)
            function._set_function_code(told)
            published = told.get("Publish") and response.backend.publish_version(
                function.function_name, ""
            )
            return 200, {}, json.dumps((published or function).get_configuration())

    return update


def _configured(method: Any) -> Any:
    """Takes what moto leaves out."""

    def update(response: Any) -> Any:
        told = response.json_body
        answer = method(response)
        name = told.get("FunctionName") or response.path.split("/")[-2]
        function = response.backend.get_function(name)
        for key, attribute in (
            ("LoggingConfig", "logging_config"),
            ("TracingConfig", "tracing_config"),
        ):
            if key in told:
                setattr(function, attribute, told[key])
        if size := (told.get("EphemeralStorage") or {}).get("Size"):
            function.ephemeral_storage = size
        return answer

    return update


def run(arguments: list[str]) -> None:
    """Loads the services, then listens: so their loading happens beside whatever else starts, and
    not in the middle of the first requests.
    """
    code, region, account, services, *listening = arguments
    mend_s3()
    mend_lambda(Path(code))
    mend_cognito()
    for service in services.split(","):
        regions: Any = get_backend(service)[account]  # type: ignore[call-overload]
        regions[region if region in regions else "aws"]
    main(listening)


if __name__ == "__main__":
    run(sys.argv[1:])
