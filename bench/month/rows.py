"""The table of the simulated months: what is spent at most with all guards, and with only one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.month.load import DAY_S, HOUR_S, Load, load
from bench.month.world import GUARDS, MOST_RATE, PER_REQUEST, REFRESHED_S, Record, World
from tlfif.money import deciding
from tlfif.money.documents import Tariff

COLUMNS = (
    "guards that work", "months", "spent at most, €", "beyond the cap, €", "can be, €", "because",
)  # fmt: skip
ALLOWED_EUR, ALLOWED_ERROR = 0.25, 0.02
LATE_S = DAY_S + REFRESHED_S
PUBLISHER_S = 1_020.0
MONTH_H = 720.0


@dataclass(frozen=True)
class Row:
    """Which guards work, the load that they meet, and to how much (USD) that is bounded, and why.

    `requests` is a load of requests alone, which no node's guard is for.
    """

    name: str
    guards: tuple[str, ...]
    bound_usd: float
    why: str
    requests: bool = False

    def loads(self, seeds: Sequence[int]) -> list[Load]:
        """What the guard that is left meets; itself it works."""
        found = [load(seed) for seed in seeds]
        if self.requests:
            return [replace(each, sessions=(), stuck=()) for each in found]
        if self.guards == GUARDS:
            return found
        watchers = "idle stop" in self.guards or "lifetime" in self.guards
        return [
            replace(each, polls=(), dead=(), stuck=() if watchers else each.stuck) for each in found
        ]


def worst_usd_per_hour(tariff: Tariff) -> dict[str, float]:
    """What requests cost at most, at the callers' limits."""
    prices = tariff.prices
    each = sum(n * prices[item]["usd"] for item, n in PER_REQUEST.items() if item in prices)
    return {"requests": each * MOST_RATE * HOUR_S}


def priced(tariff: Tariff) -> Tariff:
    """The tariff with what the simulation's requests cost at most, if that is more."""
    ours = worst_usd_per_hour(tariff)
    told = tariff.worst_usd_per_hour
    return replace(
        tariff, worst_usd_per_hour=told if sum(told.values()) > sum(ours.values()) else ours
    )


def rows(tariff: Tariff) -> list[Row]:
    """The table's lines for a stack with this tariff."""
    nodes = tariff.gpu_count * tariff.gpu_usd_per_hour
    cap, due = tariff.cap_usd, tariff.fixed_usd + tariff.assumed_usd
    lane = deciding.lane_usd_per_hour(tariff)
    all_month = due + (nodes + lane) * MONTH_H * 1.1
    flood = sum(worst_usd_per_hour(tariff).values()) * 1.1
    requests = tariff.fixed_usd + MONTH_H * flood
    late = cap + tariff.fixed_usd + (nodes + lane) * LATE_S / HOUR_S * 1.1
    known = cap + nodes * PUBLISHER_S / HOUR_S
    asked = "as long as somebody sends jobs, a node runs"
    return [
        Row("all", GUARDS, cap + ALLOWED_EUR * tariff.usd_per_eur, "closed before it is spent"),
        Row("guardian alone", ("guardian",), cap, "looks every minute"),
        Row("cost publisher alone", ("publisher",), known, "looks every 15 minutes"),
        Row(
            "budget and killer alone",
            ("budget",),
            late,
            "AWS's figures are up to a day late, and what is fixed goes on",
        ),
        Row("idle stop alone", ("idle stop",), all_month, asked),
        Row("node's lifetime alone", ("lifetime",), all_month, "the next job starts it again"),
        Row("none", (), all_month, "a node that was started runs"),
        Row("meter alone, before requests", ("meter",), cap, "closes the stage", requests=True),
        Row(
            "cost publisher alone, before requests",
            ("publisher",),
            cap + flood * LATE_S / HOUR_S,
            "closes the stage by AWS's figures, which are up to a day late",
            requests=True,
        ),
        Row(
            "none, before requests",
            (),
            requests,
            f"{MOST_RATE:.0f} requests a second for a month",
            requests=True,
        ),
    ]


def simulate(tariff: Tariff, row: Row, seeds: Sequence[int]) -> list[Record]:
    """The months of these seeds."""
    return [World(tariff, each, row.guards).run() for each in row.loads(seeds)]


def shown(tariff: Tariff, row: Row, records: Sequence[Record]) -> str:
    """The table's line."""
    most = max(each.spent_usd for each in records)

    def eur(usd: float) -> str:
        return f"{usd / tariff.usd_per_eur:,.2f}"

    beyond = eur(max(0.0, most - tariff.cap_usd))
    cells = [row.name, str(len(records)), eur(most), beyond, eur(row.bound_usd), row.why]
    return f"| {' | '.join(cells)} |"


def table(tariff: Tariff, seeds: Sequence[int]) -> tuple[str, list[Record]]:
    """The whole table, and the records of its first line."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---:|---:|---:|---:|---|"]
    first: list[Record] = []
    for row in rows(tariff):
        records = simulate(tariff, row, seeds)
        first = first or records
        lines.append(shown(tariff, row, records))
    return "\n".join(lines), first


def failures(tariff: Tariff, seeds: Sequence[int], records: Sequence[Record]) -> list[str]:
    """What months with all guards did that none may."""
    most = tariff.cap_usd + ALLOWED_EUR * tariff.usd_per_eur
    found: list[str] = []
    for seed, each in zip(seeds, records, strict=True):
        if each.spent_usd > most:
            found.append(f"seed {seed}: ${each.spent_usd:.3f} spent, more than ${most:.3f}")
        if each.error > ALLOWED_ERROR:
            found.append(f"seed {seed}: the published figure was off by {each.error:.1%}")
    return found
