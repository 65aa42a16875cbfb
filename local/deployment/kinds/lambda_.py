"""Functions and their aliases, made in moto, which keeps the versions; `local/lambda_/` runs them.

Their code is uploaded as the name of the bundle that this machine builds of the same sources.
"""

from typing import Any

from components import bundle
from components.packages import BundleError
from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes, retag
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, without
from local.lambda_.model import LATEST
from recording import kinds
from recording.model import ACCOUNT_ID

# What a function's own API has no word for.
_OURS = ("name", "code", "sourceCodeHash", "publish", "tags", "skipDestroy")
_REFERENCE = "tl-fif bundle: "
_SETTINGS = (
    "role",
    "handler",
    "runtime",
    "memorySize",
    "ephemeralStorage",
    "timeout",
    "environment",
    "tracingConfig",
    "vpcConfig",
    "loggingConfig",
)
_CODE = ("code", "sourceCodeHash", "architectures")


@makes(kinds.lambda_.FUNCTION)
def _function(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("lambda").create_function(
        FunctionName=name,
        Code={"ZipFile": _reference(inputs)},
        Publish=bool(inputs.get("publish")),
        Tags=dict(inputs.get("tags", {})),
        **_settings(without(inputs, *_OURS)),
    )
    arn = f"arn:aws:lambda:{moto.region}:{ACCOUNT_ID}:function:{name}"
    return {
        "id": name,
        "name": name,
        "arn": arn,
        "version": made["Version"],
        "invokeArn": _invoke_arn(moto, arn),
    }


def _settings(inputs: Inputs) -> dict[str, Any]:
    """In the API's spelling; the names of variables are the program's own."""
    spelled = api(without(inputs, "environment"))
    variables = (inputs.get("environment") or {}).get("variables")
    return {**spelled, "Environment": {"Variables": variables}} if variables else spelled


def _reference(inputs: Inputs) -> bytes:
    source = inputs["handler"].partition(".")[0]
    try:
        place = str(bundle.place(source, "host"))
    except BundleError:
        place = f"/nowhere/{source}.zip"
    return f"{_REFERENCE}{place}\n{inputs.get('sourceCodeHash', '')}".encode()


def _invoke_arn(moto: Moto, arn: str) -> str:
    api_arn = f"arn:aws:apigateway:{moto.region}:lambda:path/2015-03-31"
    return f"{api_arn}/functions/{arn}/invocations"


@changes(kinds.lambda_.FUNCTION, "tags", "publish", *_CODE, *_SETTINGS)
def _change_function(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    client = moto.client("lambda")
    settings = {key: new[key] for key in _SETTINGS if key in new}
    if any(old.get(key) != value for key, value in settings.items()):
        client.update_function_configuration(FunctionName=id_, **_settings(settings))
    # By its hash: where `code` is ignored, the engine tells the archive in another form.
    if any(old.get(key) != new.get(key) for key in _CODE if key != "code"):
        client.update_function_code(FunctionName=id_, ZipFile=_reference(new))
    retag(
        old,
        new,
        tag=lambda set_: client.tag_resource(Resource=old["arn"], Tags=set_),
        untag=lambda gone: client.untag_resource(Resource=old["arn"], TagKeys=gone),
    )
    if not new.get("publish"):
        return {}
    return {"version": client.publish_version(FunctionName=id_)["Version"]}


@reads(kinds.lambda_.FUNCTION)
def _read_function(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    found = moto.client("lambda").get_function(FunctionName=id_)
    settings = found["Configuration"]
    variables = settings.get("Environment", {}).get("Variables", {})
    return {
        **properties(without(settings, "Environment", "Version")),
        "name": id_,
        **({"environment": {"variables": variables}} if variables else {}),
        "tags": found.get("Tags", {}),
    }


@removes(kinds.lambda_.FUNCTION)
def _remove_function(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("lambda").delete_function(FunctionName=id_)


# --- aliases


@makes(kinds.lambda_.ALIAS)
def _alias(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("lambda").create_alias(**_routed(inputs))
    return {
        "id": made["AliasArn"],
        "arn": made["AliasArn"],
        "invokeArn": _invoke_arn(moto, made["AliasArn"]),
    }


def _routed(inputs: Inputs) -> dict[str, Any]:
    weights = (inputs.get("routingConfig") or {}).get("additionalVersionWeights", {})
    return {
        "FunctionName": inputs["functionName"],
        "Name": inputs["name"],
        "FunctionVersion": inputs.get("functionVersion", LATEST),
        "Description": inputs.get("description", ""),
        "RoutingConfig": {"AdditionalVersionWeights": weights},
    }


@changes(kinds.lambda_.ALIAS, "functionVersion", "routingConfig", "description")
def _change_alias(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    moto.client("lambda").update_alias(**_routed(new))
    return {}


@reads(kinds.lambda_.ALIAS)
def _read_alias(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    named = {"FunctionName": outputs["functionName"], "Name": outputs["name"]}
    found = moto.client("lambda").get_alias(**named)
    weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return {
        "name": found["Name"],
        "functionName": outputs["functionName"],
        "functionVersion": found["FunctionVersion"],
        "description": found.get("Description", ""),
        **({"routingConfig": {"additionalVersionWeights": weights}} if weights else {}),
    }


@removes(kinds.lambda_.ALIAS)
def _remove_alias(moto: Moto, id_: str, outputs: Outputs) -> None:
    named = {"FunctionName": outputs["functionName"], "Name": outputs["name"]}
    moto.client("lambda").delete_alias(**named)
