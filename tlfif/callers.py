"""By which API key a caller is counted: API Gateway limits callers by keys, which nobody is given.

The authorizer names the key of a token's owner. There are a few, made with the stack, over which
callers are spread by their `sub`: a key for each caller would have to be made at the first call.
"""

import hashlib

KEYS = 16


def name(stack: str, number: int) -> str:
    """The name of one of a stack's keys."""
    return f"tl-fif-{stack}-{number}"


def value(name: str) -> str:
    """The value of the key of this name. It is no secret: a caller who sends it gains nothing."""
    return hashlib.sha256(f"{name} counts callers".encode()).hexdigest()[:40]


def key_of(stack: str, sub: str) -> str:
    """The value of the key by which a caller is counted, always the same."""
    digest = hashlib.sha256(sub.encode()).digest()
    return value(name(stack, int.from_bytes(digest[:8], "big") % KEYS))
