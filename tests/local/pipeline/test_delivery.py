"""The whole pipeline of a stack on a local cloud, each stage's own script in order: a commit is
delivered, or it ends where the story says, with the alias where it should be.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from support.delivered import TESTS, Repository
from support.image_builder import ImageBuilder
from support.program import PIPED

from components.settings_model import ModelSettings
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.iam.usage import grants, judge
from local.pipeline.build import FAILED, SUCCEEDED
from local.pipeline.declared import read
from local.pipeline.execution import Execution, Result
from local.pipeline.site import make_smoke_user, site
from recording import kinds
from recording.model import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    # Each is a whole pipeline's run, of processes that share this machine with other tests.
    pytest.mark.timeout(600),
]

HUB = ModelSettings.model_fields["hub"].default
ROUTER = "functions/router/handler.py"
# Every answer of a router's, or those to prompts alone, which no canary without traffic meets.
BROKEN = """

def handler(event: Event, context: Any) -> Response:
    return {"statusCode": 500, "headers": {}, "body": "{}", "isBase64Encoded": False}
"""
BROKEN_FOR_PROMPTS = """

_whole = handler


def handler(event: Event, context: Any) -> Response:
    if event.get("httpMethod") == "POST":
        return {"statusCode": 500, "headers": {}, "body": "{}", "isBase64Encoded": False}
    return _whole(event, context)
"""
TOLD = {
    "TEST_ARGS": TESTS,
    # What it costs is asked of the commit that served before, in seconds; one test does.
    "DEPLOY_ARGS": "--no-cost",
    "SMOKE_ARGS": "--posts 10 --every 0.3",
}
# What CodePipeline and CodeBuild do with a role, and no script of ours.
SERVICES = {
    "codebuild:BatchGetBuilds",
    "codebuild:StartBuild",
    "codeconnections:UseConnection",
    "codestar-connections:UseConnection",
    "s3:GetBucketAcl",
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:PutObjectAcl",
}
# What a run meets only where images or versions are old; and what CodePipeline itself writes.
NOT_REACHED = {
    "delivery-policy/KeepArtifacts: s3:PutObject",
    "delivery-bake-policy/RemoveTheirSnapshots: ec2:DeleteSnapshot",
}
# What has to run before it can be said that a role uses what it may.
WITH_THEM = {
    "test_a_commit_is_tested_baked_deployed_and_proved",
    "test_a_failed_smoke_test_brings_the_version_before_back",
}


class Delivery:
    """A cloud whose stack has a pipeline, an image builder, and a repository to deliver."""

    def __init__(self, cloud: LocalCloud, repository: Repository) -> None:
        self.cloud, self.repository = cloud, repository
        self.builder = ImageBuilder(cloud)
        self.lines: list[tuple[str, str]] = []
        self._router = cloud.output("router_arn").rpartition(":")[2]

    async def deliver(
        self, appended: dict[str, str] | None = None, **told: str
    ) -> tuple[Result, str]:
        """Commits and delivers; what became of it, and the commit."""
        source = self.repository.commit("A change", appended or {ROUTER: "\n# Changed.\n"})
        self.lines.clear()
        place = site(
            self.cloud, lambda stage, text: self.lines.append((stage, text)), {**TOLD, **told}
        )
        result = await Execution(place).run(read(self.cloud.recording), source)
        print(*(f"{stage:8} {text}" for stage, text in self.lines), sep="\n")
        return result, source.commit

    def said(self, stage: str) -> str:
        return "\n".join(text for name, text in self.lines if name == stage)

    @property
    def alias(self) -> tuple[str, dict[str, Any]]:
        """The version that serves, and what weights beside it."""
        lambda_ = self.cloud.moto.client("lambda")
        found = lambda_.get_alias(FunctionName=self._router, Name="prod")
        weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights", {})
        return found["FunctionVersion"], weights

    def stored(self, prefix: str) -> dict[str, bytes]:
        """What the pipeline's bucket has below a prefix, by the files' names."""
        s3, bucket = self.cloud.moto.client("s3"), self.cloud.output("artifacts_bucket")
        found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
        return {
            each["Key"].rpartition("/")[2]: s3.get_object(Bucket=bucket, Key=each["Key"])[
                "Body"
            ].read()
            for each in found
        }

    def summary(self, commit: str) -> dict[str, Any]:
        return json.loads(self.stored(f"smoke/{commit}-")["summary.json"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def delivery(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Delivery]:
    """A minute lasts a second; the node has a scripted engine."""
    roots = [ROOT, ROOT / "gpu_image", ROOT / "tests"]
    engine = [sys.executable, "-m", "support.scripted_model", "--port", "{port}"]
    options = Options(
        # The commit's own hub, which is part of what an image is baked from; nobody asks it.
        config={**PIPED, "tl-fif:model": {"hub": HUB}},
        seconds_per_minute=1.0,
        delays=Delays(pending_s=0.2, stopping_s=0.2),
        commands={"model": engine},
        watcher={"PYTHONPATH": os.pathsep.join(map(str, roots))},
    )
    repository = await asyncio.to_thread(Repository, tmp_path_factory.mktemp("repository"))
    async with LocalCloud(options) as cloud:
        await make_smoke_user(cloud, print)
        yield Delivery(cloud, repository)


def outcomes(result: Result) -> list[tuple[str, str]]:
    return [(each.name, each.outcome.status) for each in result.actions]


def up_to(stage: str) -> list[tuple[str, str]]:
    """What an execution comes to that fails in a stage: nothing after it runs."""
    stages = ["Source", "Test", "Bake", "Deploy", "Smoke"]
    return [
        *((name, SUCCEEDED) for name in stages[: stages.index(stage)]),
        (stage, FAILED),
    ]


@pytest.mark.story("CI-001", "CI-002", "CI-003", "CI-004", "CI-005")
async def test_a_commit_is_tested_baked_deployed_and_proved(delivery: Delivery) -> None:
    """Also: a reply that came late makes the stack unstable, and is no failure."""
    told = {"DEPLOY_ARGS": "", "SMOKE_ARGS": TOLD["SMOKE_ARGS"] + " --unstable 0.01"}
    result, commit = await delivery.deliver(**told)
    assert result.status == SUCCEEDED, delivery.lines[-20:]
    stages = ["Source", "Test", "Bake", "Deploy", "Smoke"]
    assert outcomes(result) == [(stage, SUCCEEDED) for stage in stages]

    deployed = result.of("Deploy")
    assert deployed is not None
    assert delivery.alias == (deployed.exported["VERSION"], {})
    assert deployed.exported["VERSION"] != deployed.exported["PREVIOUS_VERSION"]
    assert f"commit {commit}" in delivery.said("Deploy")
    assert "cost: " in delivery.said("Deploy")

    assert "index.html" in delivery.stored(f"coverage/{commit}/")
    files = delivery.stored(f"smoke/{commit}-")
    assert set(files) == {"client.log", "reply.json", "summary.json"}
    assert json.loads(files["reply.json"])["status"] == "done"
    assert delivery.summary(commit)["outcome"] == "unstable"
    assert len(delivery.builder.images) == 1
    [ami] = delivery.builder.images[0]["outputResources"]["amis"]
    parameter = delivery.cloud.moto.client("ssm").get_parameter(Name="/tl-fif/latest_ami_id-dev")
    assert parameter["Parameter"]["Value"] == ami["image"]


@pytest.mark.story("CI-002")
async def test_a_failing_unit_test_ends_it(delivery: Delivery) -> None:
    before = delivery.alias
    broken = "def test_broken() -> None:\n    assert False\n"
    result, _ = await delivery.deliver(
        {"tests/tlfif/test_broken.py": broken},
        TEST_ARGS="--no-check -n 0 tests/tlfif/test_broken.py",
    )
    assert outcomes(result) == up_to("Test")
    assert "1 failed" in delivery.said("Test")
    assert delivery.alias == before


@pytest.mark.story("CI-003")
async def test_a_failing_bake_ends_it(delivery: Delivery) -> None:
    before, delivery.builder.images = delivery.alias, []
    delivery.builder.fails = "no space left"
    result, _ = await delivery.deliver()
    assert outcomes(result) == up_to("Bake")
    assert "the bake is FAILED: no space left" in delivery.said("Bake")
    assert delivery.alias == before
    delivery.builder.fails = ""


@pytest.mark.story("CI-004")
async def test_a_router_that_answers_500_never_serves(delivery: Delivery) -> None:
    served, _ = delivery.alias
    result, _ = await delivery.deliver({ROUTER: BROKEN})
    assert outcomes(result) == up_to("Deploy")
    assert "FAILED" in delivery.said("Deploy")
    # Before the first deployment callers get what becomes version 1.
    assert delivery.alias == ("1" if served == "$LATEST" else served, {})


@pytest.mark.story("CI-004", "CI-005")
async def test_a_failed_smoke_test_brings_the_version_before_back(delivery: Delivery) -> None:
    result, commit = await delivery.deliver({ROUTER: BROKEN_FOR_PROMPTS})
    assert outcomes(result) == up_to("Smoke")
    deployed = result.of("Deploy")
    assert deployed is not None
    assert delivery.alias == (deployed.exported["PREVIOUS_VERSION"], {})
    assert deployed.exported["VERSION"] != deployed.exported["PREVIOUS_VERSION"]
    summary = delivery.summary(commit)
    assert (summary["outcome"], summary["seconds"]) == ("failed", None)
    assert "500" in summary["why"]


@pytest.mark.story("CI-004")
async def test_what_its_roles_may_do_they_did(
    delivery: Delivery, request: pytest.FixtureRequest
) -> None:
    """After all the others: granted is what was used, beside what AWS's own services do with
    them.
    """
    ran = {item.name for item in request.session.items if item.path == request.path}
    if not ran >= WITH_THEM:
        pytest.skip("only after a delivery and a rollback in the same run")
    roles = [
        each.outputs["arn"]
        for each in delivery.cloud.recording.of_type(kinds.iam.ROLE.token)
        if each.name.startswith("delivery-")
    ]
    given = [each for each in grants(delivery.cloud.recording) if each.role_arn in roles]
    found = judge(given, list(delivery.cloud.endpoint.calls))
    assert found.refused == []
    unused = {each for each in found.unused if each.partition(": ")[2] not in SERVICES}
    assert unused == NOT_REACHED
