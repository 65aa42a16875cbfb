"""Every way to forge a token that we know of, against the one verifier (API-002, LAM-002)."""

import base64
import json
import random
import string
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk, jwt

from tlfif import tokens

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool"
CLIENT = "client-1"
URL = "https://keys"


def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public(key: rsa.RSAPrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


POOL, OTHER = private_key(), private_key()
JWKS = {"keys": [{**jwk.construct(pem(POOL), "RS256").public_key().to_dict(), "kid": "k1", "use": "sig"}]}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "sub": "11111111-1111-4111-8111-111111111111", "iss": ISSUER, "client_id": CLIENT, "token_use": "access",
        "iat": now, "exp": now + 3600, "username": "ada",
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: Any = POOL, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    signing = pem(key) if isinstance(key, rsa.RSAPrivateKey) else key
    return jwt.encode(claims(**changes), signing, algorithm, headers={"kid": "k1", **(headers or {})})


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac_token(secret: bytes) -> str:
    """HS256 by hand: python-jose refuses to sign with a public key, an attacker does not."""
    import hashlib
    import hmac

    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{segment(claims())}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def verifier() -> tokens.Verifier:
    return tokens.Verifier(ISSUER, CLIENT, tokens.KeySet(URL, lambda url: JWKS))


NOW = int(time.time())
GOOD = token()
FORGED = {
    "alg none": f"{segment({'alg': 'none', 'kid': 'k1'})}.{segment(claims())}.",
    "alg none with signature": f"{segment({'alg': 'none', 'kid': 'k1'})}.{segment(claims())}.{GOOD.split('.')[2]}",
    "alg None": f"{segment({'alg': None, 'kid': 'k1'})}.{segment(claims())}.{GOOD.split('.')[2]}",
    "HS256 with the public key as PEM": hmac_token(public(POOL, serialization.Encoding.PEM)),
    "HS256 with the public key as DER": hmac_token(public(POOL, serialization.Encoding.DER)),
    "RS512": token(algorithm="RS512"),
    "another key": token(OTHER),
    "another pool": token(iss=ISSUER + "2"),
    "no issuer": token(iss=None),
    "an id token": token(token_use="id", aud=CLIENT, client_id=None),
    "no token_use": token(token_use=None),
    "another client": token(client_id="client-2"),
    "no client, no audience": token(client_id=None),
    "another audience": token(aud="client-2"),
    "expired": token(exp=NOW - 1),
    "no exp": token(exp=None),
    "exp is text": token(exp="tomorrow"),
    "exp is infinite": token(exp=1e400),
    "no iat": token(iat=None),
    "issued in the future": token(iat=NOW + 3600),
    "not valid yet": token(nbf=NOW + 3600),
    "no sub": token(sub=None),
    "sub is a path": token(sub="../admin"),
    "sub is empty": token(sub=""),
    "no kid": jwt.encode(claims(), pem(POOL), "RS256"),
    "kid is a path": token(headers={"kid": "../../dev/null"}),
    "kid is a URL": token(headers={"kid": "https://evil.example/jwks.json"}),
    "kid is SQL": token(headers={"kid": "k1' OR '1'='1"}),
    "kid is a list": token(headers={"kid": ["k1"]}),
    "embedded jwk": token(OTHER, headers={"jwk": JWKS["keys"][0]}),
    "jku": token(OTHER, headers={"jku": "https://evil.example/jwks.json"}),
    "x5u": token(OTHER, headers={"x5u": "https://evil.example/x"}),
    "good key with jku": token(headers={"jku": "https://evil.example/jwks.json"}),
    "crit": token(headers={"crit": ["exp"]}),
    "truncated": GOOD[:-10],
    "no signature": GOOD.rsplit(".", 1)[0] + ".",
    "two parts": GOOD.rsplit(".", 1)[0],
    "four parts": GOOD + "." + GOOD.split(".")[2],
    "twice": GOOD + GOOD,
    "padded": GOOD + "==",
    "claims are a list": f"{GOOD.split('.')[0]}.{segment([1])}.{GOOD.split('.')[2]}",
    "100 kB": GOOD + "A" * 100_000,
    "deep JSON": f"{segment(b'[' * 5000)}.{segment(claims())}.{GOOD.split('.')[2]}",
    "header is not UTF-8": f"{segment(bytes([255, 254]))}.{segment(claims())}.{GOOD.split('.')[2]}",
    "not ASCII": GOOD[:-1] + "é",
    "surrogate": GOOD[:-1] + "\udcff",
    "NUL": GOOD + "\0",
    "newline": GOOD + "\n",
    "empty": "",
    "a word": "garbage",
}  # fmt: skip


@pytest.mark.story("API-002", "LAM-002")
def test_a_good_token_yields_its_claims() -> None:
    assert verifier().verify(GOOD)["username"] == "ada"


@pytest.mark.story("API-002", "LAM-002")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_rejected(name: str) -> None:
    with pytest.raises(tokens.Rejected):
        verifier().verify(FORGED[name])


@pytest.mark.story("API-002")
def test_ten_thousand_mutations_of_a_good_token_are_rejected() -> None:
    chance, judge = random.Random(7), verifier()
    alphabet = string.ascii_letters + string.digits + "-_.= +/\0é"
    tried = 0
    while tried < 10_000:
        at = chance.randrange(len(GOOD))
        forged = {
            0: lambda at=at: GOOD[:at] + chance.choice(alphabet) + GOOD[at + 1 :],
            1: lambda at=at: GOOD[:at] + GOOD[at + 1 :],
            2: lambda at=at: GOOD[:at] + chance.choice(alphabet) + GOOD[at:],
            3: lambda at=at: GOOD[:at] + GOOD[at:].swapcase(),
        }[chance.randrange(4)]()
        if forged == GOOD:
            continue
        tried += 1
        with pytest.raises(tokens.Rejected):
            judge.verify(forged)


class Pool:
    """A JWKS endpoint that counts its calls and can go down or change its keys."""

    def __init__(self) -> None:
        self.calls, self.down, self.keys, self.now = 0, False, JWKS, 1_000.0

    def fetch(self, url: str) -> dict[str, Any]:
        self.calls += 1
        if self.down:
            raise OSError("connection refused")
        return self.keys

    def key_set(self) -> tokens.KeySet:
        return tokens.KeySet(URL, self.fetch, lambda: self.now)


@pytest.mark.story("API-002")
def test_keys_are_fetched_once_in_ten_minutes() -> None:
    pool = Pool()
    keys = pool.key_set()
    for _ in range(100):
        keys.get("k1")
    assert pool.calls == 1
    pool.now += 601
    keys.get("k1")
    assert pool.calls == 2


@pytest.mark.story("API-002")
def test_an_unknown_kid_is_looked_up_once_and_not_at_every_call() -> None:
    pool = Pool()
    keys = pool.key_set()
    keys.get("k1")
    pool.now += 31
    for _ in range(50):
        with pytest.raises(tokens.Rejected):
            keys.get("invented")
    assert pool.calls == 2


@pytest.mark.story("API-002")
def test_a_new_key_of_the_pool_is_found() -> None:
    pool = Pool()
    keys = pool.key_set()
    keys.get("k1")
    pool.now += 31
    pool.keys = {"keys": [{**JWKS["keys"][0], "kid": "k2"}]}
    assert keys.get("k2")


@pytest.mark.story("API-002")
def test_when_the_pool_is_down_the_last_keys_serve_within_their_age_and_nobody_is_let_in_after() -> None:
    pool = Pool()
    keys = pool.key_set()
    keys.get("k1")
    pool.down = True
    pool.now += 599
    assert keys.get("k1")
    pool.now += 2
    with pytest.raises(tokens.KeysUnavailable):
        keys.get("k1")


@pytest.mark.story("API-002")
@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": [{"kty": "RSA"}]}, {"keys": ["x"]}, []])
def test_a_broken_jwks_document_is_an_outage(document: Any) -> None:
    with pytest.raises(tokens.KeysUnavailable):
        tokens.KeySet(URL, lambda url: document).get("k1")
