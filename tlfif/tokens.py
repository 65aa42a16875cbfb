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
from http.client import HTTPException
from typing import Any, cast

from jose import jwk, jwt
from jose.backends.base import Key
from jose.exceptions import JOSEError

from tlfif.environment import UserPool
from tlfif.log import log

Claims = dict[str, Any]
Keys = dict[str, list[Key]]
MAX_TOKEN_BYTES = 8_192
KEYS_MAX_AGE_S = 600
REFETCH_INTERVAL_S = 30
FETCH_TIMEOUT_S = 1.5
MAX_KEYS_BYTES = 100_000
SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
SUB = re.compile(r"[A-Za-z0-9_-]{1,64}")
REQUIRED = {"require_exp": True, "require_iat": True, "require_iss": True, "require_sub": True}


class Rejected(Exception):
    """The token is not acceptable; the message says why, for the log, never for the caller."""


class KeysUnavailable(Exception):
    """The pool does not say which keys it has, or not whether it has this one: nobody can judge."""


def fetch_json(url: str) -> Any:
    """The JSON document at `url`; raises OSError, HTTPException or ValueError.

    It has to be there in time: each read of a server that drips would be in time for itself.
    """
    give_up_at = time.monotonic() + 2 * FETCH_TIMEOUT_S
    body = b""
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as response:
        while data := response.read1(MAX_KEYS_BYTES):
            body += data
            if time.monotonic() > give_up_at or len(body) > MAX_KEYS_BYTES:
                raise TimeoutError(f"no end after {len(body)} bytes")
    return json.loads(body)


class KeySet:
    """The pool's public keys by `kid`, at most 600 s old.

    They are fetched again once for an unknown kid, but not more often than every 30 s, so that
    invented kids can't be used to flood the pool.
    """

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], Any] = fetch_json,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._fetch, self._clock = url, fetch, clock
        self._keys: Keys = {}
        self._fetched_at = self._tried_at = -float("inf")
        self._failure = ""

    def get(self, kid: str) -> list[Key]:
        """The keys named `kid`, of which there should be one.

        Raises Rejected when the pool says that it has none, KeysUnavailable when it does not say.
        """
        if self._age() > KEYS_MAX_AGE_S or (kid not in self._keys and self._may_try()):
            self._refresh()
        if self._age() > KEYS_MAX_AGE_S:
            raise KeysUnavailable(self._failure)
        if found := self._keys.get(kid):
            return found
        if kid in self._keys:
            raise KeysUnavailable(f"{self._url}: its key {kid!r} cannot be read")
        if self._failure:
            # The keys at hand are older than the question: the pool may have this one by now.
            raise KeysUnavailable(self._failure)
        raise Rejected("no key of the pool has this kid")

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _may_try(self) -> bool:
        return self._clock() - self._tried_at >= REFETCH_INTERVAL_S

    def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = _keys(self._fetch(self._url))
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            self._failure = f"{self._url}: {type(error).__name__}: {error}"
        else:
            self._fetched_at, self._failure = self._clock(), ""


def _keys(document: object) -> Keys:
    """The signing keys of a JWKS by their kid, which has none when its key cannot be read.

    Keys of other kinds, or for other uses, are passed over. Raises ValueError when nothing is left.
    """
    listed = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the answer has no list of keys")
    keys: Keys = {}
    for each in _maps(cast("list[object]", listed)):
        if _signs(each):
            keys.setdefault(each["kid"], []).extend(_key(each))
    if not any(keys.values()):
        raise ValueError("the answer has no RSA key that can be read")
    return keys


def _maps(listed: list[object]) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", each) for each in listed if isinstance(each, dict)]


def _signs(key: dict[str, Any]) -> bool:
    """Whether this is an RSA key that tokens may name (RFC 7517: `use` and `alg` are optional)."""
    return (
        key.get("kty") == "RSA"
        and isinstance(key.get("kid"), str)
        and key.get("use", "sig") == "sig"
        and key.get("alg", "RS256") == "RS256"
    )


def _key(described: dict[str, Any]) -> list[Key]:
    """The key alone, or nothing when it cannot be read: the others of its set still can."""
    public = {name: described.get(name) for name in ("kty", "n", "e")}
    try:
        return [jwk.construct(public, "RS256")]
    except (JOSEError, ValueError, TypeError, AttributeError, OverflowError) as error:
        log("key not readable", "ERROR", kid=described["kid"], why=str(error))
        return []


class Verifier:
    """Judges access tokens of one user pool and one app client."""

    def __init__(self, issuer: str, client_id: str, keys: KeySet) -> None:
        self._issuer, self._client_id, self._keys = issuer, client_id, keys

    def verify(self, token: str) -> Claims:
        """The claims of a good token.

        Raises Rejected for a bad one and KeysUnavailable when nobody can tell.
        """
        keys: Any = self._keys.get(_kid(token))
        try:
            claims = jwt.decode(
                token,
                keys,
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
