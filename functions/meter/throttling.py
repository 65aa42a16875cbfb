"""The API's stage is throttled to what the money allows: as the program has it, or to a trickle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlfif import aws, names
from tlfif.money import months, spending
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

# A ledger with running nodes that is older has no guardian any more.
LEDGER_STALE_S = 300.0
# What a trickle may cost until the month's end, beyond the cap.
RESERVE_USD = 0.20
# What a request takes at most of each item: it is traced, logged, answered by a function.
REQUEST = {
    "REST request": 1.0,
    "trace": 1.0,
    "Lambda request": 1.0,
    "Lambda compute": 0.025,
    "log ingestion": 2e-6,
    "data out": 8e-6,
}
TRICKLE_BURST = 10
MOST_TRICKLE = 1.0
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
    """What the ledger says; and, should nobody keep it any more, what the same sums say."""
    ledger = known.ledger
    told = ledger.degree if ledger and ledger.month == known.metered.month else Degree.OPEN
    return Degree.TRICKLE if left_usd(known, now) <= 0 else Degree(told)


def left_usd(known: Known, now: float) -> float:
    """What the cap leaves beside what is spent and what the rest of the month costs anyway."""
    tariff = known.tariff
    ledger = _presumed(known, now)
    own = spending.own_usd(tariff, ledger, known.metered, now)
    spent = spending.spend_usd(own, known.billed, now)
    rest = tariff.fixed_usd * (1 - months.elapsed(now))
    return tariff.cap_usd - spent - rest


def _presumed(known: Known, now: float) -> Ledger:
    """The ledger, or the worst since it was kept: what ran then has not stopped."""
    ledger, month = known.ledger, known.metered.month
    if ledger is None or ledger.month != month:
        return Ledger(month=month, at=now)
    silent_s = now - ledger.at
    if silent_s <= LEDGER_STALE_S:
        return ledger
    ran_s = len(ledger.running) * silent_s
    return Ledger(month=month, at=now, node_s=ledger.node_s + ran_s, lane_s=ledger.lane_s)


def trickle(known: Known, now: float) -> float:
    """How many requests a second, all routes together, cost no more than the reserve until the
    month ends.
    """
    prices = known.tariff.prices
    each = sum(count * prices[item]["usd"] for item, count in REQUEST.items() if item in prices)
    left = left_usd(known, now) + RESERVE_USD
    seconds = months.end(now) - now
    return min(MOST_TRICKLE, max(0.0, left) / (each * seconds)) if each else 0.0


def wanted(closed: Degree, known: Known, now: float) -> dict[str, Throttle]:
    """The throttle of each of the stage's settings, by `resource/METHOD` or `*/*`."""
    if closed is not Degree.TRICKLE:
        return dict(names.THROTTLES)
    share = trickle(known, now) / names.TRICKLING_METHODS
    return {path: (_rounded(share), TRICKLE_BURST) for path in names.TRICKLING}


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
