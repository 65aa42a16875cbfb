"""Decides whether a Cognito access token is good, for the authorizer and the router alike.

python-jose's defaults accept too much (no `exp`, no `aud`, any algorithm when none is named), so
everything it leaves open is stated here: RS256 only, the key by its `kid` from our own pool's JWKS
and from nowhere else, `iss`, `exp`, `iat`, `sub`, `client_id` and `token_use` required. Only
`Rejected` and `KeysUnavailable` leave this module.
"""

import base64
import binascii
import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any, cast

from jose import jwk, jwt
from jose.backends.base import Key
from jose.exceptions import JOSEError

from tlfif.environment import UserPool

Claims = dict[str, Any]
MAX_TOKEN_BYTES = 8_192
KEYS_MAX_AGE_S = 600
REFETCH_INTERVAL_S = 30
FETCH_TIMEOUT_S = 1.5
SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
SUB = re.compile(r"[A-Za-z0-9_-]{1,64}")
REQUIRED = {"require_exp": True, "require_iat": True, "require_iss": True, "require_sub": True}


class Rejected(Exception):
    """The token is not acceptable; the message says why, for the log, never for the caller."""


class KeysUnavailable(Exception):
    """The pool's keys can't be had and the last good ones are too old: nobody can be judged."""


def fetch_json(url: str) -> dict[str, Any]:
    """The JSON document at `url`; raises OSError or ValueError."""
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as response:
        return json.load(response)


class KeySet:
    """The pool's public keys by `kid`, at most 600 s old.

    They are fetched again once for an unknown kid, but not more often than every 30 s, so that
    invented kids can't be used to flood the pool.
    """

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], dict[str, Any]] = fetch_json,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._fetch, self._clock = url, fetch, clock
        self._keys: dict[str, Key] = {}
        self._fetched_at = self._tried_at = -float("inf")

    def get(self, kid: str) -> Key:
        """The key named `kid`.

        Raises Rejected when the pool has none, KeysUnavailable when it can't be asked.
        """
        age = self._clock() - self._fetched_at
        if age > KEYS_MAX_AGE_S or (kid not in self._keys and self._may_try()):
            self._refresh(age)
        try:
            return self._keys[kid]
        except KeyError:
            raise Rejected("no key of the pool has this kid") from None

    def _may_try(self) -> bool:
        return self._clock() - self._tried_at >= REFETCH_INTERVAL_S

    def _refresh(self, age: float) -> None:
        self._tried_at = self._clock()
        try:
            documents = self._fetch(self._url)["keys"]
            rsa = [key for key in documents if key["kty"] == "RSA"]
            keys = {str(key["kid"]): jwk.construct(key, "RS256") for key in rsa}
        except (OSError, ValueError, KeyError, TypeError, JOSEError) as error:
            if age > KEYS_MAX_AGE_S:
                raise KeysUnavailable(f"{self._url}: {error}") from error
            return
        self._keys, self._fetched_at = keys, self._clock()


class Verifier:
    """Judges access tokens of one user pool and one app client."""

    def __init__(self, issuer: str, client_id: str, keys: KeySet) -> None:
        self._issuer, self._client_id, self._keys = issuer, client_id, keys

    def verify(self, token: str) -> Claims:
        """The claims of a good token.

        Raises Rejected for a bad one and KeysUnavailable when nobody can tell.
        """
        key = self._keys.get(_kid(token))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                issuer=self._issuer,
                options={"verify_aud": False, **REQUIRED},
            )
        except (JOSEError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Rejected(str(error)) from error
        self._check(claims)
        return claims

    def _check(self, claims: Claims) -> None:
        """Checks what python-jose does not.

        Access tokens carry `client_id` and `token_use` instead of `aud`.
        """
        if claims.get("token_use") != "access":
            raise Rejected("not an access token")
        if claims.get("client_id") != self._client_id:
            raise Rejected("issued to another client")
        if "aud" in claims and claims["aud"] != self._client_id:
            raise Rejected("meant for another audience")
        if claims["iat"] > time.time() + 60:
            raise Rejected("issued in the future")
        if not isinstance(claims["sub"], str) or not SUB.fullmatch(claims["sub"]):
            raise Rejected("sub is not an identifier")


def _kid(token: str) -> str:
    """The key id a well-formed token names.

    The header's other ways to bring a key (jwk, jku, x5u, x5c) are refused.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise Rejected("too long")
    segments = token.split(".")
    if len(segments) != 3 or not all(_canonical(segment) for segment in segments):
        raise Rejected("not three canonical base64url segments")
    try:
        document = json.loads(base64.urlsafe_b64decode(segments[0] + "=="))
    except (ValueError, RecursionError) as error:
        raise Rejected("the header is not JSON") from error
    header = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
        raise Rejected("the header names no RS256 key")
    if header.keys() & {"jwk", "jku", "x5u", "x5c", "crit", "b64"}:
        raise Rejected("the header brings its own key or rules")
    return header["kid"]


def _canonical(segment: str) -> bool:
    """Whether a segment is spelled in the one way its value has.

    Otherwise the unused bits of the last character would make sixteen tokens out of one.
    """
    if not SEGMENT.fullmatch(segment):
        return False
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        return False
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode() == segment


def for_pool(region: str, pool: UserPool) -> Verifier:
    """The verifier of a Cognito pool; `jwks_url` replaces the pool's own address of its keys."""
    issuer = f"https://cognito-idp.{region}.amazonaws.com/{pool.user_pool_id}"
    keys = KeySet(pool.jwks_url or f"{issuer}/.well-known/jwks.json")
    return Verifier(issuer, pool.client_id, keys)


def bearer(authorization: str) -> str:
    """The token of an Authorization header, with or without the word Bearer."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else authorization.strip()
