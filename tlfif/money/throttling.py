"""The API's stage is throttled to what the money allows: as the program has it, or to a trickle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlfif import aws, names
from tlfif.money import deciding, ledgers, looking
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff
from tlfif.money.looking import Look

TRICKLE_BURST = 10
# The meter stores what it counts every five minutes at least.
DEAD_S = 900.0
MOST_TRICKLE = 1.0
# Of each method: though nothing is left, somebody must hear of it. All of them take $0.06 a month.
LEAST_RATE = 1 / 4096
SETTINGS = ("throttlingRateLimit", "throttlingBurstLimit")

Throttle = tuple[float, int]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the guards have written; None for what is not there."""

    tariff: Tariff
    ledger: Ledger | None
    metered: Metered
    billed: Billed | None


def degree(known: Known, now: float) -> Degree:
    """What the ledger says; and, though nobody keeps it any more, a trickle when the same sums say
    so.
    """
    ledger = _ledger(known, now)
    told = ledger.degree if ledger.month == known.metered.month else Degree.OPEN
    seen = _look(known, now).decision.degree
    return seen if seen is Degree.TRICKLE else Degree(told)


def is_unmetered(known: Known, now: float) -> bool:
    """Whether the meter is dead, and the money so near its end that somebody must close the stage;
    what was used since it died AWS tells when it has billed it.
    """
    return now - known.metered.at > DEAD_S and degree(known, now) is Degree.TRICKLE


def left_usd(known: Known, now: float) -> float:
    """What the cap leaves beside what is spent and what the rest of the month costs anyway."""
    return deciding.left_usd(known.tariff, _look(known, now).spent_usd, now)


def _look(known: Known, now: float) -> Look:
    """What ran when the ledger was kept last has not stopped, for all that is known here."""
    tariff, ledger = known.tariff, _ledger(known, now)
    return looking.look(tariff, ledger, known.metered, known.billed, None, now)


def _ledger(known: Known, now: float) -> Ledger:
    """The guardian's, or where it is dead the publisher's."""
    counted = known.billed.ledger if known.billed else None
    return looking.later(known.ledger, counted) or ledgers.unknown(now)


def trickle(known: Known, now: float) -> float:
    """How many requests a second are let through, all routes together, until the month ends."""
    return min(MOST_TRICKLE, deciding.trickle(known.tariff, _look(known, now).dearest_usd, now))


def wanted(closed: Degree, known: Known, now: float) -> dict[str, Throttle]:
    """The throttle of each of the stage's settings, by `resource/METHOD` or `*/*`."""
    if closed is not Degree.TRICKLE:
        return dict(names.THROTTLES)
    share = trickle(known, now) / names.TRICKLING_METHODS
    return {path: (max(LEAST_RATE, _rounded(share)), TRICKLE_BURST) for path in names.TRICKLING}


def _rounded(rate: float) -> float:
    """Down to a step of two: the same for long, and never more."""
    step = MOST_TRICKLE
    while step > rate and step > 1e-6:
        step /= 2
    return step if step <= rate else 0.0


def differing(
    settings: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Throttle]
) -> dict[str, Throttle]:
    """Those throttles that the stage has not."""
    found = {path: _throttle(settings.get(path, {})) for path in wanted}
    return {path: each for path, each in wanted.items() if not _same(found[path], each)}


def _same(one: Throttle, other: Throttle) -> bool:
    """API Gateway may keep a rate with fewer digits."""
    return math.isclose(one[0], other[0], rel_tol=1e-3) and one[1] == other[1]


def _throttle(settings: Mapping[str, Any]) -> Throttle:
    rate, burst = (settings.get(name, -1) for name in SETTINGS)
    return float(rate), int(burst)


def apply(apigateway: Any, api_id: str, stage: str, closed: Mapping[str, Throttle]) -> list[str]:
    """Sets the stage's throttles where they differ; the paths that did. Raises aws.Unavailable."""
    with aws.answering():
        found = apigateway.get_stage(restApiId=api_id, stageName=stage)
        changed = differing(found.get("methodSettings", {}), closed)
        if changed:
            apigateway.update_stage(
                restApiId=api_id, stageName=stage, patchOperations=_patches(changed)
            )
    return sorted(changed)


def _patches(changed: Mapping[str, Throttle]) -> list[dict[str, str]]:
    return [
        {"op": "replace", "path": f"/{path}/throttling/{name}", "value": value}
        for path, (rate, burst) in changed.items()
        for name, value in (("rateLimit", str(rate)), ("burstLimit", str(burst)))
    ]
