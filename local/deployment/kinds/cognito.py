"""Who may call the API, made in moto."""

from typing import Any

import httpx
from botocore.exceptions import ClientError

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, without
from recording import kinds


def _api_pool(inputs: Inputs) -> dict[str, Any]:
    """What creating and updating a pool take alike."""
    return {
        "Policies": api({"passwordPolicy": inputs["passwordPolicy"]}),
        "UserPoolTags": inputs.get("tags", {}),
        **api(without(inputs, "name", "passwordPolicy", "tags")),
    }


@makes(kinds.cognito.USER_POOL)
def _user_pool(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    pool = moto.client("cognito-idp").create_user_pool(PoolName=name, **_api_pool(inputs))
    id_, arn = pool["UserPool"]["Id"], pool["UserPool"]["Arn"]
    endpoint = f"cognito-idp.{moto.region}.amazonaws.com/{id_}"
    return {"id": id_, "name": name, "arn": arn, "endpoint": endpoint}


_POOL_CHANGES = (
    "tags",
    "passwordPolicy",
    "autoVerifiedAttributes",
    "adminCreateUserConfig",
    "deletionProtection",
    "userPoolTier",
)


@changes(kinds.cognito.USER_POOL, *_POOL_CHANGES)
def _change_user_pool(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    # moto forgets what is not in the request; AWS keeps `usernameAttributes`, which boto3 would not
    # send.
    scope = f"local/20260101/{moto.region}/cognito-idp/aws4_request"
    headers = {
        "X-Amz-Target": "AWSCognitoIdentityProviderService.UpdateUserPool",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    body = {"UserPoolId": id_, **_api_pool(new)}
    httpx.post(moto.url, json=body, headers=headers, trust_env=False).raise_for_status()
    return {}


@reads(kinds.cognito.USER_POOL)
def _read_user_pool(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    pool = moto.client("cognito-idp").describe_user_pool(UserPoolId=id_)["UserPool"]
    told = properties(without(pool, "Policies", "UserPoolTags"))
    return {
        **told,
        "deletionProtection": pool.get("DeletionProtection", "INACTIVE"),
        "passwordPolicy": properties(pool["Policies"]["PasswordPolicy"]),
        "tags": pool.get("UserPoolTags", {}),
    }


@removes(kinds.cognito.USER_POOL)
def _remove_user_pool(moto: Moto, id_: str, outputs: Outputs) -> None:
    """Refuses for a protected pool, as AWS does and moto does not."""
    idp = moto.client("cognito-idp")
    pool = idp.describe_user_pool(UserPoolId=id_)["UserPool"]
    if pool.get("DeletionProtection") == "ACTIVE":
        said = "The user pool cannot be deleted because deletion protection is activated."
        raise ClientError(
            {"Error": {"Code": "InvalidParameterException", "Message": said}}, "DeleteUserPool"
        )
    idp.delete_user_pool(UserPoolId=id_)


# --- clients


@makes(kinds.cognito.USER_POOL_CLIENT)
def _user_pool_client(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    client = moto.client("cognito-idp").create_user_pool_client(
        ClientName=name, **api(without(inputs, "name"))
    )
    return {"id": client["UserPoolClient"]["ClientId"], "name": name}


@changes(
    kinds.cognito.USER_POOL_CLIENT,
    "name",
    "explicitAuthFlows",
    "accessTokenValidity",
    "idTokenValidity",
    "refreshTokenValidity",
    "tokenValidityUnits",
    "enableTokenRevocation",
    "preventUserExistenceErrors",
)
def _change_user_pool_client(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    moto.client("cognito-idp").update_user_pool_client(
        ClientId=id_,
        ClientName=new.get("name", old["name"]),
        **api(without(new, "name", "generateSecret")),
    )
    return {}


@reads(kinds.cognito.USER_POOL_CLIENT)
def _read_user_pool_client(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    client = moto.client("cognito-idp").describe_user_pool_client(
        UserPoolId=outputs["userPoolId"], ClientId=id_
    )["UserPoolClient"]
    return {**properties(client), "name": client["ClientName"]}


@removes(kinds.cognito.USER_POOL_CLIENT)
def _remove_user_pool_client(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("cognito-idp").delete_user_pool_client(
        UserPoolId=outputs["userPoolId"], ClientId=id_
    )
