"""Who may call: a Cognito user pool whose users an operator creates, and the client that signs them
in.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, pricing
from components.component import Component

# Operators create users by hand; ten thousand are free.
ASSUMED_USERS = 100
TOKEN_HOURS = 1
REFRESH_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class IdentityArgs:
    """`deletion_protection` is whether Cognito refuses to delete the pool, with all its users."""

    deletion_protection: bool


class Identity(Component):
    """User pool and app client; the client has no secret, because a browser cannot keep one."""

    def __init__(
        self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self.user_pool = aws.cognito.UserPool(
            f"{name}-users",
            user_pool_tier="LITE",
            deletion_protection="ACTIVE" if args.deletion_protection else "INACTIVE",
            username_attributes=["email"],
            auto_verified_attributes=["email"],
            admin_create_user_config={"allow_admin_create_user_only": True},
            password_policy={
                "minimum_length": 12,
                "require_lowercase": True,
                "require_numbers": True,
                "require_symbols": False,
                "require_uppercase": True,
                "temporary_password_validity_days": 7,
            },
            opts=self._child(),
        )
        self.client = aws.cognito.UserPoolClient(
            f"{name}-client",
            user_pool_id=self.user_pool.id,
            generate_secret=False,
            # The password flow is for the headless client; hosted pages cannot return to
            # http://localhost on any port.
            explicit_auth_flows=[
                "ALLOW_USER_SRP_AUTH",
                "ALLOW_USER_PASSWORD_AUTH",
                "ALLOW_REFRESH_TOKEN_AUTH",
            ],
            prevent_user_existence_errors="ENABLED",
            enable_token_revocation=True,
            access_token_validity=TOKEN_HOURS,
            id_token_validity=TOKEN_HOURS,
            refresh_token_validity=REFRESH_DAYS,
            token_validity_units={
                "access_token": "hours",
                "id_token": "hours",
                "refresh_token": "days",
            },
            opts=self._child(),
        )
        item, what = "monthly active user", "users who sign in"
        self._bill(pricing.line(item, ASSUMED_USERS, what, resource=billed.USER_POOL))
        self.register_outputs({"user_pool_id": self.user_pool.id, "client_id": self.client.id})
