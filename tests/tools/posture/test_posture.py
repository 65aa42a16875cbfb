"""What checkov finds: each decided on, for the resources it was decided for and no others."""

import json
import re
from typing import Any

import pytest
from support.recordings import evaluate

from recording import kinds
from tools.posture import __main__ as command
from tools.posture import checkov, plans
from tools.posture.decisions import DECISIONS, table
from tools.posture.judgement import Decision, Finding, findings, verdict

FLOW = Decision(check="CKV2_AWS_11", asks="flow logs", where=("aws_vpc.network-*",), why="because")


def failed(check: str, resource: str, stack: str = "dev") -> dict[str, str]:
    return {
        "check_id": check,
        "check_name": f"Ensure {check}",
        "resource": resource,
        "file_path": f"/{stack}.json",
    }


def report(*checks: dict[str, str], unread: tuple[str, ...] = (), resources: int = 9) -> Any:
    """As checkov 3.3.30 says it with --quiet."""
    return {
        "check_type": "terraform_plan",
        "results": {"failed_checks": list(checks), "parsing_errors": list(unread)},
        "summary": {"passed": 1, "failed": len(checks), "resource_count": resources},
    }


def test_what_was_decided_on_is_no_fault() -> None:
    found = findings(report(failed("CKV2_AWS_11", "aws_vpc.network-vpc")))
    assert found == {
        Finding(
            check="CKV2_AWS_11",
            address="aws_vpc.network-vpc",
            stack="dev",
            asks="Ensure CKV2_AWS_11",
        )
    }
    assert verdict(found, [FLOW]) == []


def test_a_new_kind_is_one_line_with_where_it_is() -> None:
    found = findings(
        report(
            failed("CKV2_AWS_11", "aws_vpc.network-vpc"),
            failed("CKV_AWS_53", "aws_s3_bucket.a", "dev"),
            failed("CKV_AWS_53", "aws_s3_bucket.a", "prod"),
            failed("CKV_AWS_53", "aws_s3_bucket.b", "prod"),
        )
    )
    assert verdict(found, [FLOW]) == [
        "CKV_AWS_53 Ensure CKV_AWS_53: aws_s3_bucket.a (dev, prod), aws_s3_bucket.b (prod). "
        "Mend it, or decide in tools/posture/decisions.py why not"
    ]


def test_a_decision_holds_for_its_own_resources_alone() -> None:
    found = findings(
        report(
            failed("CKV2_AWS_11", "aws_vpc.network-vpc"), failed("CKV2_AWS_11", "aws_vpc.another")
        )
    )
    (line,) = verdict(found, [FLOW])
    assert "aws_vpc.another (dev)" in line
    assert "network-vpc" not in line


def test_a_decision_that_nothing_needs_any_more_is_named_where_all_is_judged() -> None:
    found = findings(report(failed("CKV2_AWS_11", "aws_vpc.network-vpc")))
    gone = Decision(check="CKV_AWS_1", asks="?", where=("aws_vpc.*",), why="because")
    assert verdict(found, [FLOW, gone]) == [
        "CKV_AWS_1 aws_vpc.*: decided on, and found in no stack: remove it"
    ]
    assert verdict(found, [FLOW, gone], whole=False) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"passed": 0, "failed": 0, "resource_count": 0}, "judged no resource"),
        ([], "judged no resource"),
        (report(unread=("/dev.json",)), "could not read /dev.json"),
        (report(resources=0), "judged no resource"),
    ],
)
def test_a_report_on_nothing_is_no_good_report(said: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        findings(said)


def test_each_decision_is_one_line_and_there_is_one_for_each_check() -> None:
    checks = [one.check for one in DECISIONS]
    assert len(set(checks)) == len(checks)
    assert all(one.why and one.asks and one.where and "|" not in one.why for one in DECISIONS)
    assert len(table().splitlines()) == len(DECISIONS) + 2


def test_the_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["staging"]) == 1
    assert "posture: staging: no such stack; there are dev" in capsys.readouterr().err

    def nothing(names: Any) -> set[Finding]:
        raise plans.PlansError("Terraform was not found")

    monkeypatch.setattr(command, "judged", nothing)
    assert command.main(["dev"]) == 1
    assert capsys.readouterr().err == "posture: Terraform was not found\n"


def test_the_command_fails_by_a_new_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = findings(report(failed("CKV_AWS_53", "aws_s3_bucket.storage-replies")))
    monkeypatch.setattr(command, "judged", lambda names: found)
    assert command.main(["dev", "--json"]) == 1
    out = capsys.readouterr()
    assert json.loads(out.out)[0]["address"] == "aws_s3_bucket.storage-replies"
    assert "CKV_AWS_53 Ensure CKV_AWS_53: aws_s3_bucket.storage-replies (dev)" in out.err


@pytest.mark.integration
@pytest.mark.story("RED-001", "OPS-003")
def test_the_stacks_have_only_findings_that_were_decided_on() -> None:
    """Only literal's, which has what every decision was made for: dev and prod declare next to
    nothing that it does not. `make posture` judges all three.
    """
    try:
        program = checkov.install()
    except checkov.CheckovError as error:
        pytest.skip(f"checkov could not be installed: {error}")
    try:
        planned = plans.planned(["literal"])
    except plans.PlansError as error:
        pytest.skip(str(error))
    found = findings(checkov.judge(program, planned))
    assert {each.stack for each in found} == {"literal"}
    assert verdict(found, DECISIONS) == []


def test_the_reasons_days_are_those_for_which_logs_are_kept() -> None:
    [decision] = [each for each in DECISIONS if each.check == "CKV_AWS_338"]
    groups = evaluate("literal").of_type(kinds.monitoring.LOG_GROUP.token)
    kept = {each.name: each.inputs["retentionInDays"] for each in groups}
    said = [int(days) for days in re.findall(r"\b\d+\b", decision.why)]
    assert set(said) == set(kept.values())
    assert {name for name, days in kept.items() if days == said[1]} == {
        "gateway-access-logs",
        "delivery-logs",
        "gpu-image-logs",
    }
    assert [name for name, days in kept.items() if days == said[2]] == [
        "router-payload-samples-logs"
    ]
