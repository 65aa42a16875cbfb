"""Every way to forge a token that we know of, against the one verifier (API-002, LAM-002)."""

import itertools
from typing import Any

import pytest
from support.forgeries import Pool, forged, mutations, private_key

from tlfif import tokens

POOL = Pool(
    private_key(), "k1", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool", "client-1"
)
OTHER = Pool(private_key(), "other", POOL.issuer, POOL.client_id)
JWKS = {"keys": [POOL.jwk]}
URL = "https://keys"
GOOD = POOL.token()
FORGED = forged(POOL, GOOD)


def verifier() -> tokens.Verifier:
    return tokens.Verifier(POOL.issuer, POOL.client_id, tokens.KeySet(URL, lambda url: JWKS))


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
    judge = verifier()
    for token in itertools.islice(mutations(GOOD), 10_000):
        with pytest.raises(tokens.Rejected):
            judge.verify(token)


class Endpoint:
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
    pool = Endpoint()
    keys = pool.key_set()
    for _ in range(100):
        keys.get("k1")
    assert pool.calls == 1
    pool.now += 601
    keys.get("k1")
    assert pool.calls == 2


@pytest.mark.story("API-002")
def test_an_unknown_kid_is_looked_up_once_and_not_at_every_call() -> None:
    pool = Endpoint()
    keys = pool.key_set()
    keys.get("k1")
    pool.now += 31
    for _ in range(50):
        with pytest.raises(tokens.Rejected):
            keys.get("invented")
    assert pool.calls == 2


@pytest.mark.story("API-002")
def test_a_new_key_of_the_pool_is_found() -> None:
    pool = Endpoint()
    keys = pool.key_set()
    keys.get("k1")
    pool.now += 31
    pool.keys = {"keys": [{**JWKS["keys"][0], "kid": "k2"}]}
    assert keys.get("k2")


@pytest.mark.story("API-002")
def test_when_the_pool_is_down_the_last_keys_serve_within_their_age_and_then_nobody_is_let_in() -> (
    None
):
    pool = Endpoint()
    keys = pool.key_set()
    keys.get("k1")
    pool.down = True
    pool.now += 599
    assert keys.get("k1")
    pool.now += 2
    with pytest.raises(tokens.KeysUnavailable):
        keys.get("k1")


@pytest.mark.story("API-002")
@pytest.mark.parametrize(
    "document",
    [{}, {"keys": None}, {"keys": []}, {"keys": {"k1": POOL.jwk}}, {"keys": ["x", None]}, [], "k1"],
)
def test_a_broken_jwks_document_is_an_outage(document: Any) -> None:
    with pytest.raises(tokens.KeysUnavailable):
        tokens.KeySet(URL, lambda url: document).get("k1")


@pytest.mark.story("API-002")
def test_whether_a_new_key_is_the_pools_cannot_be_told_while_it_is_down() -> None:
    pool = Endpoint()
    keys = pool.key_set()
    keys.get("k1")
    pool.now, pool.down = pool.now + 31, True
    for _ in range(50):
        with pytest.raises(tokens.KeysUnavailable):
            keys.get("k2")
    assert pool.calls == 2
    assert keys.get("k1"), "those it had serve on"
    pool.now, pool.down = pool.now + 31, False
    with pytest.raises(tokens.Rejected):
        keys.get("k2")


SPOILT: dict[str, Any] = {
    "no map": "x",
    "nothing in it": {},
    "no kty": {"kid": "k2", "n": "AQAB", "e": "AQAB"},
    "another kty": {"kty": "EC", "kid": "k2", "crv": "P-256", "x": "AA", "y": "AA"},
    "an unknown kty": {"kty": ["RSA"], "kid": "k2"},
    "no n": {"kty": "RSA", "kid": "k2", "e": "AQAB"},
    "n is a number": {**POOL.jwk, "kid": "k2", "n": 7},
    "n is null": {**POOL.jwk, "kid": "k2", "n": None},
    "n is no base64": {**POOL.jwk, "kid": "k2", "n": "é!"},
    "n is empty": {**POOL.jwk, "kid": "k2", "n": ""},
    "e is 0": {**POOL.jwk, "kid": "k2", "e": "AA"},
    "e is huge": {**POOL.jwk, "kid": "k2", "e": POOL.jwk["n"] + "AAAA"},
    "no kid": {key: value for key, value in POOL.jwk.items() if key != "kid"},
    "kid is a number": {**POOL.jwk, "kid": 1},
    "kid is a list": {**POOL.jwk, "kid": ["k1"]},
    "the same kid, broken": {**POOL.jwk, "n": "AQ"},
    "the same kid, for encryption": {**OTHER.jwk, "kid": "k1", "use": "enc"},
    "the same kid, another key": {**OTHER.jwk, "kid": "k1"},
    "the same key again": POOL.jwk,
}


@pytest.mark.story("API-002")
@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_one_bad_key_does_not_spoil_the_others(name: str, last: bool) -> None:
    listed = [POOL.jwk, SPOILT[name]] if last else [SPOILT[name], POOL.jwk]
    keys = tokens.KeySet(URL, lambda url: {"keys": listed})
    assert tokens.Verifier(POOL.issuer, POOL.client_id, keys).verify(GOOD)["username"] == "ada"


@pytest.mark.story("API-002")
def test_a_key_that_cannot_be_read_is_no_refusal() -> None:
    listed = [POOL.jwk, {**POOL.jwk, "kid": "k2", "n": "AQ"}]
    with pytest.raises(tokens.KeysUnavailable, match="k2"):
        tokens.KeySet(URL, lambda url: {"keys": listed}).get("k2")


@pytest.mark.story("API-002")
@pytest.mark.parametrize("described", [{"use": "enc"}, {"alg": "RS512"}], ids=str)
def test_a_key_for_another_use_verifies_nothing(described: dict[str, str]) -> None:
    keys = tokens.KeySet(URL, lambda url: {"keys": [OTHER.jwk, {**POOL.jwk, **described}]})
    with pytest.raises(tokens.Rejected):
        tokens.Verifier(POOL.issuer, POOL.client_id, keys).verify(GOOD)
