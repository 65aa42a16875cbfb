"""Calendar months in UTC, as AWS bills them. Times are epoch seconds."""

import datetime
from functools import lru_cache
from typing import NamedTuple

UTC = datetime.timezone.utc
DAY_S = 86_400


class _Month(NamedTuple):
    name: str
    begin: float
    end: float


def month(at: float) -> str:
    """The month of a time, such as '2026-11'."""
    return _of(at).name


def begin(at: float) -> float:
    """When its month began."""
    return _of(at).begin


def end(at: float) -> float:
    """When its month ends: when the next one begins."""
    return _of(at).end


def elapsed(at: float) -> float:
    """What part of its month is over, from 0 to 1."""
    found = _of(at)
    return (at - found.begin) / (found.end - found.begin)


def iso(at: float) -> str:
    """A time as people read it, such as '2026-12-01T00:00:00Z'."""
    return datetime.datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: str) -> float:
    """The time of ISO text, as `iso` writes it and AWS does; UTC where it says no zone. Raises
    ValueError.
    """
    at = datetime.datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _of(at: float) -> _Month:
    return _of_day(int(at // DAY_S))


@lru_cache(maxsize=64)
def _of_day(day: int) -> _Month:
    """The month of a day since 1970: all that is asked in one is of the same."""
    first = datetime.datetime.fromtimestamp(day * DAY_S, UTC).replace(day=1)
    following = (first + datetime.timedelta(days=31)).replace(day=1)
    return _Month(first.strftime("%Y-%m"), first.timestamp(), following.timestamp())
