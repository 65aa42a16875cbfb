"""Names that a story fixes, in a world where two stacks share an account."""

FIXED_NAMES_STACK = "prod"


def stack_name(name: str, stack: str) -> str:
    """`name` itself in prod, `name-{stack}` elsewhere."""
    return name if stack == FIXED_NAMES_STACK else f"{name}-{stack}"
