"""Users of a local cloud's pool: made, confirmed, and signed in."""

import contextlib
import time

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from local.cloud import LocalCloud


def create_user(cloud: LocalCloud, username: str) -> str:
    """A signed-up and confirmed user of the pool; their new password."""
    password = f"Local-{time.time_ns()}!"
    cognito, pool = cloud.moto.client("cognito-idp"), cloud.output("user_pool_id")
    with contextlib.suppress(cognito.exceptions.UsernameExistsException):
        cognito.admin_create_user(UserPoolId=pool, Username=username, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(
        UserPoolId=pool, Username=username, Password=password, Permanent=True
    )
    return password


def login(cloud: LocalCloud, username: str = "ada@example.com") -> str:
    """A user's access token, with a new password."""
    return sign_in(cloud, username, create_user(cloud, username))


def sign_in(cloud: LocalCloud, username: str, password: str) -> str:
    """A user's access token."""
    secrets = {"USERNAME": username, "PASSWORD": password}
    # As any client does it: unsigned, at the one address of AWS's APIs.
    cognito = boto3.client(
        "cognito-idp",
        region_name=cloud.moto.region,
        endpoint_url=cloud.endpoint.url,
        config=Config(signature_version=UNSIGNED, proxies={}),
    )
    answer = cognito.initiate_auth(
        ClientId=cloud.output("user_pool_client_id"),
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters=secrets,
    )
    return answer["AuthenticationResult"]["AccessToken"]
