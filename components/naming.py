"""Names that AWS or a story fixes: one for each stack of an account, and none too long."""

import hashlib

FIXED_NAMES_STACK = "prod"
_HASH_DIGITS = 6


def stack_name(name: str, stack: str) -> str:
    """`name` itself in prod, `name-{stack}` elsewhere."""
    return name if stack == FIXED_NAMES_STACK else f"{name}-{stack}"


def fitted(name: str, limit: int) -> str:
    """`name` within `limit` characters: a longer one is cut, and a hash keeps it apart from others.

    The same name is always cut the same way; `limit` must leave room for the hash.
    """
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: limit - _HASH_DIGITS - 1].rstrip('-')}-{digest}"
