"""What AWS says that it billed: late, by up to a day, and at first the last month's."""

from dataclasses import replace

from tlfif.money import months
from tlfif.money.documents import Billed

# Figures are refreshed several times a day, and may miss what was used within the last one.
LATE_S = 86_400.0
# So many times what we counted ourselves is no dearer price, but another month.
EXPLAINS = 1.25


def seen(
    billed: Billed | None,
    actual_usd: float,
    own_usd: float,
    most: tuple[float, float],
    now: float,
) -> Billed:
    """What is known when AWS says `actual_usd` and our own count is this; `most` is what it may be
    at most, all of it and what is not fixed.

    Within a month no figure falls. In a new one a figure is the last month's until it has fallen:
    for a day, and for as long as our own count does not explain it, had we seen it before.
    """
    month = months.month(now)
    if billed is not None and billed.month > month:  # a clock that was set back
        return billed
    if billed is None or billed.month < month:
        last = billed or Billed(month=month, at=now, actual_usd=actual_usd)
        billed = Billed(
            month=month,
            at=months.begin(now),
            before_usd=last.actual_usd or last.before_usd,
            guessed=billed is None,
            asked_at=last.asked_at,
            counted=last.counted,
        )
    first_day = now - months.begin(now) < LATE_S
    unexplained = actual_usd > EXPLAINS * most[0] and not billed.guessed
    stale = actual_usd >= billed.before_usd > 0 and (first_day or unexplained)
    if stale or actual_usd <= billed.actual_usd:
        return billed
    points = [*billed.points, [now, *most]]
    old = [each for each in points if each[0] <= now - LATE_S]
    return replace(
        billed,
        at=now,
        actual_usd=actual_usd,
        own_usd=own_usd,
        before_usd=0.0,
        points=[*old[-1:], *(each for each in points if each[0] > now - LATE_S)],
    )


def covered(billed: Billed, now: float) -> tuple[float, float, float]:
    """What is billed for certain: the figure, and how much of our own count is in it, all and what
    is not fixed; nothing in another month.
    """
    if billed.month != months.month(now) or not billed.actual_usd:
        return 0.0, 0.0, 0.0
    old = [each for each in billed.points if each[0] <= billed.at - LATE_S]
    own, variable = (old[-1][1], old[-1][2]) if old else (0.0, 0.0)
    return billed.actual_usd, own, variable
