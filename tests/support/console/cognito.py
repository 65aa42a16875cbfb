"""A Cognito that signs in whom a test names: by SRP, with the proof judged as AWS does, and with
tokens as short-lived as the test wants.
"""

import base64
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.aws.server.srp import Exchange

POOL, CLIENT_ID = "eu-west-1_Scripted1", "scriptedclient"
TARGET = "AWSCognitoIdentityProviderService."
CORS = {"Access-Control-Allow-Origin": "*"}
# As components/identity.py asks for it.
POLICY = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d).{12,}")
PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type,X-Amz-Target,X-Amz-User-Agent",
}


@dataclass
class Person:
    """`temporary`: a password that must be replaced at the first sign-in."""

    email: str
    password: str = "Correct-horse-9"
    temporary: bool = False
    sub: str = field(default_factory=lambda: str(uuid.uuid4()))


class RefusedError(Exception):
    """A call that Cognito refuses: its type and message."""


class Cognito:
    """Every call is in `calls`: the operation and its body. Those in `refusals`, an operation and
    the error it gets once, are refused; `token_s` is how long a token lives.
    """

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refusals: dict[str, tuple[str, str]] = {}
        self.token_s = 3600.0
        self._exchanges: dict[str, tuple[Exchange, Person]] = {}
        self._sessions: dict[str, Person] = {}
        self._refresh: dict[str, Person] = {}

    def person(self, **told: Any) -> Person:
        """Somebody new in the pool."""
        person = Person(email=f"user{len(self.people)}@example.com", **told)
        self.people[person.email] = person
        return person

    def count(self, operation: str) -> int:
        return sum(each == operation for each, _ in self.calls)

    async def answer(self, request: Request) -> Response:
        """One call, or a browser's question whether it may be made."""
        if request.method == "OPTIONS":
            return Response(headers=PREFLIGHT)
        operation = request.headers.get("x-amz-target", "").removeprefix(TARGET)
        body = json.loads(await request.body())
        self.calls.append((operation, body))
        try:
            return JSONResponse(self._answer(operation, body), headers=CORS)
        except RefusedError as refusal:
            kind, message = refusal.args
            told = {"__type": kind, "message": message}
            return JSONResponse(told, 400, headers={**CORS, "x-amzn-ErrorType": kind})

    def _answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        if operation in self.refusals:
            raise RefusedError(*self.refusals.pop(operation))
        if body.get("ClientId") != CLIENT_ID:
            raise RefusedError("ResourceNotFoundException", "There is no such client.")
        match operation, body.get("AuthFlow") or body.get("ChallengeName"):
            case "InitiateAuth", "USER_SRP_AUTH":
                return self._challenge(body["AuthParameters"])
            case "InitiateAuth", "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN":
                return self._refreshed(body["AuthParameters"]["REFRESH_TOKEN"])
            case "RespondToAuthChallenge", "PASSWORD_VERIFIER":
                return self._judge(body["ChallengeResponses"])
            case "RespondToAuthChallenge", "NEW_PASSWORD_REQUIRED":
                return self._renew(body["Session"], body["ChallengeResponses"])
            case "GetTokensFromRefreshToken", _:
                return self._refreshed(body["RefreshToken"])
            case "RevokeToken", _:
                self._refresh.pop(body["Token"], None)
                return {}
        raise RefusedError("UnknownOperationException", operation)

    def _challenge(self, told: dict[str, str]) -> dict[str, Any]:
        # As AWS does it with PreventUserExistenceErrors: nobody learns who is in the pool.
        person = self.people.get(told["USERNAME"]) or Person("", str(uuid.uuid4()))
        exchange = Exchange(
            pool=POOL.partition("_")[2],
            user=person.sub,
            password=person.password,
            client_a=told["SRP_A"],
        )
        self._exchanges[exchange.challenge["SECRET_BLOCK"]] = exchange, person
        parameters = {**exchange.challenge, "USERNAME": person.sub}
        return {"ChallengeName": "PASSWORD_VERIFIER", "ChallengeParameters": parameters}

    def _judge(self, told: dict[str, str]) -> dict[str, Any]:
        exchange, person = self._exchanges.pop(told["PASSWORD_CLAIM_SECRET_BLOCK"])
        proved = exchange.proves(told["PASSWORD_CLAIM_SIGNATURE"], told["TIMESTAMP"])
        if not proved or told["USERNAME"] != person.sub:
            raise RefusedError("NotAuthorizedException", "Incorrect username or password.")
        if not person.temporary:
            return self._signed_in(person)
        session = str(uuid.uuid4())
        self._sessions[session] = person
        parameters = {
            "USER_ID_FOR_SRP": person.sub,
            "requiredAttributes": "[]",
            "userAttributes": json.dumps({"email": person.email, "email_verified": "true"}),
        }
        challenge = {"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": session}
        return {**challenge, "ChallengeParameters": parameters}

    def _renew(self, session: str, told: dict[str, str]) -> dict[str, Any]:
        person = self._sessions[session]
        if not POLICY.fullmatch(told["NEW_PASSWORD"]):
            said = "Password did not conform with policy"
            raise RefusedError("InvalidPasswordException", said)
        person.password, person.temporary = told["NEW_PASSWORD"], False
        return self._signed_in(person)

    def _signed_in(self, person: Person) -> dict[str, Any]:
        refresh = str(uuid.uuid4())
        self._refresh[refresh] = person
        result = {**self._tokens(person), "RefreshToken": refresh}
        return {"ChallengeParameters": {}, "AuthenticationResult": result}

    def _refreshed(self, token: str) -> dict[str, Any]:
        if token not in self._refresh:
            raise RefusedError("NotAuthorizedException", "Refresh Token has been revoked")
        return {"AuthenticationResult": self._tokens(self._refresh[token])}

    def _tokens(self, person: Person) -> dict[str, Any]:
        now = time.time()
        claims = {"sub": person.sub, "iat": int(now), "exp": now + self.token_s}
        access = {**claims, "token_use": "access", "client_id": CLIENT_ID, "username": person.sub}
        id_ = {**claims, "token_use": "id", "aud": CLIENT_ID, "email": person.email}
        told = {"AccessToken": _jwt(access), "IdToken": _jwt(id_)}
        return {**told, "ExpiresIn": int(self.token_s), "TokenType": "Bearer"}


def claims(token: str) -> dict[str, Any]:
    """What a token says."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _jwt(told: dict[str, Any]) -> str:
    # Of no key: only the API could tell, and it does not ask.
    parts = (json.dumps(each).encode() for each in ({"alg": "RS256", "kid": "1"}, told))
    encoded = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts]
    return ".".join([*encoded, uuid.uuid4().hex])
