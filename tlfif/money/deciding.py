"""By what degrees the stack closes as its money ends."""

from dataclasses import dataclass
from enum import Enum

from tlfif.money import months, spending
from tlfif.money.documents import Tariff

# For so long nodes may run on unseen: should the guardian die, the publisher looks every 15 minutes
# and has them stopped; and a stop may be refused at first.
NODES_S = 1_200.0
# The meter looks every minute, and closes the stage by itself.
SURFACES_S = 300.0
# What is kept for a session: nothing is started that would be stopped before it has answered.
SESSION_S = 900.0
# What is kept for answers after everything else is closed, beside what the preview assumes.
TRICKLE_USD = 0.10
# And what they may cost beyond the cap: then, too, somebody must hear of it.
RESERVE_USD = 0.15


class Degree(str, Enum):
    """What is closed, each with all that comes before it."""

    OPEN = "open"
    NO_STARTS = "no_starts"  # no node is started; the instant lane answers
    LATCHED = "latched"  # nodes stop, and every new job is refused with 402
    TRICKLE = "trickle"  # the API's stage lets through no more than a trickle

    @property
    def latches(self) -> bool:
        """Whether nodes stop, and stay stopped."""
        return self in (Degree.LATCHED, Degree.TRICKLE)


@dataclass(frozen=True)
class Decision:
    """What is to be closed and why; `left_usd` is what the cap leaves beside what is committed."""

    degree: Degree
    why: str
    left_usd: float


def decide(tariff: Tariff, most_usd: float, now: float) -> Decision:
    """What is to be closed when so much may have been spent.

    Each degree begins when no more is left than may be spent before it takes effect, and what is
    closed after it.
    """
    left = tariff.cap_usd - most_usd - spending.rest_usd(tariff, now)
    for degree, least in thresholds(tariff):
        if left <= least:
            return Decision(degree, _why(tariff, most_usd, left, now), left)
    return Decision(Degree.OPEN, "", left)


def thresholds(tariff: Tariff) -> list[tuple[Degree, float]]:
    """At how many USD left each degree begins, the last one first."""
    hourly = sum(tariff.worst_usd_per_hour.values())
    nodes = tariff.gpu_count * tariff.gpu_usd_per_hour
    trickle = TRICKLE_USD + hourly * SURFACES_S / spending.HOUR_S
    latched = trickle + (nodes + lane_usd_per_hour(tariff)) * NODES_S / spending.HOUR_S
    no_starts = latched + nodes * SESSION_S / spending.HOUR_S
    return [(Degree.TRICKLE, trickle), (Degree.LATCHED, latched), (Degree.NO_STARTS, no_starts)]


def lane_usd_per_hour(tariff: Tariff) -> float:
    """What the instant lane costs for each hour that it runs, beyond the free tier."""
    return spending.HOUR_S * sum(
        each * float(tariff.prices[item]["usd"]) for item, each in tariff.lane_units.items()
    )


def left_usd(tariff: Tariff, spent_usd: float, now: float) -> float:
    """What the cap leaves beside what is spent and what the rest of the month costs anyway."""
    return tariff.cap_usd - spent_usd - tariff.fixed_usd * (1 - months.elapsed(now))


def trickle(tariff: Tariff, dearest_usd: float, now: float) -> float:
    """How many requests a second cost no more until the month's end than what is left and the
    reserve, when everything else is closed, however dear those were that are not billed yet.
    """
    left = left_usd(tariff, dearest_usd, now)
    seconds = max(spending.HOUR_S, months.end(now) - now)
    each = spending.request_usd(tariff) * (1 + spending.DEARER)
    return max(0.0, left + RESERVE_USD) / (each * seconds) if each else 0.0


def _why(tariff: Tariff, most_usd: float, left: float, now: float) -> str:
    def eur(usd: float) -> str:
        return f"€{usd / tariff.usd_per_eur:.2f}"

    rest = spending.rest_usd(tariff, now)
    return (
        f"{eur(most_usd)} spent at most and {eur(rest)} due until the month's end leave "
        f"{eur(max(0.0, left))} of the cap of {eur(tariff.cap_usd)}"
    )
