"""What the month has cost, for everybody to see: asked of all who know a part of it, at once."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tlfif import aws, emf, names, nodes
from tlfif.environment import CostPublisher
from tlfif.log import log
from tlfif.money import looking, months, throttling
from tlfif.money.deciding import Decision
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

ASKERS = 7


@dataclass(frozen=True)
class Clients:
    """boto3's; `ce` is Cost Explorer's."""

    s3: Any
    ec2: Any
    budgets: Any
    ce: Any
    apigateway: Any
    sns: Any


@dataclass(frozen=True)
class Known:
    """What the documents say; all but the tariff may be missing."""

    tariff: Tariff | None
    ledger: Ledger | None
    metered: Metered | None
    billed: Billed | None


def publish(told: CostPublisher, clients: Clients, now: float) -> None:
    """Emits what the month has cost, stores what AWS says of it, and has the nodes stopped if the
    guardian is dead and the money ends. Raises aws.Unavailable and ValueError where a document
    cannot be read: a figure without it would be too low.
    """
    with ThreadPoolExecutor(ASKERS) as askers:
        documents = askers.submit(_known, clients.s3, told.replies_bucket, askers)
        budget = askers.submit(_budget_usd, clients.budgets, told)
        found = askers.submit(_nodes, clients.ec2, told)
        known = documents.result()
        asks = told.cost_source == "costExplorer" or _is_due(known.billed, now)
        explored = askers.submit(_explored_usd, clients.ce, told, now) if asks else None
        figures = [budget.result(), explored.result() if explored else None]
    if known.tariff is None:
        log("no tariff yet, so no money is counted")
        return
    figure = max((each for each in figures if each is not None), default=None)
    looked = looking.published(
        known.tariff, known.ledger, known.metered, known.billed, figure, found.result(), now
    )
    seen, billed = looked.seen, looked.billed
    if asks:
        billed = replace(billed, asked_at=now)
    emf.emit(
        names.NAMESPACE_COST,
        told.stack,
        {names.METRIC_CURRENT_SPEND_EUR: round(seen.spent_usd / known.tariff.usd_per_eur, 4)},
        "None",
        ownUsd=round(seen.own_usd, 4),
        actualUsd=billed.actual_usd,
        degree=seen.decision.degree.value,
    )
    guards = throttling.Known(
        tariff=known.tariff,
        ledger=known.ledger,
        metered=known.metered or Metered(month=months.month(now), at=0.0),
        billed=billed,
    )
    if throttling.is_unmetered(guards, now):
        _close(clients.apigateway, told, guards, now)
    if told.stop_topic_arn and looked.stop:
        _have_stopped(clients.sns, told, seen.decision)
    if billed != known.billed:
        billed.save(clients.s3, told.replies_bucket)


def _close(apigateway: Any, told: CostPublisher, known: throttling.Known, now: float) -> None:
    """Throttles the stage where nobody else does; who opens it again is the meter."""
    rates = throttling.wanted(throttling.degree(known, now), known, now)
    try:
        changed = throttling.apply(apigateway, told.api_id, told.stage, rates)
    except aws.Unavailable as error:
        log("stage not throttled", "ERROR", why=str(error))
    else:
        log("the meter is dead", "ERROR", throttled=changed)


def _have_stopped(sns: Any, told: CostPublisher, decision: Decision) -> None:
    try:
        with aws.answering():
            sns.publish(
                TopicArn=told.stop_topic_arn,
                Subject=f"tl-fif {told.stack}: the month's money ends",
                Message=f"{decision.why}; the guardian is dead.",
            )
    except aws.Unavailable as error:
        log("stop not asked for", "ERROR", why=str(error))
    else:
        log("stop asked for", why=decision.why)


def _known(s3: Any, bucket: str, askers: ThreadPoolExecutor) -> Known:
    tariff = askers.submit(Tariff.load, s3, bucket)
    ledger = askers.submit(Ledger.load, s3, bucket)
    metered = askers.submit(Metered.load, s3, bucket)
    billed = Billed.load(s3, bucket)
    return Known(tariff.result(), ledger.result(), metered.result(), billed)


def _nodes(ec2: Any, told: CostPublisher) -> list[nodes.Node] | None:
    """The stack's nodes; None where EC2 does not answer."""
    return nodes.look(ec2, told.stack) if told.gpu_count else []


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
    return billed is not None and billed.asked_at // months.DAY_S < now // months.DAY_S


def _explored_usd(ce: Any, told: CostPublisher, now: float) -> float | None:
    """What Cost Explorer says was spent this month; None where it says nothing in time."""
    tomorrow = datetime.datetime.fromtimestamp(now + months.DAY_S, months.UTC).date()
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
