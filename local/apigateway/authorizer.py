"""Lambda TOKEN authorizers: who may call, asked once for each token within its time to live."""

import asyncio
import collections
import time
from dataclasses import dataclass
from typing import Any

from local.apigateway.call import Call, GatewayError, ms
from local.apigateway.integrations import FunctionError, InvocationRefused, Invoke
from local.apigateway.model import Authorizer
from local.iam.policy import Policy, PolicyError

MAX_CACHED_TOKENS = 1_000
TIMEOUT_S = 29


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What an authorizer returned for one token: valid until `expires` (monotonic seconds)."""

    policy: Policy
    context: dict[str, str]
    expires: float


class Authorizers:
    """Asks authorizers through `invoke` and remembers their answers."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._grants: collections.OrderedDict[tuple[str, str], Grant] = collections.OrderedDict()

    async def grant(self, call: Call, authorizer: Authorizer) -> Grant:
        """The answer for the call's token.

        Raises GatewayError without a token, or when the authorizer fails.
        """
        token = call.header(authorizer.header)
        if not token or (authorizer.validation and not authorizer.validation.fullmatch(token)):
            raise GatewayError("UNAUTHORIZED")
        key = (authorizer.name, token)
        grant, began = self._grants.get(key), time.perf_counter()
        if grant is None or grant.expires <= time.monotonic():
            grant = await self._asked(call, authorizer, token)
            self._remember(key, grant, authorizer)
        call.authorizer = {**grant.context, "integrationLatency": ms(began)}
        return grant

    def _remember(self, key: tuple[str, str], grant: Grant, authorizer: Authorizer) -> None:
        if authorizer.ttl_s:
            self._grants[key] = grant
            self._grants.move_to_end(key)
        if len(self._grants) > MAX_CACHED_TOKENS:
            self._grants.popitem(last=False)

    async def _asked(self, call: Call, authorizer: Authorizer, token: str) -> Grant:
        event = {"type": "TOKEN", "authorizationToken": token, "methodArn": call.arn}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                result = await self._invoke(authorizer.function_arn, event)
        except FunctionError as error:
            if error.message == "Unauthorized":
                raise GatewayError("UNAUTHORIZED") from error
            raise GatewayError(
                "AUTHORIZER_FAILURE", reason=f"authorizer: {error.message}"
            ) from error
        except TimeoutError as error:
            raise GatewayError(
                "AUTHORIZER_FAILURE", reason=f"authorizer: no answer in {TIMEOUT_S} s"
            ) from error
        except InvocationRefused as error:
            raise GatewayError(
                "AUTHORIZER_CONFIGURATION_ERROR", reason=f"authorizer: {error}"
            ) from error
        try:
            return _read(result, call.spec.api_arn, time.monotonic() + authorizer.ttl_s)
        except PolicyError as error:
            raise GatewayError(
                "AUTHORIZER_CONFIGURATION_ERROR", reason=f"authorizer: {error}"
            ) from error


def _read(result: Any, api_arn: str, expires: float) -> Grant:
    """What an authorizer returns: a principal, a policy, and a context of plain values, which
    become text.
    """
    if not isinstance(result, dict) or not isinstance(result.get("principalId"), str):
        raise PolicyError("the result has no principalId")
    context = result.get("context") or {}
    if not isinstance(context, dict) or not all(
        isinstance(value, (str, int, float)) for value in context.values()
    ):
        raise PolicyError("the result's context is not a map of texts, numbers and booleans")
    texts = {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in context.items()
    }
    policy = Policy(result.get("policyDocument"), api_arn)
    return Grant(
        policy=policy, context={**texts, "principalId": result["principalId"]}, expires=expires
    )
