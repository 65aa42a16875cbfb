"""Authorization: the resource policy, the Lambda TOKEN authorizer, and both together by table A."""

import asyncio
import collections
import time
from dataclasses import dataclass
from typing import Any

from local.apigateway.call import ApiCall, ms
from local.apigateway.model import (
    Authorizer,
    FunctionError,
    GatewayError,
    InvocationRefused,
    Invoke,
    Method,
)
from local.iam.policy import Effect, Policy, PolicyError

ACTION = "execute-api:Invoke"
MAX_CACHED_TOKENS = 1_000
TIMEOUT_S = 29


def resource_policy_effect(call: ApiCall) -> Effect | None:
    """What the API's resource policy says, None without one; raises GatewayError for a denial."""
    effect = _effect(call, call.spec.policy)
    if effect == "Deny":
        raise _denied(call, "explicit deny in a resource-based policy")
    return effect


def check_table_a(
    call: ApiCall, method: Method, authorizer: Effect | None, resource: Effect | None
) -> None:
    """Both effects together (developer guide, "apigateway-authorization-flow", table A): an
    explicit deny wins; else one allow is enough, of the authorizer or of the resource policy.

    An open method of an API without a policy needs none. Raises GatewayError.
    """
    if method.authorizer is None:
        if call.spec.policy and resource != "Allow":
            raise _denied(call, "no allow in a resource-based policy")
        return
    if authorizer == "Deny":
        raise GatewayError(
            "ACCESS_DENIED", "User is not authorized to access this resource with an explicit deny"
        )
    if "Allow" not in (authorizer, resource):
        raise GatewayError("ACCESS_DENIED")


def _effect(call: ApiCall, policy: Policy | None) -> Effect | None:
    return policy.effect(ACTION, call.arn, call.policy_context) if policy else None


def _denied(call: ApiCall, why: str) -> GatewayError:
    who = "User: anonymous is not authorized to perform: execute-api:Invoke"
    return GatewayError("ACCESS_DENIED", f"{who} on resource: {call.arn} ({why})")


@dataclass(frozen=True, kw_only=True)
class AuthorizerResult:
    """What an authorizer returned for one token: valid until `expires` (monotonic seconds)."""

    policy: Policy
    context: dict[str, str]
    expires: float
    key: str = ""

    @classmethod
    def parse(cls, raw: Any, api_arn: str, expires: float) -> "AuthorizerResult":
        """From a principal, a policy, and a context of plain values, which become text.

        Raises PolicyError.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("principalId"), str):
            raise PolicyError("the result has no principalId")
        context = raw.get("context") or {}
        values = context.values() if isinstance(context, dict) else [None]
        if not all(isinstance(value, (str, int, float)) for value in values):
            raise PolicyError("the result's context is not a map of texts, numbers and booleans")
        texts = {key: _text(value) for key, value in context.items()}
        return cls(
            policy=Policy.parse(raw.get("policyDocument"), api_arn),
            context={**texts, "principalId": raw["principalId"]},
            expires=expires,
            key=str(raw.get("usageIdentifierKey") or ""),
        )


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Authorizers:
    """Asks authorizers through `invoke`, and remembers each token's result for its time to live."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._cache: collections.OrderedDict[tuple[str, str], AuthorizerResult] = (
            collections.OrderedDict()
        )

    async def effect(self, call: ApiCall, method: Method) -> Effect | None:
        """What the authorizer's policy says of the call, None when the method has no authorizer.

        Raises GatewayError without a token, or when the authorizer fails.
        """
        if method.authorizer is None:
            return None
        token = _token(call, method.authorizer)
        began = time.perf_counter()
        result = await self._result(call, method.authorizer, token)
        call.authorizer = {**result.context, "integrationLatency": ms(began)}
        call.api_key = result.key
        return _effect(call, result.policy)

    async def _result(self, call: ApiCall, authorizer: Authorizer, token: str) -> AuthorizerResult:
        key = (authorizer.name, token)
        result = self._cache.get(key)
        if result is None or result.expires <= time.monotonic():
            result = await self._asked(call, authorizer, token)
            self._remember(key, result, authorizer)
        return result

    def _remember(
        self, key: tuple[str, str], result: AuthorizerResult, authorizer: Authorizer
    ) -> None:
        if authorizer.ttl_s:
            self._cache[key] = result
            self._cache.move_to_end(key)
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)

    async def _asked(self, call: ApiCall, authorizer: Authorizer, token: str) -> AuthorizerResult:
        event = {"type": "TOKEN", "authorizationToken": token, "methodArn": call.arn}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                raw = await self._invoke(authorizer.function_arn, event)
            expires = time.monotonic() + authorizer.ttl_s
            return AuthorizerResult.parse(raw, call.spec.api_arn, expires)
        except FunctionError as error:
            if error.message == "Unauthorized":
                raise GatewayError("UNAUTHORIZED") from error
            raise _failure("AUTHORIZER_FAILURE", error.message) from error
        except TimeoutError as error:
            raise _failure("AUTHORIZER_FAILURE", f"no answer in {TIMEOUT_S} s") from error
        except (InvocationRefused, PolicyError) as error:
            raise _failure("AUTHORIZER_CONFIGURATION_ERROR", str(error)) from error


def _token(call: ApiCall, authorizer: Authorizer) -> str:
    token = call.header(authorizer.header)
    if not token or (authorizer.validation and not authorizer.validation.fullmatch(token)):
        raise GatewayError("UNAUTHORIZED")
    return token


def _failure(kind: str, why: str) -> GatewayError:
    return GatewayError(kind, reason=f"authorizer: {why}")
