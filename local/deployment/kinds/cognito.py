"""Who may call the API, made in moto."""

from local.aws.moto import Moto
from local.deployment.kinds.maker import Inputs, Outputs, api, makes, without
from recording import kinds


@makes(kinds.cognito.USER_POOL)
def _user_pool(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    pool = moto.client("cognito-idp").create_user_pool(
        PoolName=name,
        Policies=api({"passwordPolicy": inputs["passwordPolicy"]}),
        UserPoolTags=inputs.get("tags", {}),
        **api(without(inputs, "name", "passwordPolicy", "tags")),
    )["UserPool"]
    endpoint = f"cognito-idp.{moto.region}.amazonaws.com/{pool['Id']}"
    return {"id": pool["Id"], "arn": pool["Arn"], "endpoint": endpoint}


@makes(kinds.cognito.USER_POOL_CLIENT)
def _user_pool_client(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    client = moto.client("cognito-idp").create_user_pool_client(
        ClientName=name, **api(without(inputs, "name"))
    )
    return {"id": client["UserPoolClient"]["ClientId"]}
