"""The delivery pipeline as the program declares it: its stages, who may do what, what it costs, and
what of it somebody can set wrongly.
"""

import json
from typing import Any, ClassVar

import pytest
from support.program import (
    ALARM,
    CONNECTION,
    FUNCTION,
    LOG_GROUP,
    PIPED,
    POLICY,
    evaluate,
    statements,
)

from components import delivery
from components.settings import Settings, SettingsError
from recording import kinds
from recording.engine import SECRET
from recording.invented import RecordingBackend
from recording.model import Recording
from recording.shipped import stack_file
from tlfif import names
from tools.delivery.shifting import SETTLING_MINUTES

PIPELINE, PROJECT = kinds.delivery.PIPELINE.token, kinds.delivery.PROJECT.token
STAGES = ("test", "bake", "deploy", "smoke")
WEBHOOK = "https://hooks.example.com/services/T0/B0/KEY"
# CodeBuild's limit for all variables of a build together, names and values.
VARIABLES_LIMIT = 5500


@pytest.fixture(scope="module")
def piped() -> Recording:
    return evaluate("dev", config=PIPED)


def stages(recording: Recording) -> dict[str, dict[str, Any]]:
    """Each action, by its own name."""
    found = recording.one(PIPELINE).inputs["stages"]
    return {action["name"]: action for stage in found for action in stage["actions"]}


def variables(recording: Recording, stage: str) -> dict[str, str]:
    listed = recording.one(PROJECT, f"delivery-{stage}-project").inputs["environment"]
    return {each["name"]: each["value"] for each in listed["environmentVariables"]}


def actions(recording: Recording, role: str) -> set[str]:
    """Every action that a role's policy grants."""
    granted = statements(recording, f"{role}-policy").values()
    return {action for each in granted for action in each["Action"]}


def in_pipeline(recording: Recording) -> list[dict[str, Any]]:
    return [each for each in recording.bill if each["what"].startswith("pipeline: ")]


# --- the stages


@pytest.mark.story("CI-001")
def test_a_push_is_tested_baked_deployed_and_tried_in_this_order(piped: Recording) -> None:
    pipeline = piped.one(PIPELINE).inputs
    assert (pipeline["pipelineType"], pipeline["executionMode"]) == ("V2", "QUEUED")
    found = stages(piped)
    assert list(found) == ["Source", "Test", "Bake", "Deploy", "Smoke"]
    # One stage, which one commit has at a time: none deploys while another is being proved.
    stage = pipeline["stages"][-1]
    ordered = [(each["name"], each["runOrder"]) for each in stage["actions"]]
    assert (stage["name"], ordered) == ("Deploy", [("Deploy", 1), ("Smoke", 2)])
    assert all(len(each["actions"]) == 1 for each in pipeline["stages"][:-1])
    assert found["Source"]["configuration"] == {
        "ConnectionArn": CONNECTION,
        "FullRepositoryId": "example/tl-fif",
        "BranchName": "main",
        "OutputArtifactFormat": "CODEBUILD_CLONE_REF",
        "DetectChanges": "true",
    }
    for name, action in found.items():
        assert action["namespace"] == name
        if name != "Source":
            assert action["configuration"]["ProjectName"] == f"tl-fif-dev-{name.lower()}"
            assert action["inputArtifacts"] == found["Source"]["outputArtifacts"]


@pytest.mark.story("CI-002")
def test_each_stage_is_a_build_on_arm_of_a_file_in_the_repository(piped: Recording) -> None:
    for stage in STAGES:
        project = piped.one(PROJECT, f"delivery-{stage}-project").inputs
        environment = project["environment"]
        assert project["source"] == {
            "type": "CODEPIPELINE",
            "buildspec": f"delivery/{stage}.yml",
        }
        assert environment["image"] == "aws/codebuild/amazonlinux-aarch64-standard:3.0"
        assert environment["type"] == "ARM_CONTAINER"
        medium = environment["computeType"] == "BUILD_GENERAL1_MEDIUM"
        assert medium == (stage == "test")
        assert not environment.get("privilegedMode")


def test_without_nodes_nothing_is_baked() -> None:
    recording = evaluate("dev", config={**PIPED, "tl-fif:gpu": {"wake": "never"}})
    assert "Bake" not in stages(recording)
    assert "image_recipe_version" not in recording.outputs
    assert [each for each in in_pipeline(recording) if "bake" in each["what"]] == []


@pytest.mark.story("CI-004", "CI-005")
def test_a_script_is_told_the_outputs_that_a_persons_command_reads(piped: Recording) -> None:
    for stage in STAGES:
        told = variables(piped, stage)
        assert told["STACK"] == "dev"
        assert told["ARTIFACTS_BUCKET"] == piped.outputs["artifacts_bucket"]
        assert sum(len(name) + len(value) for name, value in told.items()) < VARIABLES_LIMIT / 2
        outputs = json.loads(told["OUTPUTS_JSON"])
        assert outputs.items() <= piped.outputs.items()
        assert bool(outputs) == (stage != "test")
    needed = {"api_url", "user_pool_client_id", "router_arn", "probe_arn", "deploy_alarms"}
    assert needed < json.loads(variables(piped, "deploy")["OUTPUTS_JSON"]).keys()
    assert variables(piped, "deploy").items() >= {
        ("CANARY_PERCENT", "10"),
        ("CANARY_MINUTES", "5"),
    }


@pytest.mark.story("CI-005")
def test_the_smoke_test_knows_what_it_tries_and_what_comes_back(piped: Recording) -> None:
    told = json.loads(stages(piped)["Smoke"]["configuration"]["EnvironmentVariables"])
    assert {each["name"]: each["value"] for each in told} == {
        "VERSION": "#{Deploy.VERSION}",
        "PREVIOUS_VERSION": "#{Deploy.PREVIOUS_VERSION}",
    }


@pytest.mark.story("CI-002", "CI-005")
def test_coverage_and_smoke_tests_are_kept_for_a_week(piped: Recording) -> None:
    expiry = piped.one(kinds.s3.BUCKET_LIFECYCLE.token, "delivery-artifacts-expiry").inputs
    kept = {
        rule["filter"]["prefix"]: rule["expiration"]["days"]
        for rule in expiry["rules"]
        if "expiration" in rule
    }
    assert kept == {"coverage/": 7, "smoke/": 7, "": 14}


# --- who owns what


@pytest.mark.story("CI-004")
def test_the_routers_code_versions_and_alias_are_the_pipelines(
    piped: Recording, dev: Recording
) -> None:
    router, alias = (
        piped.one(FUNCTION, "router-function"),
        piped.one(kinds.lambda_.ALIAS.token),
    )
    assert router.inputs["publish"] is False
    assert router.ignore_changes == ["code", "sourceCodeHash"]
    assert alias.inputs["functionVersion"] == "$LATEST", "until the first deployment"
    assert alias.ignore_changes == ["description", "functionVersion", "routingConfig"]
    others = [each for each in piped.of_type(FUNCTION) if each.name != "router-function"]
    assert [each.name for each in others if each.ignore_changes] == []
    assert dev.one(FUNCTION, "router-function").ignore_changes == []


def test_without_a_connection_there_is_none_of_it(dev: Recording) -> None:
    assert [each.name for each in dev.resources if each.name.startswith("delivery")] == []
    assert in_pipeline(dev) == []
    assert not {"pipeline_name", "artifacts_bucket"} & dev.outputs.keys()
    assert dev.outputs["deploy_alarms"] == []


@pytest.mark.story("CI-004", "API-005")
def test_the_probe_is_there_for_deployments_and_on_a_schedule_where_it_is_the_stacks_own(
    piped: Recording, literal: Recording
) -> None:
    for recording in (piped, literal):
        probe = recording.one(FUNCTION, "health-probe-function")
        assert recording.outputs["probe_arn"] == probe.outputs["arn"]
    rules = {each.name for each in literal.of_type(kinds.monitoring.EVENT_RULE.token)}
    assert "health-probe-schedule" not in rules
    unpiped = evaluate(
        "literal", config={"tl-fif:delivery": {"connectionArn": None, "repository": None}}
    )
    assert "probe_arn" not in unpiped.outputs


# --- who may do what


@pytest.mark.story("CI-004")
def test_a_stages_role_may_what_its_script_does_and_no_more(piped: Recording) -> None:
    common = {
        "codeconnections:UseConnection",
        "codestar-connections:UseConnection",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:GetBucketAcl",
        "s3:GetBucketLocation",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:ListBucket",
    }
    own = {stage: actions(piped, f"delivery-{stage}") - common for stage in STAGES}
    assert own["test"] == {"s3:PutObject"}
    assert {each.partition(":")[0] for each in own["bake"]} == {"ec2", "imagebuilder", "ssm"}
    assert {each for each in own["smoke"] if each.startswith("lambda:")} == {
        "lambda:DeleteFunction",
        "lambda:GetAlias",
        "lambda:GetFunctionConfiguration",
        "lambda:InvokeFunction",
        "lambda:UpdateAlias",
    }
    for role in ("delivery", *(f"delivery-{stage}" for stage in STAGES)):
        granted = actions(piped, role)
        assert not {each for each in granted if each.startswith(("iam:", "sts:", "ssm:Put*"))}


@pytest.mark.story("CI-004")
def test_a_deployment_deletes_versions_and_never_the_router(piped: Recording) -> None:
    router = piped.outputs["router_arn"]
    found = statements(piped, "delivery-deploy-policy")
    assert found["PruneVersions"]["Resource"] == f"{router}:*"
    assert found["Release"]["Resource"] == router
    assert "lambda:DeleteFunction" not in found["Release"]["Action"]
    deleting = {
        policy.name
        for policy in piped.of_type(POLICY)
        if "lambda:DeleteFunction" in policy.inputs["policy"]
    }
    assert deleting == {"delivery-deploy-policy", "delivery-smoke-policy"}
    bad = statements(piped, "delivery-smoke-policy")["DeleteBadVersion"]
    assert bad["Resource"] == f"{router}:*"


def test_what_stages_leave_is_below_a_prefix_of_their_own(piped: Recording) -> None:
    bucket = piped.outputs["artifacts_bucket"]
    for stage, prefix in (("test", "coverage"), ("smoke", "smoke")):
        store = statements(piped, f"delivery-{stage}-policy")["Store"]
        assert store["Resource"] == f"arn:aws:s3:::{bucket}/{prefix}/*"


# --- who is told


@pytest.mark.story("CI-004")
def test_three_errors_in_a_minute_end_a_canary(piped: Recording) -> None:
    alarms = {each.name: each for each in piped.of_type(ALARM) if "delivery" in each.name}
    assert piped.outputs["deploy_alarms"] == [
        alarms[name].outputs["name"] for name in ("delivery-router-errors", "delivery-api-errors")
    ]
    for each in alarms.values():
        rule = each.inputs
        assert (rule["period"], rule["evaluationPeriods"], rule["threshold"]) == (60, 1, 3)
        assert rule["treatMissingData"] == "notBreaching"
    router, api = alarms["delivery-router-errors"].inputs, alarms["delivery-api-errors"].inputs
    assert router["dimensions"] == {
        "FunctionName": "tl-fif-dev-router",
        "Resource": "tl-fif-dev-router:prod",
    }
    assert (api["metricName"], api["dimensions"]["ApiName"]) == ("5XXError", "tl-fif-dev")
    priced = [each for each in piped.bill if each["item"] == "alarm"]
    assert len([each for each in priced if each["what"].endswith(("router", "minute"))]) == 2


@pytest.mark.story("CI-001")
def test_people_hear_how_a_run_ended_in_words(piped: Recording, dev: Recording) -> None:
    rule = piped.one(kinds.monitoring.EVENT_RULE.token, "delivery-ended").inputs
    assert json.loads(rule["eventPattern"])["detail"] == {
        "pipeline": ["tl-fif-dev"],
        "state": ["FAILED", "STOPPED", "SUCCEEDED", "SUPERSEDED"],
    }
    target = piped.one(kinds.monitoring.EVENT_TARGET.token, "delivery-ended-target").inputs
    assert target["arn"] == piped.outputs["alerts_topic_arn"]
    transformer = target["inputTransformer"]
    said = json.loads(transformer["inputTemplate"])
    for name in transformer["inputPaths"]:
        assert f"<{name}>" in said
    assert said.startswith("tl-fif dev: the delivery of a commit <state>. ")

    def publishers(recording: Recording) -> set[str]:
        kind = kinds.monitoring.TOPIC_POLICY.token
        policy = json.loads(recording.one(kind, "alerts-mail-policy").inputs["policy"])
        return {each["Principal"]["Service"] for each in policy["Statement"]}

    assert publishers(piped) - publishers(dev) == {"events.amazonaws.com"}


@pytest.mark.story("CI-004")
def test_slacks_webhook_is_a_secret_for_who_deploys() -> None:
    class Told(RecordingBackend):
        values: ClassVar[list[str]] = []

        def new_resource(self, args: Any) -> tuple[str | None, dict[str, Any]]:
            if args.name == "delivery-slack":
                self.values.append(args.inputs["value"])
            return super().new_resource(args)

    config = {"tl-fif:delivery": {**PIPED["tl-fif:delivery"], "slackWebhookUrl": WEBHOOK}}
    backend = Told("dev", "us-east-1")
    recording = evaluate("dev", backend, config=config)
    parameter = recording.one(kinds.ssm.PARAMETER.token, "delivery-slack").inputs
    assert (parameter["type"], parameter["value"]) == ("SecureString", SECRET)
    assert backend.values == [WEBHOOK]
    for stage in ("deploy", "smoke"):
        told = statements(recording, f"delivery-{stage}-policy")["TellSlack"]
        assert told["Resource"].endswith(f":parameter{parameter['name']}")
    assert parameter["name"] == f"{names.SLACK_PARAMETER}-dev"


def test_its_logs_are_kept_for_a_month_and_counted(piped: Recording) -> None:
    group = piped.one(LOG_GROUP, "delivery-logs").inputs
    assert (group["name"], group["retentionInDays"]) == ("/aws/codebuild/tl-fif-dev", 30)
    for stage in STAGES:
        logs = piped.one(PROJECT, f"delivery-{stage}-project").inputs["logsConfig"]
        assert logs["cloudwatchLogs"]["groupName"] == group["name"]


# --- money


@pytest.mark.story("CI-002", "CI-003")
def test_it_costs_by_pushes_and_their_canaries(piped: Recording) -> None:
    minutes = {
        each["what"].removeprefix("pipeline: "): each["quantity"] for each in in_pipeline(piped)
    }
    pushes, bakes = 4, 1
    assert minutes["test"] == 5 * pushes
    # Beside the canary's five, three to watch all of the traffic, and to set up.
    assert minutes["deploy"] == (5 + 5) * pushes
    assert delivery.DEPLOY_MINUTES == SETTLING_MINUTES + 2
    assert delivery.DEPLOY_LIMIT > 2 * delivery.DEPLOY_MINUTES
    assert minutes["bake"] == pushes + bakes * (12 + 3)
    assert minutes["actions"] == pushes + sum(minutes[stage] for stage in STAGES)
    settings = Settings.parse(
        {"aws:region": "us-east-1", **PIPED, "tl-fif:costs": {"pushesPerMonth": 0}}
    )
    idle = [each for each in delivery.cost_lines(settings) if each.quantity]
    assert {each.key for each in idle} <= {"costs:bakesPerMonth", "costs:pushesPerMonth"}
    usd = sum(each["usd"] for each in in_pipeline(piped))
    assert usd == pytest.approx(20 * 0.007), "but for the tests, within free tiers"


# --- mistakes


@pytest.mark.story("CI-001")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"connectionArn": CONNECTION},
            "delivery:repository = None: the pipeline has a ",
        ),
        ({"repository": "example/tl-fif"}, "delivery:connectionArn = None: without a connection"),
        ({"slackWebhookUrl": WEBHOOK}, "delivery:connectionArn = None: without a connection"),
        (
            {"connectionArn": "arn:aws:codebuild:us-east-1:1:project/x", "repository": "a/b"},
            "delivery:connectionArn = 'arn:aws:codebuild",
        ),
        ({"connectionArn": CONNECTION, "repository": "tl-fif"}, "delivery:repository = 'tl-fif': "),
        ({"canaryPercent": 100}, "delivery:canaryPercent = 100: "),
        ({"canaryMinutes": 0}, "delivery:canaryMinutes = 0: "),
        ({"slackWebhookUrl": "http://x"}, "delivery:slackWebhookUrl = [hidden]: "),
        (
            {"pipeline": True},
            "delivery:pipeline = True: no such key. It is gone: a stack has a delivery "
            "pipeline when delivery:connectionArn and delivery:repository are set.",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_key_and_the_fix(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.parse({"aws:region": "us-east-1", "tl-fif:delivery": values})
    (line,) = str(refused.value).splitlines()
    assert line.startswith(said)
    assert "pulumi config " in line
    assert "KEY" not in line


def test_the_literal_stack_has_a_pipeline_of_its_own(literal: Recording) -> None:
    assert list(stages(literal)) == ["Source", "Test", "Bake", "Deploy", "Smoke"]
    text = stack_file("literal").read_text()
    assert CONNECTION in text
