"""The instant lane in the program: what it is and may do, who calls it, and stacks without it, or
with nothing else.
"""

import logging
from typing import Any

import pytest
from support.program import FUNCTION, INSTANCE, LOG_GROUP, evaluate, statements, variables

from recording import kinds
from recording.differences import differences
from recording.invented import RecordingBackend
from recording.model import Recording
from tlfif import names

NEVER = {"tl-fif:gpu": {"wake": "never"}}
OFF = {"tl-fif:cpu": {"enabled": False}}
LANE = "cpu-worker-function"
TOLD = {
    "TLFIF_GPU_WAKE",
    "TLFIF_GPU_WAKE_AFTER_SECONDS",
    "TLFIF_LANE_FUNCTION",
    "TLFIF_LANE_PROMPT_BYTES",
}


@pytest.fixture(scope="session")
def never() -> Recording:
    return evaluate("dev", config=NEVER)


class WithoutImage(RecordingBackend):
    """An account in which no image was baked."""

    def __init__(self) -> None:
        super().__init__("dev", "us-east-1", parameters={})


class WithoutGpus(RecordingBackend):
    """An account whose operator may ask neither for quotas nor for parameters."""

    def call(self, args: Any) -> dict[str, Any]:
        assert "servicequotas" not in args.token
        assert "ssm" not in args.token
        return super().call(args)


# --- the function


def test_it_is_as_large_and_as_patient_as_configured(recording: Recording) -> None:
    lane = recording.one(FUNCTION, LANE).inputs
    assert lane["name"] == f"tl-fif-{recording.stack}-cpu-worker"
    assert (lane["runtime"], lane["architectures"]) == ("python3.12", ["x86_64"])
    assert (lane["memorySize"], lane["ephemeralStorage"], lane["timeout"]) == (
        3008,
        {"size": 1024},
        900,
    )
    # A new account has none to give.
    assert "reservedConcurrentExecutions" not in lane
    router = recording.one(FUNCTION, "router-function").inputs
    assert lane["vpcConfig"] == router["vpcConfig"]
    assert recording.one(LOG_GROUP, "cpu-worker-logs").inputs["retentionInDays"] == 14


def test_its_keys_change_it() -> None:
    cpu = {"memoryMb": 1769, "diskMb": 512, "slots": 3, "maxPromptBytes": 700}
    small = {"laneRepository": "a/b", "laneFile": "small.gguf"}
    pins = {"laneRevision": "c" * 40, "laneSha256": "d" * 64}
    config = {"tl-fif:cpu": cpu, "tl-fif:model": {**small, **pins}}
    changed = evaluate("dev", config=config)
    lane = changed.one(FUNCTION, LANE).inputs
    assert lane["memorySize"] == 1769
    assert "ephemeralStorage" not in lane, "that much disk is free"
    assert variables(changed, LANE)["TLFIF_SLOTS"] == "3"
    assert variables(changed, "guardian-function")["TLFIF_LANE_PROMPT_BYTES"] == "700"


def test_it_is_told_where_the_queue_the_replies_and_the_weights_are(dev: Recording) -> None:
    sha256 = "9fecc3b3cd76bba89d504f29b616eedf7da85b96540e490ca5824d3f7d2776a0"
    assert variables(dev, LANE) == {
        "TLFIF_STACK": "dev",
        "TLFIF_REDIS_HOST": dev.outputs["redis_endpoint"],
        "TLFIF_REDIS_PORT": "6379",
        "TLFIF_REPLIES_BUCKET": dev.outputs["replies_bucket"],
        "TLFIF_MODEL": "tinyllama",
        "TLFIF_CONTEXT_TOKENS": "2048",
        "TLFIF_MODEL_KEY": f"models/{sha256}.gguf",
        "TLFIF_MODEL_SHA256": sha256,
        "TLFIF_SLOTS": "2",
        "TLFIF_EUR_PER_HOUR": "0.1533",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
    }


def test_it_may_work_on_jobs_read_its_weights_and_call_itself(dev: Recording) -> None:
    bucket = f"arn:aws:s3:::{dev.outputs['replies_bucket']}"
    granted = statements(dev, "cpu-worker-policy")
    assert set(granted) == {
        "WriteOwnLogs",
        "AttachToVpc",
        "ReadReplies",
        "SeeMissing",
        "WriteReplies",
        "ReadModels",
        "CallLane",
    }
    assert granted["ReadModels"]["Action"] == ["s3:GetObject"]
    assert granted["ReadModels"]["Resource"] == f"{bucket}/models/*"
    assert granted["CallLane"]["Resource"] == dev.one(FUNCTION, LANE).outputs["arn"]


def test_a_call_is_made_once_and_within_a_minute(dev: Recording) -> None:
    once = dev.one(kinds.lambda_.EVENT_INVOKE_CONFIG.token, "cpu-worker-once").inputs
    assert once["functionName"] == dev.one(FUNCTION, LANE).id
    assert (once["maximumRetryAttempts"], once["maximumEventAgeInSeconds"]) == (0, 60)


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize("caller", ["router", "guardian"])
def test_who_takes_the_wake_knows_the_lane_and_may_call_it_and_no_other(
    dev: Recording, caller: str
) -> None:
    lane = dev.one(FUNCTION, LANE)
    granted = statements(dev, f"{caller}-policy")["CallLane"]
    assert (granted["Action"], granted["Resource"]) == (
        ["lambda:InvokeFunction"],
        lane.outputs["arn"],
    )
    told = variables(dev, f"{caller}-function")
    assert told["TLFIF_LANE_FUNCTION"] == lane.inputs["name"]
    assert lane.urn not in dev.one(FUNCTION, f"{caller}-function").dependencies


# --- a stack without it


@pytest.mark.story("LAM-004", "EC2-001")
def test_without_the_lane_everything_is_as_it_was(dev: Recording) -> None:
    off = evaluate("dev", config=OFF)
    changes = {change.resource.name: change for change in differences(off, dev, [])}
    added = {name for name, change in changes.items() if change.kind == "added"}
    assert {name for name in added if not name.startswith("cpu-worker")} == set()
    assert len(added) >= 5
    changed = changes.keys() - added
    # Of the bill, and of what is counted.
    assert changed - {"dashboard"} == {"meter-function", "tariff-document"} | {
        f"{who}-{what}" for who in ("router", "guardian") for what in ("function", "policy")
    }
    for who in ("router", "guardian"):
        with_lane, without = (variables(each, f"{who}-function") for each in (dev, off))
        assert without.items() <= with_lane.items()
        assert with_lane.keys() - without.keys() - {"TLFIF_LANE_EUR_PER_HOUR"} == TOLD
        with_lane, without = (statements(each, f"{who}-policy") for each in (dev, off))
        assert without == {sid: each for sid, each in with_lane.items() if sid != "CallLane"}
    assert [each for each in off.bill if "lane" in each["what"] or "cpu" in each["what"]] == []
    assert "cost_lane_answers_left" not in off.outputs
    assert off.outputs["next_step"] == dev.outputs["next_step"]


# --- a stack with nothing else


@pytest.mark.story("EC2-001", "EC2-002")
def test_never_has_no_node_and_asks_for_none(
    dev: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        never = evaluate("dev", WithoutGpus("dev", "us-east-1"), config=NEVER)
    gone = {
        change.resource.name for change in differences(dev, never, []) if change.kind == "removed"
    }
    of_nodes = ("gpu-", "network-builder")
    assert gone == {r.name for r in dev.resources if r.custom and r.name.startswith(of_nodes)}
    assert never.of_type(INSTANCE) == never.of_type(kinds.ssm.PARAMETER.token) == []
    assert never.outputs["gpu_instance_ids"] == []
    assert "quota" not in caplog.text
    assert "GPU" not in caplog.text


@pytest.mark.story("EC2-001")
@pytest.mark.parametrize("who", ["router", "guardian"])
def test_never_starts_and_stops_nothing(never: Recording, who: str) -> None:
    granted = {
        action for each in statements(never, f"{who}-policy").values() for action in each["Action"]
    }
    assert granted & {"ec2:StartInstances", "ec2:StopInstances", "ec2:RunInstances"} == set()
    assert "lambda:InvokeFunction" in granted
    assert variables(never, f"{who}-function")["TLFIF_GPU_WAKE"] == "never"


def test_nothing_that_stays_is_replaced_when_the_nodes_go(dev: Recording, never: Recording) -> None:
    changed = {c.resource.name for c in differences(dev, never, []) if c.kind == "changed"}
    money = {"dashboard", "meter-function", "tariff-document", "guardrails-killer-policy"}
    assert changed == money | {
        f"{who}-{what}"
        for who in ("router", "guardian", "cost-publisher")
        for what in ("function", "policy")
    }


def test_never_says_what_is_left_in_answers(never: Recording) -> None:
    figures = never.outputs
    assert "cost_gpu_hours_left" not in figures
    assert figures["cost_lane_answers_left"] > 30_000
    assert [
        each for each in never.bill if each["per"] == "gpu-hour" or "bake" in each["what"]
    ] == []
    assert figures["next_step"].startswith("Nothing: the stack is complete.")
    assert "gpu:wake = never" in figures["next_step"]


# --- before the first bake


@pytest.mark.story("EC2-002")
@pytest.mark.parametrize("wake", ["always", "backlog"])
def test_before_the_first_image_the_lane_answers_already(wake: str) -> None:
    bare = evaluate("dev", WithoutImage(), config={"tl-fif:gpu": {"wake": wake}})
    assert bare.of_type(INSTANCE) == []
    said = bare.outputs["next_step"]
    assert said.startswith("Create a user and send the first prompt. The instant lane answers")
    assert "For the nodes: There is no image" in said
    assert "/tl-fif/latest_ami_id-dev does not exist" in said
    without_lane = evaluate("dev", WithoutImage(), config=OFF).outputs["next_step"]
    assert without_lane == said.partition("For the nodes: ")[2]


def test_the_policies_are_those_that_the_queue_knows() -> None:
    for wake in names.GPU_WAKES:
        told = evaluate("dev", config={"tl-fif:gpu": {"wake": wake}})
        assert variables(told, "router-function")["TLFIF_GPU_WAKE"] == wake
