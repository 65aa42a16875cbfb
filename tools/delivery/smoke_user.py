"""`make smoke-user`: the user who signs in for the smoke test; again, and it has a new password."""

import json
import sys
from pathlib import Path

from components.naming import stack_name
from tlfif.names import SMOKE_PARAMETER
from tools.outputs import stack_outputs, stack_parser
from tools.stage import client, ended
from tools.user import add, confirm, new_password

NEEDED = ("user_pool_id",)
# Nobody's address: .invalid is reserved (RFC 2606), and the pool sends no mail to it.
EMAIL = "smoke-test@{stack}.tl-fif.invalid"


def main() -> int:
    """Makes the user and its parameter; 0, or 1 with one line of error."""
    parser = stack_parser("python -m tools.delivery.smoke_user", __doc__, "whose user")
    arguments = parser.parse_args()
    return ended(lambda: _make(arguments.stack, arguments.outputs))


def _make(stack: str, file: Path | None) -> int:
    pool_id = stack_outputs(stack, file, NEEDED, "make smoke-user")["user_pool_id"]
    region, email, password = pool_id.partition("_")[0], EMAIL.format(stack=stack), new_password()
    cognito = client("cognito-idp", region)
    try:
        add(cognito, pool_id, email)
        done = "is made"
    except cognito.exceptions.UsernameExistsException:
        done = "has a new password"
    confirm(cognito, pool_id, email, password)
    name = stack_name(SMOKE_PARAMETER, stack)
    # A smoke test that signs in between these two calls fails, and the next one does not.
    client("ssm", region).put_parameter(
        Name=name,
        Value=json.dumps({"email": email, "password": password}),
        Type="SecureString",
        Description="Who signs in for the smoke test; written by make smoke-user",
        Overwrite=True,
    )
    print(f"{email} {done}; the smoke test reads it from the SSM parameter {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
