"""What the month's use is now, from what was read and what was known."""

from collections.abc import Mapping, Sequence

from meter.reading import Counter, Reading
from tlfif.money import counting, months, spending
from tlfif.money.counting import Function
from tlfif.money.documents import Metered, Tariff

# What can cost much within minutes is asked for in each run, the rest so often.
SLOW_S = 900.0
# Runs do not come to the second.
EARLY_S = 30.0
# A write costs as much as fifteen reads: what grew by less is told with what comes next, within
# this time.
WORTH_USD, TOLD_EVERY_S = 0.002, 300.0
# With so little left every figure decides: the older it is, the more is kept back.
NEAR_USD = 3.0


def due(counters: Sequence[Counter], known: Metered, now: float) -> list[Counter]:
    """The counters to ask for now."""
    slow = now - known.slow_at >= SLOW_S - EARLY_S
    return [each for each in counters if each.fast or slow]


def begun(known: Metered | None, now: float) -> Metered:
    """What is known of this month: nothing, when it is new."""
    month = months.month(now)
    if known is None or known.month != month:
        return Metered(month=month, at=0.0)
    return known


def metered(
    known: Metered,
    reading: Reading,
    counters: Sequence[Counter],
    functions: Sequence[Function],
    node_s: float,
    now: float,
) -> Metered:
    """The month's document after this reading; no figure in it falls.

    Its time is that of the last reading to which no fast counter was missing.
    """
    counted = _grown(known.counted, reading.counted)
    missing = set(reading.failed)
    fast = [each for each in counters if each.fast]
    slow = [each for each in counters if not each.fast]
    all_fast = not any(_first(each) in missing for each in fast)
    all_slow = len(slow) > 0 and all(_first(each) in reading.counted for each in slow)
    asked = len(fast) + len(slow) * 60 / SLOW_S
    return Metered(
        month=known.month,
        at=now if all_fast else known.at,
        units=_grown(known.units, counting.units(counted, functions, asked, node_s)),
        lane_s=max(known.lane_s, counting.lane_s(counted, functions)),
        counted=counted,
        slow_at=now if all_slow else known.slow_at,
    )


def worth_telling(
    told: Metered | None, new: Metered, tariff: Tariff | None, left_usd: float
) -> bool:
    """Whether the stored document is to be replaced, when the cap leaves so much."""
    if told is None or told.month != new.month:
        return True
    if told.slow_at != new.slow_at or new.at - told.at >= TOLD_EVERY_S - EARLY_S:
        return True
    if left_usd <= NEAR_USD:
        return True
    if tariff is None:
        return False
    before, after = (
        spending.usage_usd(tariff, spending.with_lane(tariff, each.units, each.lane_s))
        for each in (told, new)
    )
    return after - before >= WORTH_USD


def _first(counter: Counter) -> str:
    return next(iter(counter.kept.values()))


def _grown(known: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
    return {name: max(known.get(name, 0.0), new.get(name, 0.0)) for name in {*known, *new}}
