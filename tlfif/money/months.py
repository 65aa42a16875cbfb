"""Calendar months in UTC, as AWS bills them. Times are epoch seconds."""

import datetime

UTC = datetime.timezone.utc


def month(at: float) -> str:
    """The month of a time, such as '2026-11'."""
    return datetime.datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def begin(at: float) -> float:
    """When its month began."""
    return _first(datetime.datetime.fromtimestamp(at, UTC)).timestamp()


def end(at: float) -> float:
    """When its month ends: when the next one begins."""
    first = _first(datetime.datetime.fromtimestamp(at, UTC))
    return _first(first + datetime.timedelta(days=31)).timestamp()


def elapsed(at: float) -> float:
    """What part of its month is over, from 0 to 1."""
    return (at - begin(at)) / (end(at) - begin(at))


def iso(at: float) -> str:
    """A time as people read it, such as '2026-12-01T00:00:00Z'."""
    return datetime.datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _first(day: datetime.datetime) -> datetime.datetime:
    return day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
