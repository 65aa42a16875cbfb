"""The parameter store, made in moto."""

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID


@makes(kinds.ssm.PARAMETER)
def _parameter(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("ssm").put_parameter(
        Name=name, Tags=tags(inputs), **api(without(inputs, "name", "tags"))
    )
    return {
        "id": name,
        "arn": f"arn:aws:ssm:{moto.region}:{ACCOUNT_ID}:parameter/{name.removeprefix('/')}",
    }
