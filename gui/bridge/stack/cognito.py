"""Signs a user in by Cognito, and keeps the access token fresh. Tokens and password are in memory
only, and in no message.
"""

import asyncio
import time
from typing import Any

import httpx

from gui.bridge.errors import SignInError

# A token is renewed when it has so much of its life left, or half of it; and when the API refuses
# it, but no more often than this: of a network that is not let in no token is at fault.
MARGIN_S, RENEW_EVERY_S = 300.0, 10.0
TIMEOUT_S = 15.0
# Cognito's words for "not now".
_PASSES = ("TooManyRequestsException", "InternalErrorException", "LimitExceededException")


class SignIn:
    """One user's session with one app client of a user pool. `url` is Cognito's address."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, client_id: str, user: str, password: str
    ) -> None:
        self._http, self._url, self._client_id = http, url, client_id
        self._user, self._password = user, password
        self._token, self._refresh_token = "", ""
        self._renewed_at = self._renew_at = self._expires_at = float("-inf")
        self._turn = asyncio.Lock()

    async def token(self) -> str:
        """An access token; raises SignInError when there is none that may still be good."""
        if self._fresh() or (self._turn.locked() and self._good()):
            # Whoever renews it keeps nobody else waiting.
            return self._token
        async with self._turn:
            if self._fresh():
                return self._token
            try:
                await self._renew()
            except SignInError:
                if not self._good():
                    raise
                again_at = time.monotonic() + RENEW_EVERY_S
                self._renew_at = min(again_at, self._expires_at)
        return self._token

    async def renewed(self, refused: str) -> str:
        """A token in place of one that the API refused, or that one, if it is new itself.

        Raises SignInError.
        """
        async with self._turn:
            new = time.monotonic() - self._renewed_at < RENEW_EVERY_S
            if self._token == refused and not new:
                await self._renew()
        return self._token

    def _fresh(self) -> bool:
        return time.monotonic() < self._renew_at

    def _good(self) -> bool:
        return time.monotonic() < self._expires_at

    async def _renew(self) -> None:
        """By the refresh token, or, when that is no good any more, by the password."""
        if self._refresh_token:
            try:
                return await self._ask("REFRESH_TOKEN_AUTH", REFRESH_TOKEN=self._refresh_token)
            except SignInError as error:
                if error.passes:
                    raise
                self._refresh_token = ""
        return await self._ask("USER_PASSWORD_AUTH", USERNAME=self._user, PASSWORD=self._password)

    async def _ask(self, flow: str, **parameters: str) -> None:
        asked = {"AuthFlow": flow, "ClientId": self._client_id, "AuthParameters": parameters}
        answer = await self._call(asked)
        if "ChallengeName" in answer:
            raise SignInError(
                f"Cognito wants {answer['ChallengeName']} of {self._user} first: "
                "give that user a permanent password"
            )
        try:
            result = answer["AuthenticationResult"]
            token, lives_s = str(result["AccessToken"]), float(result["ExpiresIn"])
        except (KeyError, TypeError, ValueError):
            raise SignInError("what answered for Cognito gave no token") from None
        if not (token.isascii() and token.isprintable()):
            raise SignInError("what answered for Cognito gave what is no token")
        now = time.monotonic()
        self._token, self._renewed_at, self._expires_at = token, now, now + lives_s
        self._renew_at = now + max(lives_s - MARGIN_S, lives_s / 2)
        self._refresh_token = result.get("RefreshToken") or self._refresh_token

    async def _call(self, asked: dict[str, Any]) -> dict[str, Any]:
        headers = {
            "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
            "Content-Type": "application/x-amz-json-1.1",
        }
        try:
            response = await self._http.post(
                self._url, json=asked, headers=headers, timeout=TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise SignInError(
                f"Cognito at {self._url} cannot be reached ({type(error).__name__})", passes=True
            ) from None
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.status_code == 200 and isinstance(answer, dict):
            return answer
        raise self._refusal(response.status_code, answer if isinstance(answer, dict) else {})

    def _refusal(self, status: int, answer: dict[str, Any]) -> SignInError:
        code = str(answer.get("__type", "")).rpartition("#")[2]
        said = str(answer.get("message") or answer.get("Message") or code or f"HTTP {status}")
        passes = status >= 500 or status == 429 or code in _PASSES
        return SignInError(f"Cognito refuses {self._user}: {said[:200]}", passes=passes)
