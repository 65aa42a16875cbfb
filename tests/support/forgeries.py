"""Every way to forge a token that we know of, for the verifier alone and for the whole system
(API-002, LAM-002).
"""

import base64
import hashlib
import hmac
import json
import random
import string
import time
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk, jwt

SUB = "11111111-1111-4111-8111-111111111111"


def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def segment(value: object) -> str:
    """One part of a token; bytes as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Pool:
    """What a user pool signs: access tokens of one client, with one key."""

    def __init__(self, key: rsa.RSAPrivateKey, kid: str, issuer: str, client_id: str) -> None:
        self.key, self.kid, self.issuer, self.client_id = key, kid, issuer, client_id
        # Reading a private key takes 40 ms, because it is checked.
        self._signing = jwk.construct(pem(key), "RS256")

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as the pool's JWKS shows it."""
        return {**self._signing.public_key().to_dict(), "kid": self.kid, "use": "sig"}

    def public(self, encoding: serialization.Encoding) -> bytes:
        return self.key.public_key().public_bytes(
            encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token that is valid for an hour; a change to None leaves a claim out."""
        now = int(time.time())
        good = {
            "sub": SUB, "iss": self.issuer, "client_id": self.client_id, "token_use": "access",
            "iat": now, "exp": now + 3600, "username": "ada",
        }  # fmt: skip
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(
        self,
        key: rsa.RSAPrivateKey | None = None,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A token: good, unless something is changed."""
        named = {"kid": self.kid, **(headers or {})}
        signing = self._signing if key is None and algorithm == "RS256" else pem(key or self.key)
        return jwt.encode(self.claims(**changes), signing, algorithm, headers=named)

    def hmac_token(self, secret: bytes) -> str:
        """HS256 by hand: python-jose refuses to sign with a public key, an attacker does not."""
        signed = (
            f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': self.kid})}.{segment(self.claims())}"
        )
        return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def forged(pool: Pool, good: str) -> dict[str, str]:
    """What is wrong with it, and the token; `good` is one of the pool's."""
    other, now = private_key(), int(time.time())
    head, _, signature = good.split(".")
    unsigned = segment(pool.claims())
    alg_none = segment({"alg": "none", "kid": pool.kid})
    return {
        "alg none": f"{alg_none}.{unsigned}.",
        "alg none with signature": f"{alg_none}.{unsigned}.{signature}",
        "alg None": f"{segment({'alg': None, 'kid': pool.kid})}.{unsigned}.{signature}",
        "HS256 with the public key as PEM": pool.hmac_token(
            pool.public(serialization.Encoding.PEM)
        ),
        "HS256 with the public key as DER": pool.hmac_token(
            pool.public(serialization.Encoding.DER)
        ),
        "RS512": pool.token(algorithm="RS512"),
        "another key": pool.token(other),
        "another pool": pool.token(iss=pool.issuer + "2"),
        "no issuer": pool.token(iss=None),
        "an id token": pool.token(token_use="id", aud=pool.client_id, client_id=None),
        "no token_use": pool.token(token_use=None),
        "another client": pool.token(client_id="client-2"),
        "no client, no audience": pool.token(client_id=None),
        "another audience": pool.token(aud="client-2"),
        "expired": pool.token(exp=now - 1),
        "no exp": pool.token(exp=None),
        "exp is text": pool.token(exp="tomorrow"),
        "exp is infinite": pool.token(exp=1e400),
        "no iat": pool.token(iat=None),
        "issued in the future": pool.token(iat=now + 3600),
        "not valid yet": pool.token(nbf=now + 3600),
        "no sub": pool.token(sub=None),
        "sub is a path": pool.token(sub="../admin"),
        "sub is empty": pool.token(sub=""),
        "no kid": jwt.encode(pool.claims(), pem(pool.key), "RS256"),
        "kid is a path": pool.token(headers={"kid": "../../dev/null"}),
        "kid is a URL": pool.token(headers={"kid": "https://evil.example/jwks.json"}),
        "kid is SQL": pool.token(headers={"kid": f"{pool.kid}' OR '1'='1"}),
        "kid is a list": pool.token(headers={"kid": [pool.kid]}),
        "embedded jwk": pool.token(other, headers={"jwk": pool.jwk}),
        "jku": pool.token(other, headers={"jku": "https://evil.example/jwks.json"}),
        "x5u": pool.token(other, headers={"x5u": "https://evil.example/x"}),
        "good key with jku": pool.token(headers={"jku": "https://evil.example/jwks.json"}),
        "crit": pool.token(headers={"crit": ["exp"]}),
        "truncated": good[:-10],
        "no signature": good.rsplit(".", 1)[0] + ".",
        "two parts": good.rsplit(".", 1)[0],
        "four parts": good + "." + signature,
        "twice": good + good,
        "padded": good + "==",
        "claims are a list": f"{head}.{segment([1])}.{signature}",
        "100 kB": good + "A" * 100_000,
        "deep JSON": f"{segment(b'[' * 5000)}.{unsigned}.{signature}",
        "header is not UTF-8": f"{segment(bytes([255, 254]))}.{unsigned}.{signature}",
        "not ASCII": good[:-1] + "é",
        "surrogate": good[:-1] + "\udcff",
        "NUL": good + "\0",
        "newline": good + "\n",
        "empty": "",
        "a word": "garbage",
    }


def mutations(good: str, seed: int = 7) -> Iterator[str]:
    """The good token with one character changed, lost or added, or the case of its rest swapped;
    without end.
    """
    chance = random.Random(seed)
    alphabet = string.ascii_letters + string.digits + "-_.= +/\0é"
    kinds: list[Callable[[int], str]] = [
        lambda at: good[:at] + chance.choice(alphabet) + good[at + 1 :],
        lambda at: good[:at] + good[at + 1 :],
        lambda at: good[:at] + chance.choice(alphabet) + good[at:],
        lambda at: good[:at] + good[at:].swapcase(),
    ]
    while True:
        token = chance.choice(kinds)(chance.randrange(len(good)))
        if token != good:
            yield token
