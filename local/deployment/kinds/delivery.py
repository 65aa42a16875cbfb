"""The delivery pipeline and its builds, made in moto: it keeps them and runs nothing."""

from collections.abc import Mapping
from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import (
    changes,
    makes,
    reads,
    remakes,
    removes,
    retag,
)
from local.deployment.kinds.spelling import Inputs, Outputs, tag_map, without
from recording import kinds
from recording.model import ACCOUNT_ID

# moto wants a place for what CodePipeline brings and takes; AWS has none there.
_PLACED = "codepipeline"
# Where the API's name is not the provider's.
_API = {"buildTimeout": "timeoutInMinutes", "cloudwatchLogs": "cloudWatchLogs"}
_PROVIDERS = {theirs: ours for ours, theirs in _API.items()}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """These services spell their members as the provider does, but for a few."""
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _tags(inputs: Inputs) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in inputs.get("tags", {}).items()]


def _tag_map(listed: Any) -> dict[str, str]:
    return tag_map({"Key": each["key"], "Value": each["value"]} for each in listed or ())


# --- builds


@makes(kinds.delivery.PROJECT)
def _project(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    told = _renamed(without(inputs, "name", "tags"), _API)
    for each in ("source", "artifacts"):
        told[each] = {**told[each], "location": _PLACED}
    moto.client("codebuild").create_project(name=name, tags=_tags(inputs), **told)
    arn = f"arn:aws:codebuild:{moto.region}:{ACCOUNT_ID}:project/{name}"
    return {"id": arn, "name": name, "arn": arn}


# moto has no UpdateProject.
remakes(kinds.delivery.PROJECT)


@reads(kinds.delivery.PROJECT)
def _read_project(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    name = outputs["name"]
    found = moto.client("codebuild").batch_get_projects(names=[name])["projects"]
    if not found:
        return None
    told = _renamed(found[0], _PROVIDERS)
    return {**told, "name": name, "tags": _tag_map(told.get("tags"))}


@removes(kinds.delivery.PROJECT)
def _remove_project(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("codebuild").delete_project(name=outputs["name"])


# --- the pipeline

_TYPE = ("category", "owner", "provider", "version")


def _pipeline_of(name: str, inputs: Inputs) -> dict[str, Any]:
    """As the API has it: one store is a store, an action's type is one thing."""
    (store,) = inputs["artifactStores"]
    return {
        **without(inputs, "name", "tags", "artifactStores", "stages"),
        "name": name,
        "artifactStore": store,
        "stages": [
            {**stage, "actions": [_action(each) for each in stage["actions"]]}
            for stage in inputs["stages"]
        ],
    }


def _action(inputs: Inputs) -> dict[str, Any]:
    artifacts = {
        each: [{"name": name} for name in inputs[each]]
        for each in ("inputArtifacts", "outputArtifacts")
        if each in inputs
    }
    type_ = {each: inputs[each] for each in _TYPE}
    return {**without(inputs, *_TYPE), **artifacts, "actionTypeId": type_}


def _action_inputs(action: Mapping[str, Any]) -> dict[str, Any]:
    artifacts = {
        each: [artifact["name"] for artifact in action[each]]
        for each in ("inputArtifacts", "outputArtifacts")
        if action.get(each)
    }
    return {
        **without(action, "actionTypeId", "inputArtifacts", "outputArtifacts"),
        **artifacts,
        **action["actionTypeId"],
    }


@makes(kinds.delivery.PIPELINE)
def _pipeline(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("codepipeline").create_pipeline(
        pipeline=_pipeline_of(name, inputs), tags=_tags(inputs)
    )
    return {"id": name, "name": name, "arn": _arn(moto, name)}


def _arn(moto: Moto, name: str) -> str:
    return f"arn:aws:codepipeline:{moto.region}:{ACCOUNT_ID}:{name}"


@changes(
    kinds.delivery.PIPELINE,
    "tags",
    "artifactStores",
    "executionMode",
    "pipelineType",
    "roleArn",
    "stages",
)
def _change_pipeline(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    client, arn = moto.client("codepipeline"), _arn(moto, id_)
    client.update_pipeline(pipeline=_pipeline_of(id_, new))
    retag(
        old,
        new,
        tag=lambda set_: client.tag_resource(resourceArn=arn, tags=_tags({"tags": set_})),
        untag=lambda gone: client.untag_resource(resourceArn=arn, tagKeys=gone),
    )
    return {}


@reads(kinds.delivery.PIPELINE)
def _read_pipeline(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    client = moto.client("codepipeline")
    found = client.get_pipeline(name=id_)["pipeline"]
    stages = [
        {**stage, "actions": [_action_inputs(each) for each in stage["actions"]]}
        for stage in found["stages"]
    ]
    tagged = client.list_tags_for_resource(resourceArn=_arn(moto, id_))["tags"]
    return {
        **without(found, "artifactStore", "version"),
        "artifactStores": [found["artifactStore"]],
        "stages": stages,
        "tags": _tag_map(tagged),
    }


@removes(kinds.delivery.PIPELINE)
def _remove_pipeline(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("codepipeline").delete_pipeline(name=id_)
