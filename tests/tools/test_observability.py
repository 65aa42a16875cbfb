"""observability/ is what the program declares, and cfn-lint passes it, and nothing less."""

import json
from typing import Any

import pytest
from support.recordings import evaluate

from recording.references import link
from recording.terraform import Terraform, find_plugins, find_terraform
from tools import observability


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return observability.template(evaluate("dev"))


@pytest.mark.story("OPS-001", "OPS-004")
def test_the_committed_dashboard_is_the_deployed_one() -> None:
    deployed = observability.text(observability.body(evaluate("dev")))
    assert observability.BODY.read_text() == deployed, "make dashboard"


@pytest.mark.story("OPS-001", "OPS-004")
def test_cfn_lint_passes_dashboard_and_alarms_and_names_each_widget_that_is_missing(
    template: dict[str, Any],
) -> None:
    assert observability.lint(template) == []
    kinds = {each["Type"] for each in template["Resources"].values()}
    assert kinds == {"AWS::CloudWatch::Dashboard", "AWS::CloudWatch::Alarm"}

    faulty: dict[str, Any] = {
        name: {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": body}}
        for name, body in faulty_bodies(template).items()
    }
    faulty["Alarm"] = {**template["Resources"]["GatewaySlow"]}
    faulty["Alarm"]["Properties"] = {**faulty["Alarm"]["Properties"], "Period": 45}
    found = "\n".join(observability.lint({"Resources": faulty}))
    for metric in ("utilization_gpu", "QueueDepth", "Latency", "CurrentSpendEUR", "JobsDone"):
        assert f"Without{metric.replace('_', '')}" in found
    assert "no widget shows VRAM (nvidia_smi_memory_total, nvidia_smi_memory_used)" in found
    assert "p95 latency: the statistic is Average, not p95" in found
    assert "CurrentSpendEUR: no threshold is drawn" in found
    assert "45 is not one of [10, 30, 60] or a multiple of 60" in found


def faulty_bodies(template: dict[str, Any]) -> dict[str, str]:
    """The dashboard without one of its widgets each, or with a widget that says less."""
    text = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]

    def without(part: str) -> str:
        body = json.loads(text)
        body["widgets"] = [each for each in body["widgets"] if part not in json.dumps(each)]
        return json.dumps(body)

    parts = ("utilization_gpu", "memory_used", "QueueDepth", "Latency", "CurrentSpendEUR")
    bodies = {f"Without{each.replace('_', '')}": without(each) for each in (*parts, "JobsDone")}
    bodies["Average"] = text.replace('"stat": "p95"', '"stat": "Average"')
    bodies["Unmarked"] = text.replace('"annotations"', '"notes"')
    return bodies


@pytest.mark.integration
@pytest.mark.story("OPS-001")
def test_the_terraform_module_of_the_budget_alarms_is_the_programs(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program, plugins = find_terraform(), find_plugins()
    if program is None or plugins is None:
        pytest.skip("Terraform with a mirror of its AWS provider was not found")
    terraform = Terraform(tmp_path_factory.mktemp("budget"), program=program, plugins=plugins)
    module = observability.budget_alarms(link("dev"), terraform.schema())
    committed = observability.BUDGET_ALARMS.read_text()
    assert committed == observability.text(module), "make dashboard"
    assert set(module["resource"]["aws_cloudwatch_metric_alarm"]) == set(observability.SPEND)
    [budget] = module["resource"]["aws_budgets_budget"].values()
    assert [each["threshold"] for each in budget["notification"]] == [75, 100]
