"""What the month has cost, for everybody to see: asked of all who know a part of it, at once."""

import datetime
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tlfif import aws, emf, names, nodes
from tlfif.environment import CostPublisher
from tlfif.log import log
from tlfif.money import billing, months, spending, uptime
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

# The guardian stores a ledger in which nothing changed only so often; from an older one it has
# died, and nodes that start since may have run before.
ALIVE_S = 1_200.0
ASKERS = 7
DAY_S = 86_400.0


@dataclass(frozen=True)
class Clients:
    """boto3's; `ce` is Cost Explorer's."""

    s3: Any
    ec2: Any
    budgets: Any
    ce: Any


@dataclass(frozen=True)
class Known:
    """What the documents say; all but the tariff may be missing."""

    tariff: Tariff | None
    ledger: Ledger | None
    metered: Metered | None
    billed: Billed | None


def publish(told: CostPublisher, clients: Clients, now: float) -> None:
    """Emits what the month has cost, and stores what AWS says of it. Raises aws.Unavailable and
    ValueError where a document cannot be read: a figure without it would be too low.
    """
    with ThreadPoolExecutor(ASKERS) as askers:
        known = askers.submit(_known, clients.s3, told.replies_bucket, askers)
        actual = askers.submit(_budget_usd, clients.budgets, told)
        found = askers.submit(_nodes, clients.ec2, told.stack)
        billed = known.result().billed
        asks = told.cost_source == "costExplorer" or _is_due(billed, now)
        explored = askers.submit(_explored_usd, clients.ce, told, now) if asks else None
        figures = [actual.result(), explored.result() if explored else None]
    _publish(told, clients.s3, known.result(), figures, found, now, asked=asks)


def _publish(
    told: CostPublisher,
    s3: Any,
    known: Known,
    figures: list[float | None],
    found: "Future[list[nodes.Node]]",
    now: float,
    *,
    asked: bool,
) -> None:
    tariff = known.tariff
    if tariff is None:
        log("no tariff yet, so no money is counted")
        return
    ledger = uptime.counted(known.ledger or uptime.begun(now), found.result(), now, ALIVE_S)
    own = spending.own_usd(tariff, ledger, known.metered, now)
    variable = spending.variable_usd(tariff, ledger, known.metered)
    billed = known.billed
    if answers := [each for each in figures if each is not None]:
        billed = billing.seen(billed, max(answers), own, variable, now)
    if billed is not None and asked:
        billed = replace(billed, asked_at=now)
    spent = spending.spend_usd(own, billed, now)
    emf.emit(
        names.NAMESPACE_COST,
        told.stack,
        {names.METRIC_CURRENT_SPEND_EUR: round(spent / tariff.usd_per_eur, 4)},
        "None",
        ownUsd=round(own, 4),
        actualUsd=billed.actual_usd if billed else None,
        ledgerAt=months.iso(known.ledger.at) if known.ledger else None,
    )
    if billed is not None and billed != known.billed:
        billed.save(s3, told.replies_bucket)


def _known(s3: Any, bucket: str, askers: ThreadPoolExecutor) -> Known:
    tariff = askers.submit(Tariff.load, s3, bucket)
    ledger = askers.submit(Ledger.load, s3, bucket)
    metered = askers.submit(Metered.load, s3, bucket)
    billed = Billed.load(s3, bucket)
    return Known(tariff.result(), ledger.result(), metered.result(), billed)


def _nodes(ec2: Any, stack: str) -> list[nodes.Node]:
    """The stack's nodes; none where EC2 does not answer: those that ran count as running then."""
    try:
        with aws.answering():
            return nodes.find(ec2, stack)
    except aws.Unavailable as error:
        log("nodes not found", "ERROR", why=str(error))
        return []


def _budget_usd(budgets: Any, told: CostPublisher) -> float | None:
    """What AWS Budgets says was spent this month; None where it says nothing."""
    named = {"AccountId": told.account_id, "BudgetName": told.budget_name}
    try:
        with aws.answering():
            budget = budgets.describe_budget(**named)["Budget"]
        return float(budget["CalculatedSpend"]["ActualSpend"]["Amount"])
    except (aws.Unavailable, KeyError, ValueError) as error:
        log("budget not read", "ERROR", why=str(error))
        return None


def _is_due(billed: Billed | None, now: float) -> bool:
    """Whether Cost Explorer was not asked today yet; each time costs a cent."""
    return billed is not None and billed.asked_at // DAY_S < now // DAY_S


def _explored_usd(ce: Any, told: CostPublisher, now: float) -> float | None:
    """What Cost Explorer says was spent this month; None where it says nothing in time."""
    tomorrow = datetime.datetime.fromtimestamp(now + DAY_S, months.UTC).date()
    first = datetime.datetime.fromtimestamp(months.begin(now), months.UTC).date()
    ours = {"Tags": {"Key": names.ENV_TAG, "Values": [names.ENV_VALUE]}}
    try:
        with aws.answering():
            answer = ce.get_cost_and_usage(
                TimePeriod={"Start": first.isoformat(), "End": tomorrow.isoformat()},
                Granularity="MONTHLY",
                Metrics=["UnblendedCost"],
                **({"Filter": ours} if told.cost_scope == "tag" else {}),
            )
        results = answer["ResultsByTime"]
        return sum(
            float(each["Total"]["UnblendedCost"]["Amount"])
            for each in results
            if each["TimePeriod"]["Start"][:7] == months.month(now)
        )
    except (aws.Unavailable, KeyError, ValueError) as error:
        log("Cost Explorer not read", "ERROR", why=str(error))
        return None
