"""`make smoke` and `make smoke-user`, with moto for AWS and an API that answers by script."""

import json
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from support.scripted_api import JOB, ScriptedApi

from tools.delivery import proved, smoke, smoke_user

pytestmark = [pytest.mark.story("CI-005"), pytest.mark.integration]

BUCKET = "artifacts"
ROUTER = "arn:aws:lambda:us-east-1:123456789012:function:tl-fif-dev-router"
QUICK = ("--posts", "3", "--every", "0.2")


def stored() -> dict[str, str]:
    """What is in the bucket: the contents by the names of the files."""
    s3 = boto3.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    return {
        each["Key"].rpartition("/")[2]: s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"]
        .read()
        .decode()
        for each in found
    }


def summary() -> dict[str, Any]:
    return json.loads(stored()["summary.json"])


def unstable_counted() -> float:
    """What the metric says."""
    cloudwatch = boto3.client("cloudwatch")
    found = cloudwatch.list_metrics(Namespace="TLFIF/Delivery", MetricName="SmokeUnstable")
    [metric] = found["Metrics"] or [None]
    if metric is None:
        return 0
    assert metric["Dimensions"] == [{"Name": "Stack", "Value": "dev"}]
    return 1


@pytest.fixture
def webhook(api: ScriptedApi, account: None) -> None:
    boto3.client("ssm").put_parameter(
        Name="/tl-fif-secrets/slack_webhook-dev", Value=api.webhook, Type="SecureString"
    )


@pytest.mark.usefixtures("user", "webhook")
def test_a_prompt_has_its_reply_and_what_it_got_is_stored(
    run: Any, outputs: Path, api: ScriptedApi, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 0
    files = stored()
    assert set(files) == {"client.log", "reply.json", "summary.json"}
    assert json.loads(files["reply.json"])["text"] == "Paris."
    assert f"queued {JOB}" in files["client.log"]
    assert (summary()["outcome"], summary()["job"]) == ("passed", JOB)
    [key] = {
        each["Key"]
        for each in boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
        if each["Key"].endswith("reply.json")
    }
    assert key.startswith(f"smoke/{'0123456789abcdef' * 2}-2")
    assert "smoke test of dev at 0123456789ab passed after" in capfd.readouterr().out
    assert (unstable_counted(), api.told) == (0, [])


@pytest.mark.story("LAM-005")
@pytest.mark.usefixtures("user")
def test_the_same_prompt_is_posted_again_with_its_key_and_traced(
    run: Any, outputs: Path, api: ScriptedApi
) -> None:
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 0
    assert len(api.posts) >= 4
    assert len({each["idempotency-key"] for each in api.posts}) == 1
    traces = [each["trace"] for each in summary()["posts"]]
    assert len(set(traces)) == len(api.posts) - 1
    sent = [each["x-amzn-trace-id"] for each in api.posts if "x-amzn-trace-id" in each]
    assert sent == [f"Root={trace};Sampled=1" for trace in traces]


@pytest.mark.usefixtures("user", "webhook")
def test_a_slow_reply_is_unstable_and_no_failure(
    run: Any, outputs: Path, api: ScriptedApi, capfd: pytest.CaptureFixture[str]
) -> None:
    api.reply_after_s = 0.5
    assert run(smoke.main, "--outputs", outputs, *QUICK, "--unstable", "0.4") == 0
    assert summary()["outcome"] == "unstable"
    said = "unstable after"
    assert said in capfd.readouterr().out
    [told] = api.told
    assert said in told
    assert f"s3://{BUCKET}/smoke/" in told
    assert unstable_counted() == 1


@pytest.mark.usefixtures("user")
def test_no_reply_in_time_fails_and_is_stored(run: Any, outputs: Path, api: ScriptedApi) -> None:
    api.reply_after_s = 60
    arguments = ("--limit", "1.5", "--unstable", "1")
    assert run(smoke.main, "--outputs", outputs, *QUICK, *arguments) == 1
    assert summary()["outcome"] == "failed"
    assert summary()["why"] == "there is no reply after 1.5 s"
    assert "client.log" in stored()


@pytest.mark.usefixtures("user")
def test_three_server_errors_in_a_row_end_it_at_once(
    run: Any, outputs: Path, api: ScriptedApi
) -> None:
    """Though the job goes on, and its reply would have come."""
    api.statuses, api.reply_after_s = [500, 202, 500, 503, 500, 202], 60
    assert run(smoke.main, "--outputs", outputs, "--posts", "20", "--every", "0.2") == 1
    assert [each["status"] for each in summary()["posts"]] == [500, 202, 500, 503, 500]
    assert "3 server errors in a row (500, 503, 500" in summary()["why"]


@pytest.mark.usefixtures("user")
def test_two_server_errors_in_a_row_do_not(run: Any, outputs: Path, api: ScriptedApi) -> None:
    api.statuses = [500, 500, 202, 500, 202]
    assert run(smoke.main, "--outputs", outputs, "--posts", "5", "--every", "0.1") == 0
    statuses = [each["status"] for each in summary()["posts"]]
    assert statuses[:5] == [500, 500, 202, 500, 202]


@pytest.mark.usefixtures("user")
def test_a_refusal_and_a_failed_job_fail(run: Any, outputs: Path, api: ScriptedApi) -> None:
    api.first = 422
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 1
    assert summary()["why"] == "the API refused: 422 no: says 422"
    api.first, api.ends = 202, "failed"
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 1
    assert summary()["why"] == "the job did not end as done: failed: out of memory"


@pytest.mark.usefixtures("user")
def test_an_address_without_an_api_fails_and_is_named(
    run: Any, outputs: Path, api: ScriptedApi
) -> None:
    told = json.loads(outputs.read_text())
    outputs.write_text(json.dumps({**told, "api_url": "http://127.0.0.1:1/v1"}))
    assert run(smoke.main, "--outputs", outputs, "--posts", "1", "--every", "60") == 1
    why = "nobody answered as the API does: POST http://127.0.0.1:1/v1/infer: cannot be reached"
    assert summary()["why"].startswith(why)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (402, "budget_exhausted"),
        (503, "no_capacity"),
        (503, "nodes_broken"),
        (503, "lane_unavailable"),
    ],
)
@pytest.mark.usefixtures("user")
def test_what_is_not_the_routers_fault_is_no_failure_of_its(
    run: Any, outputs: Path, api: ScriptedApi, status: int, code: str
) -> None:
    api.first, api.code, api.statuses = status, code, [status]
    assert run(smoke.main, "--outputs", outputs, "--posts", "9", "--every", "0.2") == 3
    assert summary()["outcome"] == "unjudged"
    assert summary()["why"] == f"the API refused: {status} {code}: says {status}"


@pytest.mark.usefixtures("user")
def test_such_answers_to_its_own_posts_are_no_server_errors(
    run: Any, outputs: Path, api: ScriptedApi
) -> None:
    api.code, api.statuses = "no_capacity", [status := 503]
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 0
    assert len(found := summary()["posts"]) >= 3
    assert {each["status"] for each in found} == {status}


@pytest.fixture
def serving(account: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the alias names, as Lambda would say; an error of AWS's where it is one."""
    said: dict[str, Any] = {"FunctionVersion": "7"}
    real = smoke.client

    class Lambda:
        def get_alias(self, **asked: str) -> dict[str, Any]:
            assert asked == {"FunctionName": ROUTER, "Name": "prod"}
            return said

        def update_alias(self, **asked: str) -> None:
            assert asked.keys() == {"FunctionName", "Name", "Description"}
            said["Description"] = asked["Description"]

    def client(service: str, *more: Any) -> Any:
        return Lambda() if service == "lambda" else real(service, *more)

    monkeypatch.setattr(smoke, "client", client)
    monkeypatch.setattr(proved, "client", client)
    return said


@pytest.mark.usefixtures("user")
def test_a_version_is_tried_while_callers_get_it_alone(
    run: Any, outputs: Path, api: ScriptedApi, serving: dict[str, Any]
) -> None:
    assert run(smoke.main, "--outputs", outputs, *QUICK, "--version", "7") == 0
    posted = len(api.posts)
    serving["RoutingConfig"] = {"AdditionalVersionWeights": {"8": 0.1}}
    for tried, says in (
        ("8", "callers get version 7, 8 with 10%, and version 8 was to be tried"),
        ("7", "callers get version 7, 8 with 10%, and version 7 was to be tried"),
    ):
        assert run(smoke.main, "--outputs", outputs, *QUICK, "--version", tried) == 3
        assert summary()["why"].startswith(says)
    assert len(api.posts) == posted, "of another version nothing is asked"


@pytest.mark.usefixtures("user", "webhook")
def test_a_version_that_serves_untried_is_told_of_by_the_next_deployment(
    run: Any,
    outputs: Path,
    api: ScriptedApi,
    serving: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(proved.main, "--outputs", outputs) == 0
    untried = "tl-fif dev: version 7 serves, and no smoke test has passed with it"
    assert untried in capsys.readouterr().out
    assert api.told[0].startswith(untried)
    assert run(smoke.main, "--outputs", outputs, *QUICK, "--version", "7") == 0
    serving["FunctionVersion"] = "8"
    assert run(smoke.main, "--outputs", outputs, *QUICK, "--version", "8") == 0
    assert serving["Description"] == "Smoke tests passed with versions 7, 8"
    for each in ("7", "8", "$LATEST"):
        serving["FunctionVersion"] = each
        capsys.readouterr()
        assert run(proved.main, "--outputs", outputs) == 0
        assert capsys.readouterr().out == ""
    assert len(api.told) == 1


@pytest.mark.usefixtures("user")
def test_a_version_that_goes_while_it_is_tried_was_not_judged(
    run: Any,
    outputs: Path,
    serving: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = smoke.Posting.until

    def until(posting: Any, count: int) -> None:
        real(posting, count)
        serving["FunctionVersion"] = "6"

    monkeypatch.setattr(smoke.Posting, "until", until)
    assert run(smoke.main, "--outputs", outputs, *QUICK, "--version", "7") == 3
    assert (summary()["outcome"], summary()["seconds"] is None) == ("unjudged", False)


@pytest.mark.usefixtures("user")
def test_who_is_throttled_by_cognito_judges_nothing(
    run: Any, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"}}

    class Cognito:
        def initiate_auth(self, **_: Any) -> Any:
            raise ClientError(cast("Any", error), "InitiateAuth")

    real = smoke.client
    monkeypatch.setattr(
        smoke,
        "client",
        lambda service, *more: Cognito() if service == "cognito-idp" else real(service, *more),
    )
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 3
    assert "Rate exceeded" in summary()["why"]


@pytest.mark.usefixtures("user")
def test_without_a_bucket_everything_is_left_here(
    run: Any, outputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(outputs.read_text())
    outputs.write_text(json.dumps({**told, "artifacts_bucket": None}))
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 0
    assert stored() == {}
    assert (smoke.FOLDER / "reply.json").exists()
    assert f"its artefacts are in {smoke.FOLDER}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            None,
            "there is no SSM parameter /tl-fif-secrets/smoke_user-dev: make smoke-user STACK=dev",
        ),
        ("nonsense", "is no JSON of email and password: make smoke-user STACK=dev"),
        ('{"email": "x@y.z", "password": "wrong"}', "Cognito refuses x@y.z"),
    ],
)
def test_who_cannot_sign_in_is_one_line(
    run: Any, outputs: Path, value: str | None, says: str
) -> None:
    if value:
        name = "/tl-fif-secrets/smoke_user-dev"
        boto3.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString")
    assert run(smoke.main, "--outputs", outputs, *QUICK) == 3
    assert says in summary()["why"]
    assert "\n" not in summary()["why"]


def test_limits_that_make_no_sense_are_refused(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(smoke.main, "--limit", "60")
    assert "--unstable 90 --limit 60: the first is the smaller" in capsys.readouterr().err


def test_the_user_is_made_once_and_has_a_new_password_each_time(
    run: Any, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for _ in range(2):
        assert run(smoke_user.main, "--outputs", outputs) == 0
        name = "/tl-fif-secrets/smoke_user-dev"
        found = boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]
        assert found["Type"] == "SecureString"
        said.append(json.loads(found["Value"]))
    assert said[0]["email"] == said[1]["email"] == "smoke-test@dev.tl-fif.invalid"
    assert said[0]["password"] != said[1]["password"]
    out = capsys.readouterr().out
    assert "is made" in out
    assert "has a new password" in out
    assert said[0]["password"] not in out
    assert said[1]["password"] not in out
