"""The weights' function, and when a deployment calls it."""

import json
import logging
from typing import Any

import pytest
from support.program import evaluate

from components import deployed
from components.model_weights import STATUS
from components.settings import ModelSettings
from local.iam.policy import Statement
from local.lambda_ import invocations
from recording import kinds
from recording.invented import RecordingBackend
from recording.model import Recording
from tlfif.money.documents import Billed, Latch, Ledger, Metered

pytestmark = pytest.mark.story("EC2-003")

FUNCTION = kinds.lambda_.FUNCTION.token
INVOCATION = kinds.lambda_.INVOCATION.token
MODEL = ModelSettings().lane
assert MODEL is not None


def weights(recording: Recording) -> dict[str, Any]:
    return recording.one(FUNCTION, "model-weights-function").inputs


def attempt(recording: Recording) -> str:
    return recording.one(INVOCATION).inputs["triggers"]["attempt"]


class Deployed(RecordingBackend):
    """An account in which the stack was deployed with these outputs, and where the function answers
    this.
    """

    def __init__(self, outputs: Any = None, answer: Any = None) -> None:
        super().__init__("dev", "us-east-1")
        self._outputs, self._answer = outputs or {}, answer

    def call(self, args: Any) -> dict[str, Any]:
        if args.token == deployed.READ_OUTPUTS:
            return {"outputs": self._outputs}
        return super().call(args)

    def new_resource(self, args: Any) -> tuple[str | None, dict[str, Any]]:
        id_, outputs = super().new_resource(args)
        if args.typ == INVOCATION and self._answer:
            return id_, {**outputs, "result": json.dumps(self._answer)}
        return id_, outputs


def status(**changes: Any) -> dict[str, Any]:
    return {STATUS: {"ok": True, "sha256": MODEL.sha256, "attempt": 1, **changes}}


# --- the function


def test_it_reaches_any_hub_and_has_lambdas_longest_time(recording: Recording) -> None:
    function = weights(recording)
    assert "vpcConfig" not in function
    assert (function["timeout"], function["memorySize"]) == (900, 512)


def test_it_is_told_which_weights(recording: Recording) -> None:
    told = weights(recording)["environment"]["variables"]
    assert told == {
        "TLFIF_STACK": recording.stack,
        "TLFIF_REPLIES_BUCKET": recording.outputs["replies_bucket"],
        "TLFIF_MODEL_URL": MODEL.url,
        "TLFIF_MODEL_KEY": f"models/{MODEL.sha256}.gguf",
        "TLFIF_MODEL_SHA256": MODEL.sha256,
    }


def test_it_is_called_once_an_hour(recording: Recording) -> None:
    rule = recording.one(kinds.monitoring.EVENT_RULE.token, "model-weights-schedule")
    assert rule.inputs["scheduleExpression"] == "rate(1 hour)"


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize(
    ("action", "key", "allowed"),
    [
        ("s3:PutObject", "incoming/x.gguf", True),
        ("s3:PutObject", "models/x.gguf", True),
        ("s3:GetObject", "models/x.gguf", True),
        ("s3:DeleteObject", "incoming/x.gguf", True),
        ("s3:DeleteObject", "models/x.gguf", False),
        ("s3:PutObject", "replies/ada/x.json", False),
        ("s3:GetObject", "replies/ada/x.json", False),
        ("s3:PutObject", "canary/x", False),
    ],
)
def test_it_may_bring_weights_and_knows_no_replies(
    action: str, key: str, allowed: bool, recording: Recording
) -> None:
    policy = recording.one(kinds.iam.ROLE_POLICY.token, "model-weights-policy")
    statements = [
        Statement.parse(each) for each in json.loads(policy.inputs["policy"])["Statement"]
    ]
    arn = f"arn:aws:s3:::{recording.outputs['replies_bucket']}/{key}"
    assert any(each.applies(action, arn, {}) for each in statements) is allowed


# --- its call within a deployment


def test_a_deployment_calls_it_and_the_local_cloud_knows_whom(recording: Recording) -> None:
    [call] = invocations.of(recording)
    assert call.function_arn == recording.outputs[STATUS]["function"]
    assert json.loads(call.payload) == {"caller": "pulumi up"}


def test_it_is_called_on_creation_only(recording: Recording) -> None:
    """CRUD would call it on `pulumi destroy` as well."""
    assert recording.one(INVOCATION).inputs.get("lifecycleScope", "CREATE_ONLY") == "CREATE_ONLY"


def test_nothing_changes_while_the_weights_are_the_same(dev: Recording) -> None:
    again = evaluate("dev", Deployed(dev.outputs))
    assert again.one(INVOCATION).inputs == dev.one(INVOCATION).inputs


@pytest.mark.parametrize(
    ("key", "value"),
    [("sha256", "b" * 64), ("revision", "c" * 40), ("file", "b.gguf"), ("repository", "a/b")],
)
def test_other_weights_are_fetched(key: str, value: str, dev: Recording) -> None:
    tokenizer = {"tokenizer": "a/base", "tokenizerRevision": "d" * 40}
    other = evaluate("dev", config={"tl-fif:model": {key: value, **tokenizer}})
    before, after = (each.one(INVOCATION).inputs for each in (dev, other))
    assert kinds.lambda_.INVOCATION.replacing(before, after) == {"triggers"}


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        (status(), "1"),
        (status(attempt=7), "7"),
        (status(ok=False), "2"),
        (status(ok=False, attempt=7), "8"),
        (status(ok=False, attempt=7, sha256="b" * 64), "1"),
        (status(ok=False, attempt=None), "1"),
        ({STATUS: None}, "1"),
        ({STATUS: "text"}, "1"),
        ({}, "1"),
    ],
)
def test_what_failed_is_tried_again_by_the_next_up(last: Any, wanted: str) -> None:
    assert attempt(evaluate("dev", Deployed(last))) == wanted


def test_a_failure_is_one_warning_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    line = "the hub has no https://x (404): correct tl-fif:model.file"
    with caplog.at_level(logging.WARNING):
        outputs = evaluate("dev", Deployed(answer={"ok": False, "message": line})).outputs
    assert [each.getMessage() for each in caplog.records if "weights" in each.getMessage()] == [
        f"there are no weights yet: {line}"
    ]
    assert (outputs[STATUS]["ok"], outputs[STATUS]["message"]) == (False, line)


def test_success_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate("dev", Deployed(answer={"ok": True, "message": "there"}))
    assert "weights" not in caplog.text


# --- the bucket


def rules(recording: Recording) -> list[dict[str, Any]]:
    return recording.one(kinds.s3.BUCKET_LIFECYCLE.token).inputs["rules"]


@pytest.mark.story("OPS-003")
def test_all_but_weights_expires(recording: Recording) -> None:
    kept = {
        each["filter"]["prefix"]: each["expiration"]["days"]
        for each in rules(recording)
        if "expiration" in each
    }
    assert kept == {"replies/": 7, "canary/": 7, "incoming/": 1}


def test_what_no_role_finishes_is_ended_everywhere(recording: Recording) -> None:
    ending = [each for each in rules(recording) if "abortIncompleteMultipartUpload" in each]
    assert [(each["filter"]["prefix"], each["status"]) for each in ending] == [("", "Enabled")]


@pytest.mark.parametrize("stack", ["dev", "prod", "literal"])
def test_whatever_a_role_writes_expires_or_is_weights(stack: str) -> None:
    recording = evaluate(stack)
    bucket = f"arn:aws:s3:::{recording.outputs['replies_bucket']}/"
    expiring = [
        f"arn:aws:s3:::{each.inputs['bucket']}/{rule['filter']['prefix']}"
        for each in recording.of_type(kinds.s3.BUCKET_LIFECYCLE.token)
        for rule in each.inputs["rules"]
        if "expiration" in rule
    ]
    written = {
        resource
        for policy in recording.of_type(kinds.iam.ROLE_POLICY.token)
        for statement in json.loads(policy.inputs["policy"])["Statement"]
        if "s3:PutObject" in statement["Action"] and statement["Effect"] == "Allow"
        for resource in (
            [statement["Resource"]]
            if isinstance(statement["Resource"], str)
            else statement["Resource"]
        )
    }
    assert written >= {f"{bucket}{each}/*" for each in ("replies", "models", "incoming")}
    # One of each, which the next takes the place of.
    money = {f"{bucket}{each.KEY}" for each in (Billed, Latch, Ledger, Metered)}
    kept = written - {f"{bucket}models/*"} - money
    assert [each for each in kept if not each.startswith(tuple(expiring))] == []


def test_the_bill_has_the_weights(dev: Recording) -> None:
    lines = {each["what"]: each for each in dev.bill}
    assert lines["weights: what is kept"]["quantity"] == pytest.approx(0.669, abs=0.001)
    assert lines["weights: what is kept"]["usd"] < 0.02
    assert lines["model_fetch: calls"]["quantity"] == 730
