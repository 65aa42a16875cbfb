"""`make user`: a Cognito user of a deployed stack, or of a running local cloud, and what to do with
it next.
"""

import re
import secrets
import string
import sys
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.outputs import OutputsError, stack_outputs, stack_parser

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
NEEDED = ("api_url", "user_pool_id", "user_pool_client_id")


class UserError(RuntimeError):
    """No user was made; the message says why and what to do."""


def main() -> int:
    """Makes the user and prints how to sign in; 0, or 1 with one line of error."""
    parser = stack_parser("python -m tools.user", __doc__, "whose user")
    parser.add_argument("email")
    arguments = parser.parse_args()
    try:
        if not EMAIL.fullmatch(arguments.email):
            raise UserError(
                f"{arguments.email!r} is no e-mail address: make user EMAIL=you@example.com"
            )
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make user")
        password = create(arguments.email, outputs["user_pool_id"])
    except (UserError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    print(NEXT.format(email=arguments.email, password=password, **outputs))
    return 0


def create(email: str, pool_id: str) -> str:
    """Makes a confirmed user with a new password, which it returns; raises UserError."""
    password = new_password()
    try:
        cognito = boto3.client(
            "cognito-idp", region_name=pool_id.partition("_")[0], config=Config(connect_timeout=5)
        )
        add(cognito, pool_id, email)
        confirm(cognito, pool_id, email, password)
    except ClientError as error:
        raise UserError(_refusal(error, email, pool_id)) from error
    except BotoCoreError as error:
        raise UserError(f"AWS cannot be asked: {error}") from error
    return password


def add(cognito: Any, pool_id: str, email: str) -> None:
    """A new user, to whom Cognito writes nothing. Raises ClientError."""
    attributes = [
        {"Name": "email", "Value": email},
        {"Name": "email_verified", "Value": "true"},
    ]
    cognito.admin_create_user(
        UserPoolId=pool_id, Username=email, UserAttributes=attributes, MessageAction="SUPPRESS"
    )


def confirm(cognito: Any, pool_id: str, email: str, password: str) -> None:
    """Has a user sign in with this password from now on. Raises ClientError."""
    cognito.admin_set_user_password(
        UserPoolId=pool_id, Username=email, Password=password, Permanent=True
    )


def _refusal(error: ClientError, email: str, pool_id: str) -> str:
    match error.response["Error"]["Code"]:
        case "UsernameExistsException":
            delete = "delete it by aws cognito-idp admin-delete-user"
            return f"{email} exists already; choose another address, or {delete}"
        case "ResourceNotFoundException":
            doubt = "are these the outputs of the right stack?"
            return f"there is no user pool {pool_id} in this account; {doubt}"
    return f"Cognito refused: {error.response['Error']['Message']}"


def new_password() -> str:
    """20 characters with each kind that the pool asks for (components/identity.py)."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    letters = [secrets.choice(kind) for kind in kinds] + [
        secrets.choice("".join(kinds)) for _ in range(17)
    ]
    secrets.SystemRandom().shuffle(letters)
    return "".join(letters)


NEXT = """{email} can sign in. The password is shown only now: {password}

Next, an access token (for an hour) and a first prompt:

  export TLFIF_API={api_url}
  export TLFIF_TOKEN=$(aws cognito-idp initiate-auth --client-id {user_pool_client_id} \\
    --auth-flow USER_PASSWORD_AUTH --auth-parameters USERNAME={email},PASSWORD={password} \\
    --query AuthenticationResult.AccessToken --output text)
  .venv/bin/python -m gui.client "What is a GPU?"
"""


if __name__ == "__main__":
    sys.exit(main())
