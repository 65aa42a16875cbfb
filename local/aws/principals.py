"""Who calls: access keys, one per role, and one per instance that acts in a role."""

import secrets
from typing import NamedTuple

from local.aws.errors import AwsError
from local.aws.requests import AwsRequest

_BAD_TOKEN = "The security token included in the request is invalid."
_UNKNOWN_ID = "The AWS Access Key Id you provided does not exist in our records."
_NOT_VALID = "AWS was not able to validate the provided access credentials"
# How each protocol says that it does not know an access key, and that it wants one.
_UNKNOWN_KEY = {
    "ec2": (401, "AuthFailure", _NOT_VALID),
    "json": (400, "UnrecognizedClientException", _BAD_TOKEN),
    "query": (403, "InvalidClientTokenId", _BAD_TOKEN),
    "rest-json": (403, "UnrecognizedClientException", _BAD_TOKEN),
    "rest-xml": (403, "InvalidAccessKeyId", _UNKNOWN_ID),
}
_NO_KEY = {"rest-xml": (403, "AccessDenied", "Access Denied")}
_NO_KEY_OTHERS = (403, "MissingAuthenticationToken", "Request is missing Authentication Token")


class Credentials(NamedTuple):
    """An access key of the local cloud."""

    access_key: str
    secret: str


class Principal(NamedTuple):
    """A role, and the instance that acts in it; without a role the operator, or nobody."""

    role_arn: str | None = None
    instance_arn: str | None = None


class Principals:
    """Issues access keys and knows them again; `operator` may be anybody who has its key."""

    def __init__(self) -> None:
        self._of_key: dict[str, Principal] = {}
        self._issued: dict[Principal, Credentials] = {}
        self.operator = self._issue(Principal(), "AKIA")

    def credentials_of(self, principal: Principal) -> Credentials:
        """Its access key and secret, always the same."""
        return self._issued.get(principal) or self._issue(principal, "ASIA")

    def caller(self, request: AwsRequest) -> Principal:
        """Who signed the request; raises AwsError when the key is missing or unknown."""
        if request.access_key is None:
            if request.public:
                return Principal()
            raise AwsError(*_NO_KEY.get(request.protocol, _NO_KEY_OTHERS))
        if request.access_key not in self._of_key:
            raise AwsError(*_UNKNOWN_KEY[request.protocol])
        return self._of_key[request.access_key]

    def _issue(self, principal: Principal, prefix: str) -> Credentials:
        credentials = Credentials(prefix + secrets.token_hex(8).upper(), secrets.token_urlsafe(30))
        self._of_key[credentials.access_key] = principal
        self._issued[principal] = credentials
        return credentials
