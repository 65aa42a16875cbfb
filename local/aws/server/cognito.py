"""How the moto server signs people in by SRP: moto asks for a proof and believes any."""

import uuid
from typing import Any

from moto.cognitoidp.exceptions import (
    InvalidParameterException,
    NotAuthorizedError,
    UserNotFoundError,
)
from moto.cognitoidp.models import CognitoIdpBackend

from local.aws.server.srp import Exchange

# What is under way, by its secret block.
_exchanges: dict[str, Exchange] = {}
# Untyped on purpose: moto's own class, changed.
_Backend: Any = CognitoIdpBackend


def mend_cognito() -> None:
    """Has the password proved, once; whether there is such a user is nobody's business before."""
    _Backend.initiate_auth = _challenging(_Backend.initiate_auth)
    _Backend.respond_to_auth_challenge = _judging(_Backend.respond_to_auth_challenge)


def _challenging(method: Any) -> Any:
    def initiate(
        backend: Any, client_id: str, auth_flow: str, auth_parameters: dict[str, str]
    ) -> Any:
        told = auth_parameters or {}
        if auth_flow != "USER_SRP_AUTH":
            return method(backend, client_id, auth_flow, told)
        try:
            answer = method(backend, client_id, auth_flow, told)
        except UserNotFoundError:
            return _challenge(_exchange("none", told["USERNAME"], None, told), told["USERNAME"])
        username, pool = backend.sessions.pop(answer["Session"])
        user = backend.admin_get_user(pool.id, username)
        exchange = _exchange(pool.id.partition("_")[2], user.id, user.password, told)
        challenge = _challenge(exchange, user.username)
        block = challenge["ChallengeParameters"]["SECRET_BLOCK"]
        _exchanges[block] = exchange
        backend.sessions[block] = (username, pool)
        return challenge

    return initiate


def _exchange(pool: str, user: str, password: str | None, told: dict[str, str]) -> Exchange:
    try:
        # Nobody knows the password of somebody who has none.
        known = password or str(uuid.uuid4())
        return Exchange(pool=pool, user=user, password=known, client_a=told["SRP_A"])
    except ValueError as error:
        raise InvalidParameterException(str(error)) from error


def _challenge(exchange: Exchange, username: str) -> dict[str, Any]:
    parameters = {**exchange.challenge, "USERNAME": username}
    return {"ChallengeName": "PASSWORD_VERIFIER", "ChallengeParameters": parameters}


def _judging(method: Any) -> Any:
    def respond(
        backend: Any,
        session: str,
        client_id: str,
        challenge_name: str,
        challenge_responses: dict[str, str],
    ) -> Any:
        if challenge_name == "PASSWORD_VERIFIER":
            told = challenge_responses
            exchange = _exchanges.pop(told.get("PASSWORD_CLAIM_SECRET_BLOCK", ""), None)
            proof = told.get("PASSWORD_CLAIM_SIGNATURE", ""), told.get("TIMESTAMP", "")
            if exchange is None or not exchange.proves(*proof):
                raise NotAuthorizedError("Incorrect username or password.")
        return method(backend, session, client_id, challenge_name, challenge_responses)

    return respond
