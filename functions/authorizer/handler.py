"""API Gateway's TOKEN authorizer: a good token may call everything, others nothing (API-002)."""

import os
from functools import cache
from typing import Any

from tlfif import callers, tokens
from tlfif.environment import Authorizer
from tlfif.log import log


@cache
def verifier() -> tokens.Verifier:
    """Made once per execution environment, so that its keys outlive one call."""
    return tokens.for_pool(os.environ["AWS_REGION"], told())


@cache
def told() -> Authorizer:
    """What this function is told."""
    return Authorizer.read()


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An explicit Allow or Deny for all methods, because API Gateway caches it per token.

    Never an empty policy: with a resource policy that allows, API Gateway reads "neither" as Allow.
    When the keys can't be had this raises, which API Gateway answers with AUTHORIZER_FAILURE (503),
    never with access.
    """
    try:
        claims = verifier().verify(tokens.bearer(event["authorizationToken"]))
    except tokens.Rejected as refusal:
        log("token refused", why=str(refusal))
        return policy("anonymous", "Deny", event["methodArn"], {})
    sub = claims["sub"]
    known = {"sub": sub, "username": str(claims.get("username", ""))}
    answer = policy(sub, "Allow", event["methodArn"], known)
    # By this key API Gateway counts the caller, and refuses what is too much, at no cost.
    return {**answer, "usageIdentifierKey": callers.key_of(told().stack, sub)}


def policy(principal: str, effect: str, method_arn: str, context: dict[str, str]) -> dict[str, Any]:
    """The authorizer's answer; `context` reaches the integrations as $context.authorizer.*."""
    api, stage = method_arn.split("/")[:2]
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": f"{api}/{stage}/*/*"}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
