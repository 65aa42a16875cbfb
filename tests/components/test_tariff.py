"""The tariff that the program writes is the bill, and the publisher is told what it asks."""

import json

import pytest
from support.recordings import evaluate

from recording import kinds
from recording.model import Recording
from tlfif.environment import CostPublisher
from tlfif.money import spending
from tlfif.money.documents import Tariff


def tariff(recording: Recording) -> Tariff:
    document = recording.one(kinds.s3.BUCKET_OBJECT.token, "tariff-document")
    assert document.inputs["key"] == "money/tariff.json"
    return Tariff.parse(document.inputs["content"])


@pytest.mark.story("OPS-002")
@pytest.mark.parametrize("stack", ["dev", "literal"])
def test_a_month_by_the_tariff_is_the_month_of_the_preview(stack: str) -> None:
    recording = evaluate(stack)
    told, month = tariff(recording), [row for row in recording.bill if row["per"] == "month"]
    total = sum(row["usd"] for row in month)
    assert told.fixed_usd + told.assumed_usd == pytest.approx(total)
    used: dict[str, float] = {}
    for row in month:
        if row["item"] in told.prices:
            used[row["item"]] = used.get(row["item"], 0.0) + row["quantity"]
    assert spending.usage_usd(told, used) == pytest.approx(told.assumed_usd)
    begin = 1_793_491_200.0
    left = spending.gpu_hours_left(told, 0.0, begin)
    assert left == pytest.approx(recording.outputs["cost_gpu_hours_left"], abs=0.051)


@pytest.mark.story("OPS-002")
def test_a_second_of_the_lane_costs_what_the_preview_says() -> None:
    told = tariff(evaluate("dev"))
    lane = [row for row in evaluate("dev").bill if row["per"] == "lane-hour"]
    assert {item: each * 3600 for item, each in told.lane_units.items()} == pytest.approx(
        {row["item"]: row["quantity"] for row in lane}
    )


@pytest.mark.story("OPS-002")
def test_the_publisher_runs_every_15_minutes_for_3_seconds_at_most() -> None:
    recording = evaluate("literal")
    function = recording.one(kinds.lambda_.FUNCTION.token, "cost-publisher-function")
    assert function.inputs["timeout"] == 3
    assert "vpcConfig" not in function.inputs
    rule = recording.one(kinds.monitoring.EVENT_RULE.token, "cost-publisher-schedule")
    assert rule.inputs["scheduleExpression"] == "rate(15 minutes)"
    told = CostPublisher.read(function.inputs["environment"]["variables"])
    assert (told.budget_name, told.cost_source) == ("tl-fif-literal", "costExplorer")


@pytest.mark.story("OPS-002", "OPS-003")
def test_the_publisher_may_read_its_budget_and_write_its_own_document() -> None:
    recording = evaluate("dev")
    policy = recording.one(kinds.iam.ROLE_POLICY.token, "cost-publisher-policy")
    granted = {each["Sid"]: each for each in json.loads(policy.inputs["policy"])["Statement"]}
    bucket = f"arn:aws:s3:::{recording.outputs['replies_bucket']}"
    assert granted["ReadMoney"]["Resource"] == f"{bucket}/money/*"
    assert granted["WriteMoney"]["Resource"] == [f"{bucket}/money/billed.json"]
    assert granted["ReadBudget"]["Resource"].endswith(":budget/tl-fif-dev")
    assert granted["ReadBudget"]["Action"] == ["budgets:ViewBudget"]
