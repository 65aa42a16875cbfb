"""A user pool's side of Cognito's SRP: what it asks, and whether an answer proves the password.

It is written from the protocol (SRP-6a with Cognito's padding and HKDF), not from the page's code.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

# The 3072-bit group of RFC 5054 and RFC 3526.
N = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404"
    "DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406"
    "B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD"
    "24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E46"
    "2E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D226"
    "1898FA051015728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB397"
    "0F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A6452"
    "1F2B18177B200CBBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CA"
    "FFFFFFFFFFFFFFFF",
    16,
)
G = 2


@dataclass(frozen=True)
class Asked:
    """One sign-in of a user whose password the pool knows as a verifier; `secret` is the pool's."""

    pool: str
    user: str
    salt: int
    verifier: int
    secret: int
    block: bytes

    def challenge(self) -> dict[str, str]:
        """PASSWORD_VERIFIER's parameters."""
        return {
            "USERNAME": self.user,
            "USER_ID_FOR_SRP": self.user,
            "SALT": f"{self.salt:x}",
            "SRP_B": f"{self._public():x}",
            "SECRET_BLOCK": base64.b64encode(self.block).decode(),
        }

    def proves(self, client_public: int, answer: dict[str, str]) -> bool:
        """Whether the answer's signature was made by who knows the password."""
        u = _number(_padded(client_public) + _padded(self._public()))
        shared = pow(client_public * pow(self.verifier, u, N), self.secret, N)
        pseudo_random = hmac.digest(_padded(u), _padded(shared), "sha256")
        key = hmac.digest(pseudo_random, b"Caldera Derived Key\x01", "sha256")[:16]
        name = self.pool.partition("_")[2]
        said = name.encode() + self.user.encode() + self.block + answer["TIMESTAMP"].encode()
        signature = base64.b64decode(answer["PASSWORD_CLAIM_SIGNATURE"])
        return hmac.compare_digest(signature, hmac.digest(key, said, "sha256"))

    def _public(self) -> int:
        k = _number(_padded(N) + _padded(G))
        return (k * self.verifier + pow(G, self.secret, N)) % N


def asked(pool: str, user: str, password: str, salt: int, secret: int, block: bytes) -> Asked:
    """A sign-in of a user with this password."""
    identity = hashlib.sha256(f"{pool.partition('_')[2]}{user}:{password}".encode()).digest()
    x = _number(_padded(salt) + identity)
    return Asked(pool, user, salt, pow(G, x, N), secret, block)


def _padded(number: int) -> bytes:
    """Two's complement, big-endian: as many bytes as Java's BigInteger takes."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest(), "big")
