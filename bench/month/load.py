"""Who uses the stack in a month, and what goes wrong in it; all of it from a seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tlfif.money import months

# November 2026 and the last two days before it: a month begins in the course of the simulation.
BEGIN = months.begin(1_793_491_200.0)
LEAD_S, DAY_S, HOUR_S, MINUTE_S = 2 * 86_400, 86_400.0, 3_600.0, 60.0
END = months.end(BEGIN)
DAYS = (END - BEGIN + LEAD_S) / DAY_S


@dataclass(frozen=True)
class Span:
    """From one time to another (epoch s), at a rate: requests a second, or of nothing."""

    since: float
    until: float
    rate: float = 0.0


class Minutes(NamedTuple):
    """How many of the spans of each kind there are in each minute; of polls their rates' sum."""

    wanted: list[float]
    stuck: list[float]
    dead: list[float]
    rates: list[float]


@dataclass(frozen=True)
class Load:
    """A month. `sessions`: somebody sends jobs; `forgotten`: somebody's jobs go on and on; `stuck`:
    the node's watcher hangs, and stops for nothing; `polls`: browser tabs in a loop. `dead`: the
    guardian does not run; `throttled`: EC2 refuses the first `refused` stops of each attempt.
    """

    seed: int
    profile: str
    sessions: tuple[Span, ...]
    stuck: tuple[Span, ...]
    polls: tuple[Span, ...]
    dead: tuple[Span, ...]
    refused: int
    skew_s: float
    ec2_skew_s: float
    lag_s: float
    price_at: float
    price_factor: float
    counters_late_s: float

    @cached_property
    def minutes(self) -> Minutes:
        """The month by its minutes."""
        return Minutes(
            wanted=_by_minute(self.sessions),
            stuck=_by_minute(self.stuck),
            dead=_by_minute(self.dead),
            rates=_by_minute(self.polls),
        )


def _by_minute(spans: Sequence[Span]) -> list[float]:
    begin, count = BEGIN - LEAD_S, round(DAYS * DAY_S / MINUTE_S)
    sums = [0.0] * count
    for span in spans:
        first = math.ceil((span.since - begin) / MINUTE_S)
        last = math.ceil((span.until - begin) / MINUTE_S)
        for minute in range(first, min(last, count)):
            sums[minute] += span.rate or 1.0
    return sums


PROFILES = ("light", "usual", "heavy", "forgotten", "flood", "siege")
_A_DAY = {"light": 0.5, "usual": 2.0, "heavy": 8.0, "forgotten": 1.0, "flood": 1.0, "siege": 12.0}


def load(seed: int, *, prices_change: bool = True) -> Load:
    """The month of a seed."""
    dice = random.Random(seed)
    profile = PROFILES[seed % len(PROFILES)]
    sessions = [_span(dice, 300, 5_400) for _ in range(_poisson(dice, _A_DAY[profile] * DAYS))]
    polls = [_span(dice, 600, 7_200, (0.05, 2)) for _ in range(dice.randint(0, 20))]
    stuck: list[Span] = []
    if profile in ("forgotten", "siege"):
        sessions += [_span(dice, 4 * HOUR_S, 72 * HOUR_S) for _ in range(dice.randint(1, 4))]
        stuck = [_span(dice, 2 * HOUR_S, 48 * HOUR_S) for _ in range(dice.randint(1, 4))]
    if profile in ("flood", "siege"):
        polls += [_span(dice, 1_800, 20 * DAY_S, (5, 1_000)) for _ in range(dice.randint(1, 3))]
    dead = [_span(dice, 120, 1_800) for _ in range(dice.randint(0, 20))]
    if dice.random() < 0.5:
        dead += [_span(dice, 6 * HOUR_S, 4 * DAY_S) for _ in range(dice.randint(1, 3))]
    changed = prices_change and dice.random() < 0.5
    return Load(
        seed=seed,
        profile=profile,
        sessions=tuple(sessions),
        stuck=tuple(stuck),
        polls=tuple(polls),
        dead=tuple(dead),
        refused=dice.choice((0, 0, 1, 3)),
        skew_s=dice.uniform(-60, 60),
        ec2_skew_s=dice.uniform(-5, 5),
        lag_s=dice.uniform(8, 24) * HOUR_S,
        price_at=dice.uniform(BEGIN, END) if changed else math.inf,
        price_factor=dice.uniform(0.8, 1.1) if changed else 1.0,
        counters_late_s=dice.uniform(60, 180),
    )


def _span(
    dice: random.Random, shortest_s: float, longest_s: float, rates: tuple[float, float] = (0, 0)
) -> Span:
    """Some time, most often a short one; rates are as likely below as above their middle in orders
    of magnitude.
    """
    since = BEGIN - LEAD_S + dice.random() * DAYS * DAY_S
    lasts = math.exp(dice.uniform(math.log(shortest_s), math.log(longest_s)))
    least, most = rates
    rate = math.exp(dice.uniform(math.log(least), math.log(most))) if least else 0.0
    return Span(since, since + lasts, rate)


def _poisson(dice: random.Random, mean: float) -> int:
    return round(max(0.0, dice.gauss(mean, math.sqrt(mean))))
