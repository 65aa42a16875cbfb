"""Cognito as a browser meets it on this machine: any page may ask, and a password is proved."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support.calls import call

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from local.aws.server.srp import INFO, Exchange, G, K, N

pytestmark = pytest.mark.integration

TARGET = "AWSCognitoIdentityProviderService"
ORIGIN = {"Origin": "http://localhost:8765"}
WHEN = "Thu Nov 26 21:51:44 UTC 2026"
EMAIL, PASSWORD = "ada@example.com", "Correct-horse-9"


def _bytes(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


class Proof:
    """The client's side, which knows the password and the pool's name (RFC 5054, 2.6)."""

    def __init__(self, pool: str, password: str) -> None:
        self.pool, self.password = pool, password
        self.secret = secrets.randbits(256)
        self.a = pow(G, self.secret, N)

    def signature(self, challenge: dict[str, str], when: str = WHEN) -> str:
        user = challenge["USER_ID_FOR_SRP"]
        salt, b = int(challenge["SALT"], 16), int(challenge["SRP_B"], 16)
        inner = hashlib.sha256(f"{self.pool}{user}:{self.password}".encode()).digest()
        x, u = _hash(_bytes(salt), inner), _hash(_bytes(self.a), _bytes(b))
        shared = pow(b - K * pow(G, x, N), self.secret + u * x, N)
        mixed = hmac.digest(_bytes(u), _bytes(shared), "sha256")
        key = hmac.digest(mixed, INFO + b"\x01", "sha256")[:16]
        block = base64.b64decode(challenge["SECRET_BLOCK"], validate=True)
        said = f"{self.pool}{user}".encode() + block + when.encode()
        return base64.b64encode(hmac.digest(key, said, "sha256")).decode()


@dataclass
class Pool:
    """A pool with one user."""

    id: str
    client_id: str
    url: str

    async def ask(self, operation: str, **body: Any) -> httpx.Response:
        headers = {
            **ORIGIN,
            "X-Amz-Target": f"{TARGET}.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.post(
                self.url, json={"ClientId": self.client_id, **body}, headers=headers
            )

    async def challenge(self, proof: Proof, email: str = EMAIL) -> dict[str, str]:
        told = {"USERNAME": email, "SRP_A": f"{proof.a:x}"}
        answer = await self.ask("InitiateAuth", AuthFlow="USER_SRP_AUTH", AuthParameters=told)
        assert answer.status_code == 200, answer.text
        return answer.json()["ChallengeParameters"]

    async def answer(self, challenge: dict[str, str], signature: str) -> httpx.Response:
        told = {
            "USERNAME": challenge["USERNAME"],
            "PASSWORD_CLAIM_SECRET_BLOCK": challenge["SECRET_BLOCK"],
            "PASSWORD_CLAIM_SIGNATURE": signature,
            "TIMESTAMP": WHEN,
        }
        name = "PASSWORD_VERIFIER"
        return await self.ask("RespondToAuthChallenge", ChallengeName=name, ChallengeResponses=told)

    def proof(self, password: str = PASSWORD) -> Proof:
        return Proof(self.id.partition("_")[2], password)


@pytest.fixture
async def pool(endpoint: Endpoint, moto: Moto) -> Pool:
    idp = moto.client("cognito-idp")
    pool_id = (await call(idp.create_user_pool, PoolName="p", UsernameAttributes=["email"]))[
        "UserPool"
    ]["Id"]
    client = await call(idp.create_user_pool_client, UserPoolId=pool_id, ClientName="c")
    who = {"UserPoolId": pool_id, "Username": EMAIL}
    await call(idp.admin_create_user, **who, MessageAction="SUPPRESS")
    await call(idp.admin_set_user_password, **who, Password=PASSWORD, Permanent=True)
    return Pool(pool_id, client["UserPoolClient"]["ClientId"], endpoint.url)


async def test_who_knows_the_password_is_signed_in(pool: Pool) -> None:
    for _ in range(3):
        proof = pool.proof()
        challenge = await pool.challenge(proof)
        answer = await pool.answer(challenge, proof.signature(challenge))
        assert answer.json()["AuthenticationResult"].keys() >= {"AccessToken", "RefreshToken"}


async def test_who_does_not_is_refused_like_somebody_unknown(pool: Pool) -> None:
    said = []
    for email, password in ((EMAIL, "Wrong-horse-9"), ("nobody@example.com", PASSWORD)):
        proof = pool.proof(password)
        challenge = await pool.challenge(proof, email)
        answer = await pool.answer(challenge, proof.signature(challenge))
        said.append((answer.status_code, answer.json()["__type"], answer.json()["message"]))
    assert said == [(400, "NotAuthorizedException", "Incorrect username or password.")] * 2


async def test_a_proof_is_of_one_sign_in_and_of_one_time(pool: Pool) -> None:
    proof = pool.proof()
    challenge = await pool.challenge(proof)
    good = proof.signature(challenge)
    assert (await pool.answer(challenge, proof.signature(challenge, "now"))).status_code == 400
    assert (await pool.answer(challenge, good)).status_code == 400, "it was used up"
    challenge = await pool.challenge(proof)
    assert (await pool.answer(challenge, good)).status_code == 400, "another's"


async def test_a_temporary_password_is_proved_and_replaced(pool: Pool, moto: Moto) -> None:
    who = {"UserPoolId": pool.id, "Username": EMAIL}
    idp = moto.client("cognito-idp")
    await call(idp.admin_set_user_password, **who, Password=PASSWORD, Permanent=False)
    proof = pool.proof()
    challenge = await pool.challenge(proof)
    answer = (await pool.answer(challenge, proof.signature(challenge))).json()
    assert answer["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    told = {"USERNAME": challenge["USERNAME"], "NEW_PASSWORD": "A-new-password-9"}
    renewed = await pool.ask(
        "RespondToAuthChallenge",
        ChallengeName="NEW_PASSWORD_REQUIRED",
        Session=answer["Session"],
        ChallengeResponses=told,
    )
    assert "AccessToken" in renewed.json()["AuthenticationResult"]


@pytest.mark.parametrize("a", [0, N, 2 * N])
def test_a_number_that_gives_the_secret_away_is_refused(a: int) -> None:
    with pytest.raises(ValueError, match="multiple of N"):
        Exchange(pool="p", user="u", password="x", client_a=f"{a:x}")


# --- pages of any origin


async def test_a_browser_may_ask_from_any_page(pool: Pool) -> None:
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-amz-target",
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        preflight = await http.options(pool.url, headers=asked)
        other = await http.options(
            f"{pool.url}/bucket/key", headers={**ORIGIN, "Access-Control-Request-Method": "GET"}
        )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower().split(",")
    assert {"content-type", "x-amz-target"} <= set(allowed)
    assert "Access-Control-Allow-Origin" not in other.headers, "no bucket of ours says so"


async def test_a_page_can_read_answers_and_refusals_alike(pool: Pool, endpoint: Endpoint) -> None:
    good = await pool.ask("InitiateAuth", AuthFlow="USER_SRP_AUTH", AuthParameters={
        "USERNAME": EMAIL, "SRP_A": f"{pool.proof().a:x}"})  # fmt: skip
    refused = await pool.ask("InitiateAuth", AuthFlow="REFRESH_TOKEN_AUTH", AuthParameters={
        "REFRESH_TOKEN": "none"})  # fmt: skip
    endpoint.faults.add(
        Fault("cognito-idp", "InitiateAuth", status=500, code="InternalErrorException")
    )
    faulty = await pool.ask("InitiateAuth", AuthFlow="USER_SRP_AUTH", AuthParameters={})
    assert (good.status_code, refused.status_code) == (200, 400)
    assert faulty.status_code >= 400
    for each in (good, refused, faulty):
        assert each.headers.get_list("Access-Control-Allow-Origin") == ["*"]
