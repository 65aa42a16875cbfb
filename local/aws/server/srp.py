"""The server's side of Cognito's SRP: whoever signs in proves that they know the password, and
never sends it.

RFC 5054 with the 3072-bit group of RFC 3526 and SHA-256, and with Cognito's own key: HKDF of the
session's secret, then an HMAC over who signs in, the secret block and the time. What is hashed are
numbers as Java's BigInteger writes them: with a leading zero byte where the first bit is set.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

N = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879"
    "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B"
    "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA4836"
    "1C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804"
    "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6"
    "955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64"
    "ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D226"
    "1AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2"
    "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    16,
)
G = 2
INFO = b"Caldera Derived Key"
# As JavaScript's and Java's clients write it: the day of the month without a zero.
TIMESTAMP = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [1-9]\d? \d\d:\d\d:\d\d UTC \d{4}")


def _bytes(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


K = _hash(_bytes(N), _bytes(G))


def _random() -> int:
    return secrets.randbits(1024)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One sign-in between its challenge and the proof.

    `pool` is the pool's id without its region, `user` the USER_ID_FOR_SRP, `client_a` the SRP_A in
    hex. Raises ValueError for one that gives the secret away.
    """

    pool: str
    user: str
    password: str
    client_a: str
    salt: int = field(default_factory=lambda: secrets.randbits(128))
    block: bytes = field(default_factory=lambda: secrets.token_bytes(64))
    own: int = field(default_factory=_random)

    def __post_init__(self) -> None:
        if int(self.client_a, 16) % N == 0:
            raise ValueError("SRP_A is a multiple of N")

    @property
    def challenge(self) -> dict[str, str]:
        """What the client is told."""
        return {
            "SALT": f"{self.salt:x}",
            "SRP_B": f"{self._b:x}",
            "SECRET_BLOCK": base64.b64encode(self.block).decode(),
            "USER_ID_FOR_SRP": self.user,
        }

    def proves(self, signature: str, timestamp: str) -> bool:
        """Whether the client knows the password."""
        if not TIMESTAMP.fullmatch(timestamp):
            return False
        said = f"{self.pool}{self.user}".encode() + self.block + timestamp.encode()
        own = hmac.digest(self._key(), said, "sha256")
        return hmac.compare_digest(base64.b64encode(own).decode(), signature)

    @property
    def _verifier(self) -> int:
        who = hashlib.sha256(f"{self.pool}{self.user}:{self.password}".encode()).digest()
        return pow(G, _hash(_bytes(self.salt), who), N)

    @property
    def _b(self) -> int:
        return (K * self._verifier + pow(G, self.own, N)) % N

    def _key(self) -> bytes:
        a = int(self.client_a, 16)
        u = _hash(_bytes(a), _bytes(self._b))
        shared = pow(a * pow(self._verifier, u, N), self.own, N)
        mixed = hmac.digest(_bytes(u), _bytes(shared), "sha256")
        return hmac.digest(mixed, INFO + b"\x01", "sha256")[:16]
