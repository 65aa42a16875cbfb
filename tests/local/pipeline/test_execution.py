"""An execution of a pipeline: in order, with what one action tells the next, up to the first that
fails, each by its own role.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pipelines import SOURCE, project, recording, role, stage, together
from support.repositories import committed, git

from local.aws.answers import json_answer
from local.aws.endpoint import Endpoint
from local.machine.processes import Processes
from local.pipeline.build import FAILED, SUCCEEDED
from local.pipeline.buildspec import BuildspecError
from local.pipeline.declared import PipelineError, read
from local.pipeline.execution import SKIPPED, Execution, Result, Site
from local.pipeline.source import Source, SourceError
from recording.model import Recording

pytestmark = [pytest.mark.integration, pytest.mark.story("CI-001")]

SAY = """version: 0.2
env: {{shell: bash, exported-variables: [SAID]}}
phases: {{build: {{commands: ['{command}']}}}}
"""
ASK = (
    f'{sys.executable} -c "import boto3;'
    " boto3.client('ssm').get_parameter(Name='/tl-fif/secret')\" || true"
)
MAY_ASK = {
    "Sid": "Ask",
    "Effect": "Allow",
    "Action": ["ssm:GetParameter"],
    "Resource": "arn:aws:ssm:us-east-1:123456789012:parameter/tl-fif/secret",
}


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Source]:
    def make(**commands: str) -> Source:
        folder = tmp_path / "repository"
        (folder / "delivery").mkdir(parents=True)
        for name, command in commands.items():
            text = SAY.format(command=command.replace("'", "''"))
            (folder / f"delivery/{name}.yml").write_text(text)
        return Source.of(committed(folder))

    return make


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def run(
    procs: Processes, endpoint: Endpoint, tmp_path: Path, lines: list[tuple[str, str]]
) -> Callable[..., Any]:
    async def run(recorded: Recording, source: Source, **machine: str) -> Result:
        site = Site(
            procs=procs,
            endpoint=endpoint,
            recording=recorded,
            region="us-east-1",
            folder=tmp_path / "builds",
            machine=machine,
            say=lambda stage, text: lines.append((stage, text)),
        )
        return await Execution(site).run(read(recorded), source)

    return run


def said(lines: list[tuple[str, str]], stage: str) -> list[str]:
    """What the commands of a stage wrote."""
    return [text for name, text in lines if name == stage and not text.startswith("Succeeded")]


async def test_each_stage_gets_the_commit_and_what_those_before_it_said(
    run: Any, repository: Any, lines: list[tuple[str, str]]
) -> None:
    source = repository(
        test="export SAID=it; git log -1 --format=%H; git status --porcelain",
        deploy='echo "$HEARD, $OWN, $MACHINE, $COMMIT"; export SAID="$HEARD too"',
        smoke='echo "$HEARD, $HOME"; ls "$HOME"',
    )
    recorded = recording(
        [
            SOURCE,
            stage("Test"),
            stage("Deploy", HEARD="<#{Test.SAID}>", COMMIT="#{Source.CommitId}"),
            stage("Smoke", HEARD="#{Deploy.SAID}"),
        ],
        project("test"),
        project("deploy", OWN="the project's"),
        project("smoke"),
    )
    # What nobody delivers: a change that is not committed.
    (source.folder / "delivery/smoke.yml").write_text("nonsense")
    result = await run(recorded, source, MACHINE="the machine's")
    assert result.status == SUCCEEDED
    assert [each.stage for each in result.actions] == ["Source", "Test", "Deploy", "Smoke"]
    assert said(lines, "Test")[-1] == source.commit
    assert said(lines, "Deploy") == [f"<it>, the project's, the machine's, {source.commit}"]
    [heard] = said(lines, "Smoke")
    assert heard.startswith("<it> too, ")
    assert source.changed == [" M delivery/smoke.yml"]


async def test_the_first_failure_ends_it(
    run: Any, repository: Any, lines: list[tuple[str, str]]
) -> None:
    source = repository(test="true", deploy="exit 3", smoke="echo never")
    stages = [SOURCE, stage("Test"), stage("Deploy"), stage("Smoke")]
    projects = [project("test"), project("deploy"), project("smoke")]
    result = await run(recording(stages, *projects), source)
    assert result.status == FAILED
    assert [each.stage for each in result.actions] == ["Source", "Test", "Deploy"]
    assert result.of("Deploy").why == "build: `exit 3` ended with 3"
    assert result.of("Smoke") is None
    assert said(lines, "Smoke") == []


async def test_actions_of_one_stage_run_by_their_order(
    run: Any, repository: Any, lines: list[tuple[str, str]]
) -> None:
    source = repository(deploy="export SAID=7", smoke="echo tries $HEARD")
    both = stage("Deploy"), stage("Smoke", HEARD="#{Deploy.SAID}")
    projects = project("deploy"), project("smoke")
    ordered = together(*both)
    ordered["actions"].reverse()
    result = await run(recording([SOURCE, ordered], *projects), source)
    assert [(each.stage, each.name) for each in result.actions][1:] == [
        ("Deploy", "Deploy"),
        ("Deploy", "Smoke"),
    ]
    assert said(lines, "Smoke") == ["tries 7"]
    # Of two that begin together none knows what the other says.
    with pytest.raises(PipelineError, match=r"^Deploy/Smoke: no action has set #\{Deploy\.SAID\}$"):
        await run(recording([SOURCE, together(*both, apart=False)], *projects), source)


@pytest.mark.parametrize("granted", [True, False])
async def test_what_a_role_may_not_do_fails_the_stage(
    run: Any, repository: Any, lines: list[tuple[str, str]], granted: bool
) -> None:
    roles = role("deploy", MAY_ASK) if granted else role("deploy")
    recorded = recording([SOURCE, stage("Deploy")], project("deploy"), *roles)
    result = await run(recorded, repository(deploy=ASK))
    assert result.status == (SUCCEEDED if granted else FAILED)
    refused = [text for _, text in lines if "would have refused" in text]
    assert [("ssm:GetParameter" in text) for text in refused] == ([] if granted else [True])


@pytest.mark.story("CI-003")
async def test_a_bake_is_left_out_where_nobody_is_image_builder(
    run: Any, repository: Any, endpoint: Endpoint, lines: list[tuple[str, str]]
) -> None:
    async def nothing(*_: object) -> Any:
        return json_answer({})

    recorded = recording([SOURCE, stage("Bake")], project("bake"))
    source = repository(bake="echo baked")
    result = await run(recorded, source)
    assert (result.status, result.of("Bake").status) == (SUCCEEDED, SKIPPED)
    assert said(lines, "Bake") == ["Skipped after 0.0 s: there is no Image Builder on this machine"]
    endpoint.answers["imagebuilder", "GetImage"] = nothing
    assert (await run(recorded, source)).of("Bake").status == SUCCEEDED


async def test_a_variable_that_nobody_set_ends_it(run: Any, repository: Any) -> None:
    recorded = recording([SOURCE, stage("Smoke", V="#{Deploy.VERSION}")], project("smoke"))
    message = r"^Smoke/Smoke: no action has set #\{Deploy\.VERSION\}$"
    with pytest.raises(PipelineError, match=message):
        await run(recorded, repository(smoke="true"))


async def test_a_commit_without_its_buildspec_is_one_line(run: Any, repository: Any) -> None:
    recorded = recording([SOURCE, stage("Smoke")], project("smoke"))
    with pytest.raises(BuildspecError, match=r"^delivery/smoke\.yml: No such file"):
        await run(recorded, repository(test="true"))


def changed(**action: Any) -> dict[str, Any]:
    """A stage whose action is declared otherwise."""
    made = stage("Deploy")
    return {**made, "actions": [{**made["actions"][0], **action}]}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([SOURCE, stage("Deploy")], "Deploy/Deploy: there is no CodeBuild project tl-fif-deploy"),
        ([SOURCE, changed(provider="S3")], "the local pipeline runs no Build of S3"),
        ([changed(inputArtifacts=["source"])], "there is no CodeBuild project"),
        (
            [{**SOURCE, "actions": [{**SOURCE["actions"][0], "configuration": {}}]}],
            "Source/GitHub: the scripts need git, so CODEBUILD_CLONE_REF",
        ),
    ],
)
def test_what_cannot_be_run_is_one_line(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PipelineError) as error:
        read(recording(stages))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"outputArtifacts": ["zip"]}, "keeps no artifact zip"),
        ({"inputArtifacts": []}, "a build has one input, the source"),
        ({"inputArtifacts": ["other"]}, "no action before it makes other"),
    ],
)
def test_nothing_but_the_source_goes_round(action: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError) as error:
        read(recording([SOURCE, changed(**action)], project("deploy")))
    assert message in str(error.value)


def test_a_stack_without_a_pipeline_is_told_what_it_needs() -> None:
    with pytest.raises(PipelineError, match=r"delivery:connectionArn and delivery:repository"):
        read(Recording(stack="dev", resources=[], outputs={}))


def test_what_is_no_commit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^git rev-parse in .*"):
        Source.of(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(SourceError, match=r"^git rev-parse in .*"):
        Source.of(tmp_path, "main")
