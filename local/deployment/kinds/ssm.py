"""The parameter store, made in moto."""

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes, retag
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID


@makes(kinds.ssm.PARAMETER)
def _parameter(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    values = api(without(inputs, "name", "insecureValue", "value", "tags"))
    moto.client("ssm").put_parameter(Name=name, Value=_value(inputs), Tags=tags(inputs), **values)
    return {
        "id": name,
        "name": name,
        "arn": f"arn:aws:ssm:{moto.region}:{ACCOUNT_ID}:parameter/{name.removeprefix('/')}",
    }


def _value(inputs: Inputs) -> str:
    """A value that may be shown is the provider's `insecureValue`."""
    return inputs.get("insecureValue") or inputs["value"]


@changes(
    kinds.ssm.PARAMETER,
    "tags",
    "insecureValue",
    "value",
    "type",
    "description",
    "tier",
    "overwrite",
)
def _change_parameter(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    """The store takes no tags when it overwrites."""
    ssm = moto.client("ssm")
    values = api(without(new, "name", "insecureValue", "value", "tags", "overwrite"))
    ssm.put_parameter(Name=id_, Value=_value(new), Overwrite=True, **values)
    named = {"ResourceType": "Parameter", "ResourceId": id_}
    retag(
        old,
        new,
        tag=lambda set_: ssm.add_tags_to_resource(**named, Tags=tags({"tags": set_})),
        untag=lambda gone: ssm.remove_tags_from_resource(**named, TagKeys=gone),
    )
    return {}


@reads(kinds.ssm.PARAMETER)
def _read_parameter(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    ssm = moto.client("ssm")
    parameter = ssm.get_parameter(Name=id_, WithDecryption=True)["Parameter"]
    own = [{"Key": "Name", "Values": [id_]}]
    about = ssm.describe_parameters(ParameterFilters=own)["Parameters"][0]
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=id_)
    secret = parameter["Type"] == "SecureString"
    shown = {
        "value" if secret else "insecureValue": parameter["Value"],
        "tags": tag_map(tagged["TagList"]),
    }
    return {**properties(about), **properties(parameter), **shown}


@removes(kinds.ssm.PARAMETER)
def _remove_parameter(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ssm").delete_parameter(Name=id_)
