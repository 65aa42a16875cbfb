"""What AWS says that the account has cost: Budgets, with its notifications, and Cost Explorer.

AWS's figures come from outside; here from whoever sets them. moto keeps budgets, but knows no
figure, fires nothing and changes none.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.aws.answers import Ask, json_answer
from local.aws.errors import AwsError
from local.aws.messages import Answer
from local.aws.requests import AwsRequest
from local.monitoring.topics import Topics
from recording import kinds
from recording.model import ACCOUNT_ID, Recording

BUDGET = kinds.monitoring.BUDGET.token
SERVICE = "budgets.amazonaws.com"


@dataclass(frozen=True, kw_only=True)
class _Threshold:
    """A notification: it fires when the figure passes so much of the limit, or so much."""

    percent: bool
    threshold: float
    topics: tuple[str, ...]

    def usd(self, limit_usd: float) -> float:
        return limit_usd * self.threshold / 100 if self.percent else self.threshold


@dataclass(kw_only=True)
class _Budget:
    limit_usd: float
    thresholds: list[_Threshold]
    fired: set[_Threshold]


class Billing:
    """`billing.bill(usd)` is AWS's next figure of the month: budgets then fire what it passes."""

    def __init__(self, topics: Topics) -> None:
        self.actual_usd = 0.0
        self._topics = topics
        self._budgets: dict[str, _Budget] = {}

    def adopt(self, recording: Recording) -> None:
        """Takes the budgets from what is deployed; what fired once this month does not again."""
        old = self._budgets
        self._budgets = {}
        for each in recording.of_type(BUDGET):
            name, inputs = each.outputs["name"], each.inputs
            fired = old[name].fired if name in old else set[_Threshold]()
            self._budgets[name] = _Budget(
                limit_usd=float(inputs["limitAmount"]),
                thresholds=[_threshold(told) for told in inputs.get("notifications", ())],
                fired=fired,
            )
        self._fire()

    def bill(self, actual_usd: float) -> None:
        """AWS has billed so much until now."""
        self.actual_usd = actual_usd
        self._fire()

    def limit(self, name: str) -> float:
        """A budget's limit in USD. Raises KeyError."""
        return self._budgets[name].limit_usd

    def _fire(self) -> None:
        for name, budget in self._budgets.items():
            for each in budget.thresholds:
                passed = self.actual_usd > each.usd(budget.limit_usd)
                if not passed:
                    budget.fired.discard(each)
                elif each not in budget.fired:
                    budget.fired.add(each)
                    self._tell(name, budget, each)

    def _tell(self, name: str, budget: _Budget, passed: _Threshold) -> None:
        subject = f"AWS Budgets: {name} has exceeded your alert threshold"
        text = _mail(name, budget.limit_usd, passed.usd(budget.limit_usd), self.actual_usd)
        for topic in passed.topics:
            self._topics.publish_from(SERVICE, topic, subject, text)

    # --- the APIs

    async def describe(self, request: AwsRequest, ask: Ask) -> Answer:
        """DescribeBudget: moto's answer with the figure in it."""
        answer = await ask()
        if answer.status != 200:
            return answer
        body = json.loads(answer.body)
        budget = body["Budget"]
        known = self._budgets.get(budget["BudgetName"])
        if known:
            budget["BudgetLimit"] = {"Amount": f"{known.limit_usd:.2f}", "Unit": "USD"}
        budget["CalculatedSpend"] = {"ActualSpend": _usd(self.actual_usd)}
        return json_answer(body)

    async def update(self, request: AwsRequest, ask: Ask) -> Answer:
        """UpdateBudget: of a new budget the limit counts; a notification may fire anew."""
        told: Mapping[str, Any] = request.params["NewBudget"]
        budget = self._budgets.get(told["BudgetName"])
        if budget is None:
            name = told["BudgetName"]
            raise AwsError(400, "NotFoundException", f"Unable to update budget: {name}")
        budget.limit_usd = float(told["BudgetLimit"]["Amount"])
        self._fire()
        return json_answer({})

    async def cost(self, request: AwsRequest, ask: Ask) -> Answer:
        """GetCostAndUsage: one period with the figure, by every metric that was asked for."""
        metrics = request.params.get("Metrics", ())
        total = {name: _usd(self.actual_usd) for name in metrics}
        period = request.params["TimePeriod"]
        result = {"TimePeriod": period, "Total": total, "Groups": [], "Estimated": True}
        return json_answer({"ResultsByTime": [result], "DimensionValueAttributes": []})


def _usd(amount: float) -> dict[str, str]:
    return {"Amount": f"{amount:.10g}", "Unit": "USD"}


def _threshold(told: Mapping[str, Any]) -> _Threshold:
    return _Threshold(
        percent=told["thresholdType"] == "PERCENTAGE",
        threshold=float(told["threshold"]),
        topics=tuple(told.get("subscriberSnsTopicArns", ())),
    )


def _mail(name: str, limit_usd: float, threshold_usd: float, actual_usd: float) -> str:
    """The text of Budgets' own messages."""
    return "\n".join(
        [
            f"AWS Budget Notification {time.strftime('%B %d, %Y', time.gmtime())}",
            f"AWS Account {ACCOUNT_ID}",
            "",
            "Dear AWS Customer,",
            "",
            f"You requested that we alert you when the ACTUAL Cost associated with your {name}"
            f" budget is greater than ${threshold_usd:.2f} for the current month. The ACTUAL Cost"
            f" associated with this budget is ${actual_usd:.2f}.",
            "",
            f"Budget Name: {name}",
            "Budget Type: Cost",
            f"Budgeted Amount: ${limit_usd:.2f}",
            "Alert Type: ACTUAL",
            f"Alert Threshold: > ${threshold_usd:.2f}",
            f"ACTUAL Amount: ${actual_usd:.2f}",
        ]
    )
