"""What `observability/` has of the program, and cfn-lint's verdict on it (`make dashboard`)."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.billed import ALARM, DASHBOARD
from recording import kinds, shipped
from recording.evaluate import evaluate
from recording.model import ACCOUNT_ID, ROOT, Recording, Resource
from recording.references import Linked, link
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import translate

FOLDER = ROOT / "observability"
BODY, BUDGET_ALARMS = FOLDER / "dashboard.json", FOLDER / "budget_alarms" / "main.tf.json"
RULES = FOLDER / "cfn_rules"
STACK = "dev"
SPEND = ("watch-spend-warns", "watch-spend-stops")


def body(recording: Recording) -> dict[str, Any]:
    """The dashboard that a stack deploys."""
    return json.loads(recording.one(DASHBOARD).inputs["dashboardBody"])


def text(document: Any) -> str:
    """JSON as it is committed."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def template(recording: Recording) -> dict[str, Any]:
    """Dashboard and alarms of a stack as a CloudFormation template."""
    dashboard = recording.one(DASHBOARD).inputs
    resources: dict[str, Any] = {
        "Dashboard": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {
                "DashboardName": dashboard["dashboardName"],
                "DashboardBody": dashboard["dashboardBody"],
            },
        }
    }
    for alarm in recording.of_type(ALARM):
        logical = "".join(part.capitalize() for part in alarm.name.split("-"))
        properties = _alarm(alarm.inputs)
        resources[logical] = {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


# What CloudFormation calls otherwise than Pulumi.
_RENAMED = {
    "actionsEnabled": "ActionsEnabled",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
    "okActions": "OKActions",
}


def _alarm(inputs: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in inputs.items() if key not in ("tags", "name")}
    dimensions = kept.pop("dimensions")
    properties = {_RENAMED.get(key, key[0].upper() + key[1:]): kept[key] for key in kept}
    listed = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    return {**properties, "Dimensions": listed}


def budget_alarms(linked: Linked, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A Terraform module of the budget and of the spend alarms, with the topics that they need."""
    kept = _with_topics(linked.recording)
    configuration, _ = translate(
        replace(linked, recording=replace(linked.recording, resources=kept, outputs={})),
        dict(schema),
    )
    # Where it runs, and as whom, is its caller's.
    account = {"type": "string", "description": "the account whose budgets and alarms publish"}
    resources = json.dumps(configuration["resource"]).replace(ACCOUNT_ID, "${var.account_id}")
    return {
        "terraform": configuration["terraform"],
        "variable": {"account_id": account},
        "resource": json.loads(resources),
    }


def _with_topics(recording: Recording) -> list[Resource]:
    """Budget, spend alarms and topics; what hears of them is the rest of the program's."""
    whole = (
        kinds.monitoring.BUDGET.token,
        kinds.monitoring.TOPIC.token,
        kinds.monitoring.TOPIC_POLICY.token,
    )
    kept = [r for r in recording.resources if r.type in whole or r.name in SPEND]
    there = {resource.urn for resource in kept}
    return [
        replace(each, dependencies=[urn for urn in each.dependencies if urn in there])
        for each in kept
    ]


def lint(document: Mapping[str, Any]) -> list[str]:
    """What cfn-lint and our own rules find in a template."""
    # Takes seconds to import, and is there for developers only.
    from cfnlint.api import lint as judge
    from cfnlint.core import get_rules

    rules = get_rules([str(RULES)], [], ["W"])
    found = judge(json.dumps(document), rules, ["us-east-1"])
    return [_said(match) for match in found]


def _said(match: Any) -> str:
    return f"{'/'.join(map(str, match.path))}: {match}"


def main() -> None:
    """Writes what has changed, and ends with 1 if cfn-lint finds fault with it."""
    shipped.show()
    recording = evaluate(STACK)
    _write(BODY, text(body(recording)))
    program, plugins = find_terraform(), find_plugins()
    if program and plugins:
        folder = ROOT / ".cache" / "terraform" / "budget-alarms"
        folder.mkdir(parents=True, exist_ok=True)
        schema = Terraform(folder, program=program, plugins=plugins).schema()
        _write(BUDGET_ALARMS, text(budget_alarms(link(STACK), schema)))
    else:
        print("Terraform with its AWS provider is not here: its module stays", file=sys.stderr)
    if faults := lint(template(recording)):
        raise SystemExit("\n".join(faults))


def _write(path: Any, content: str) -> None:
    if not path.exists() or path.read_text() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(f"written: {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
