"""Who asks, when, and what: made from a seed before anything runs, so that every policy gets the
very same prompts.

A person works five days a week and asks in three sessions a day of 2 to 9 prompts. The next prompt
is typed after the answer to the last was read: a think time of 40 s in the middle (lognormal), of
at most 10 minutes. One prompt in ten has a text pasted into it (1.5 to 6 kB), the others have 200
bytes in the middle. Answers have 120 tokens in the middle, and at most 512. A team is eight such
people, each for themselves.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tlfif import names

WORKDAYS = 5
DAY_S = 86_400
# When a session may begin, in hours of the day.
SESSIONS = ((9.0, 11.0), (12.5, 14.5), (15.5, 17.5))
PROMPTS = (2, 9)
THINK_S, THINK_SPREAD, THINK_BOUNDS_S = 40.0, 0.8, (5.0, 600.0)
LONG_SHARE = 0.1
LONG_BYTES = (1_501, names.MAX_PROMPT_BYTES)
SHORT_BYTES, SHORT_SPREAD, SHORT_BOUNDS = 200, 0.8, (20, 1_500)
ANSWER_TOKENS, ANSWER_SPREAD, ANSWER_BOUNDS = 120, 0.7, (16, 512)
USERS = {"one person": 1, "a team of 8": 8}


@dataclass(frozen=True)
class Prompt:
    """`size` in bytes; its answer has `tokens`, and is read for `think_s` before the next one."""

    size: int
    tokens: int
    think_s: float


@dataclass(frozen=True)
class Session:
    """Prompts one after the other; `begins_s` after the begin of the first week's Monday."""

    begins_s: float
    prompts: Sequence[Prompt]


@dataclass(frozen=True)
class Person:
    """Somebody's sessions, in their order."""

    name: str
    sessions: Sequence[Session]


def people(seed: int, how_many: int, weeks: int) -> list[Person]:
    """So many people's prompts for so many weeks; the first has the same whoever else there is."""
    return [_person(random.Random(f"{seed} {n}"), f"user-{n}", weeks) for n in range(how_many)]


def _person(chance: random.Random, name: str, weeks: int) -> Person:
    days = [week * 7 + day for week in range(weeks) for day in range(WORKDAYS)]
    begins = [day * DAY_S + chance.uniform(*hours) * 3600 for day in days for hours in SESSIONS]
    return Person(name, [_session(chance, at) for at in begins])


def _session(chance: random.Random, begins_s: float) -> Session:
    return Session(begins_s, [_prompt(chance) for _ in range(chance.randint(*PROMPTS))])


def _prompt(chance: random.Random) -> Prompt:
    size = (
        chance.randint(*LONG_BYTES)
        if chance.random() < LONG_SHARE
        else round(_around(chance, SHORT_BYTES, SHORT_SPREAD, SHORT_BOUNDS))
    )
    tokens = round(_around(chance, ANSWER_TOKENS, ANSWER_SPREAD, ANSWER_BOUNDS))
    return Prompt(size, tokens, _around(chance, THINK_S, THINK_SPREAD, THINK_BOUNDS_S))


def _around(
    chance: random.Random, median: float, spread: float, bounds: tuple[float, float]
) -> float:
    value = median * chance.lognormvariate(0, spread)
    return min(max(value, bounds[0]), bounds[1])
