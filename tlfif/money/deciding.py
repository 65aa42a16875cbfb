"""By what degrees the stack closes as its money ends."""

from dataclasses import dataclass
from enum import Enum


class Degree(str, Enum):
    """What is closed, each with all that comes before it."""

    OPEN = "open"
    NO_STARTS = "no_starts"  # no node is started; the instant lane answers
    LATCHED = "latched"  # nodes stop, and every new job is refused with 402
    TRICKLE = "trickle"  # the API's stage lets through no more than a trickle


@dataclass(frozen=True)
class Decision:
    """What is to be closed and why; `left_usd` is what the cap leaves beside what is committed."""

    degree: Degree
    why: str
    left_usd: float
