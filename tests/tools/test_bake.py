"""`make bake`, against the API's own models for Image Builder and moto for the rest: it publishes
what it baked, starts no second bake, and each way to fail has its exit code.
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from support.bakes import ACCOUNT, AGAIN, BUILDER, NOW, OLD, REGION, World

from components import iam
from tools.bake import __main__ as command
from tools.bake import outcome
from tools.bake.__main__ import Aws, bake
from tools.bake.outcome import BakeError
from tools.bake.pipeline import RUNNING, Clock

pytestmark = [pytest.mark.story("EC2-001", "EC2-002")]


@pytest.fixture(scope="module")
def aws() -> Aws:
    """Clients, which take longer to make than a test takes."""
    with mock_aws():
        return Aws.connect(REGION)


@pytest.fixture
def world(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws(), Stubber(aws.imagebuilder) as builder:
        made = World(aws, builder)
        for client in (aws.imagebuilder, aws.ec2, aws.ssm):
            noted = client.meta.events.register
            noted("before-parameter-build.*", made.note, unique_id="called")
        yield made
        for client in (aws.imagebuilder, aws.ec2, aws.ssm):
            client.meta.events.unregister("before-parameter-build.*", unique_id="called")
        builder.assert_no_pending_responses()


# --- a bake


@pytest.mark.story("CI-003")
def test_one_that_cost_more_than_it_may_is_not_published(world: World) -> None:
    world.ami(NOW)
    world.has((OLD, "AVAILABLE"), lists=3)
    world.starts(NOW)
    world.tells(NOW, "AVAILABLE")
    world.times(NOW, 1800)
    with pytest.raises(BakeError, match=r"cost €0.050, and may cost €0.03: it is not published"):
        world.bake(most_eur=0.03)
    assert world.published is None


def test_what_it_baked_is_published_in_the_account_that_sts_names(world: World) -> None:
    baked = world.ami(NOW)
    world.has((OLD, "AVAILABLE"), lists=3)
    world.bakes(NOW)
    assert world.aws.account_id == ACCOUNT
    assert world.bake() == baked
    found = world.aws.ssm.get_parameter(Name="/tl-fif/latest_ami_id-dev")["Parameter"]
    assert (found["Value"], found["DataType"]) == (baked, "aws:ec2:image")
    told = [line.split("min  ")[1] for line in world.said if "min  " in line]
    assert told == ["PENDING", "BUILDING", "TESTING", "AVAILABLE", "build: ApplyBuildComponents"]
    assert "--log-stream-names 1.0.7/1" in world.text
    assert f"published {baked}: pulumi up --stack dev" in world.text
    assert "m7i.large for 5.0 min: $0.008" in world.text
    assert "warning" not in world.text


def test_prod_has_the_storys_own_parameter(world: World) -> None:
    from tools.bake import images

    assert images.publish(world.aws.ssm, "prod", "ami-0123456789abcdef0", world.clock)
    found = world.aws.ssm.get_parameter(Name="/tl-fif/latest_ami_id")["Parameter"]
    assert found["Value"] == "ami-0123456789abcdef0"


def test_what_was_baked_is_published_without_a_bake_and_only_once(world: World) -> None:
    baked = world.ami(NOW)
    for _ in range(2):
        world.has((NOW, "AVAILABLE"), lists=2)
        assert world.bake() == baked
    assert world.published == baked
    assert f"nothing changed since {baked} was baked; --force bakes it again" in world.said
    assert f"{baked} is published already" in world.said


def test_forced_it_bakes_again(world: World) -> None:
    world.ami(NOW)
    world.has((NOW, "AVAILABLE"), lists=2)
    again = world.ami(AGAIN)
    world.bakes(AGAIN)
    assert world.bake(force=True, keep=2) == world.published == again


def test_an_image_that_somebody_deregistered_is_baked_again(world: World) -> None:
    world.aws.ec2.deregister_image(ImageId=(gone := world.ami(NOW)))
    again = world.ami(AGAIN)
    listed = {"arn": NOW, "state": {"status": "AVAILABLE"}}
    amis = {"outputResources": {"amis": [{"region": REGION, "image": gone}]}}
    world.has(lists=0)
    for _ in range(3):
        world.builder.add_response(
            "list_image_pipeline_images", {"imageSummaryList": [listed | amis]}
        )
    world.bakes(AGAIN)
    assert world.bake() == again


@pytest.mark.parametrize("status", RUNNING)
def test_a_bake_that_runs_is_waited_for_and_no_second_one_is_started(
    status: str, world: World
) -> None:
    baked = world.ami(NOW)
    world.has((NOW, status))
    world.tells(NOW, status, "AVAILABLE")
    world.times(NOW)
    assert world.bake() == world.published == baked
    assert f"waiting for {NOW}" in world.said


def test_who_starts_one_at_the_same_moment_gets_the_same(world: World) -> None:
    tokens: list[str] = []
    world.aws.imagebuilder.meta.events.register(
        "provide-client-params.imagebuilder.StartImagePipelineExecution",
        lambda params, **_: tokens.append(params["clientToken"]),
    )
    world.ami(NOW)
    for listed in (
        [(OLD, "AVAILABLE")],
        [(OLD, "AVAILABLE")],
        [(OLD, "AVAILABLE"), (NOW, "FAILED")],
    ):
        world.has(*listed, lists=3)
        world.bakes(NOW)
        world.bake()
    first, second, later = tokens
    assert first == second != later
    assert len(first) == 64


def test_a_pipeline_in_use_is_waited_for_or_said(world: World) -> None:
    baked = world.ami(NOW)
    world.has(lists=3)
    world.builder.add_client_error("start_image_pipeline_execution", "ResourceInUseException", "x")
    world.lists((NOW, "BUILDING"))
    world.tells(NOW, "AVAILABLE")
    world.times(NOW)
    assert world.bake() == baked
    world.has(lists=3)
    world.builder.add_client_error("start_image_pipeline_execution", "ResourceInUseException", "x")
    world.lists()
    with pytest.raises(BakeError, match="in use: x") as raised:
        world.bake()
    assert raised.value.code == outcome.BUSY


def test_what_passes_while_it_waits_ends_no_bake(world: World) -> None:
    baked = world.ami(NOW)
    world.has((NOW, "BUILDING"))
    for code in ("CallRateLimitExceededException", "ServiceUnavailableException"):
        world.builder.add_client_error("get_image", code, "too much")
    world.tells(NOW, "AVAILABLE")
    world.times(NOW)
    assert world.bake() == baked
    assert world.text.count("asked again: too much") == 2


def test_a_build_over_its_twelve_minutes_is_said_with_its_longest_step(world: World) -> None:
    world.ami(NOW)
    world.has((NOW, "BUILDING"))
    world.tells(NOW, "AVAILABLE")
    world.times(NOW, seconds=13 * 60)
    world.bake()
    assert "warning: the build took 13.0 min, over its 12; longest: ApplyBuildComp" in world.text


# --- how it fails

_STEP = {
    "failedStep": "ApplyBuildComponents",
    "componentFailure": {
        "phaseName": "build",
        "stepName": "Driver",
        "action": "ExecuteBash",
        "errorMessage": "E: Unable to locate package",
    },
}


@pytest.mark.parametrize(
    ("status", "told", "said"),
    [
        (
            "FAILED",
            {"reason": "r", "failureContext": _STEP},
            "FAILED at build / Driver / ApplyBuildComponents: E: Unable to locate package",
        ),
        ("FAILED", {"reason": "no capacity"}, "the bake is FAILED: no capacity"),
        ("CANCELLED", {}, "the bake is CANCELLED: Image Builder gives no reason"),
    ],
)
def test_a_failed_bake_says_where_and_why_and_publishes_nothing(
    status: str, told: dict[str, Any], said: str, world: World
) -> None:
    world.has((NOW, "BUILDING"))
    world.tells(NOW, status, **told)
    world.times(NOW)
    with pytest.raises(BakeError, match=said) as raised:
        world.bake()
    assert (raised.value.code, world.published) == (outcome.FAILED, None)
    assert "aws logs tail /aws/imagebuilder/tl-fif-dev-gpu-node" in world.text
    assert "build: ApplyBuildComponents" in world.text


def test_a_bake_without_an_image_here_publishes_nothing(world: World) -> None:
    world.has((NOW, "BUILDING"))
    world.tells(NOW, "AVAILABLE")
    world.times(NOW)
    with pytest.raises(BakeError, match="has no AMI in us-east-1") as raised:
        world.bake()
    assert raised.value.code == outcome.FAILED


def test_a_stack_that_is_not_deployed_has_no_pipeline(world: World) -> None:
    world.builder.add_client_error("get_image_pipeline", "ResourceNotFoundException")
    with pytest.raises(BakeError, match="pulumi up --stack dev") as raised:
        world.bake()
    assert raised.value.code == outcome.REFUSED


def test_a_bake_that_takes_too_long_goes_on_and_can_be_waited_for(world: World) -> None:
    world.has((NOW, "BUILDING"))
    world.tells(NOW, *["BUILDING"] * 4)
    with pytest.raises(BakeError, match=r"after 1 minutes .BUILDING. and goes on") as raised:
        world.bake(timeout_minutes=1)
    assert raised.value.code == outcome.TIMED_OUT


def test_another_versions_bake_is_left_alone(world: World) -> None:
    world.has((OLD, "TESTING"))
    with pytest.raises(BakeError, match=r"another version is being baked .1\.0\.3/1") as raised:
        world.bake()
    assert raised.value.code == outcome.BUSY
    assert f"cancel-image-creation --image-build-version-arn {OLD}" in str(raised.value)


def test_a_value_that_ssm_does_not_take_is_no_success(world: World) -> None:
    world.ami(NOW)
    world.has((NOW, "AVAILABLE"), lists=2)
    # SSM answers at once, and drops the value when EC2 has no such image.
    with Stubber(world.aws.ssm) as ssm:
        for at in range(33):
            if at == 1:
                ssm.add_response("put_parameter", {"Version": 1})
            ssm.add_client_error("get_parameter", "ParameterNotFound")
        with pytest.raises(BakeError, match="SSM has not taken it") as raised:
            world.bake()
    assert raised.value.code == outcome.FAILED


# --- what is not used any more


def test_an_old_image_goes_unless_anything_uses_it(world: World) -> None:
    names = ("old", "stopped", "published", "kept", "new")
    arns = {name: f"{BUILDER}:image/tl-fif-dev-{name}/1.0.1/1" for name in names} | {"new": NOW}
    amis = {name: world.ami(arn) for name, arn in arns.items()}
    others = world.ami(OLD, stack="prod")
    ec2, ssm = world.aws.ec2, world.aws.ssm
    run = ec2.run_instances(ImageId=amis["stopped"], MinCount=1, MaxCount=1)
    ec2.stop_instances(InstanceIds=[run["Instances"][0]["InstanceId"]])
    gone = ec2.run_instances(ImageId=amis["old"], MinCount=1, MaxCount=1)
    ec2.terminate_instances(InstanceIds=[gone["Instances"][0]["InstanceId"]])
    ssm.put_parameter(Name="/tl-fif/latest_ami_id", Value=amis["published"], Type="String")
    removed: list[Any] = []
    ec2.meta.events.register(
        "provide-client-params.ec2.DeregisterImage", lambda params, **_: removed.append(params)
    )
    world.has((NOW, "AVAILABLE"), lists=2)
    world.builder.add_response(
        "delete_image",
        {"imageBuildVersionArn": arns["old"]},
        {"imageBuildVersionArn": arns["old"]},
    )
    world.bake(keep=2)
    assert removed == [{"ImageId": amis["old"], "DeleteAssociatedSnapshots": True}]
    assert world.amis() == {*amis.values(), others} - {amis["old"]}
    assert f"removed {amis['old']} of " in world.text


def test_snapshots_that_stay_and_what_cannot_be_removed_are_said_and_are_no_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, baked = world.ami(OLD), world.ami(NOW)
    left = {"SnapshotId": "snap-1", "ReturnCode": "missing-permissions"}
    gone = {"Return": True, "DeleteSnapshotResults": [left, left | {"ReturnCode": "success"}]}
    monkeypatch.setattr(world.aws.ec2, "deregister_image", lambda **_: gone)
    world.has((NOW, "AVAILABLE"), lists=2)
    world.builder.add_client_error("delete_image", "ResourceDependencyException", "in use")
    assert world.bake() == world.published == baked
    assert f"removed {old} of " in world.text
    assert "warning: its snapshots are still there and cost: snap-1" in world.said
    assert "warning: old images are still there and cost: An error" in world.text


# --- the command


@pytest.fixture
def connected(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Aws, "connect", lambda region: world.aws)
    return world


def test_interrupted_it_says_so_and_the_next_waits_for_the_same_bake(
    connected: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    slept = iter([interrupted, lambda seconds: None])
    clock = Clock(sleep=lambda seconds: next(slept)(seconds))
    monkeypatch.setattr(bake, "__defaults__", (clock, print))
    connected.ami(NOW)
    connected.has(lists=3)
    connected.starts(NOW)
    connected.tells(NOW, "BUILDING")
    assert command.main(["--stack", "dev"]) == outcome.INTERRUPTED
    assert "run again" in capsys.readouterr().err
    connected.has((NOW, "BUILDING"))
    connected.tells(NOW, "BUILDING", "AVAILABLE")
    connected.times(NOW)
    assert command.main(["--stack", "dev"]) == outcome.PUBLISHED
    assert f"waiting for {NOW}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stack", "nosuch"], "there is no stack 'nosuch'; there are: dev, literal, prod"),
        (["--region", "us-east-1"], "AWS refuses: An error occurred (AccessDeniedException)"),
    ],
)
def test_what_cannot_be_started_ends_with_two_and_one_line(
    arguments: list[str], said: str, connected: World, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--region" in arguments:
        connected.builder.add_client_error("get_image_pipeline", "AccessDeniedException", "no")
    assert command.main(arguments) == outcome.REFUSED
    told = capsys.readouterr()
    assert told.err.startswith(f"tl-fif: {said}")
    assert told.err.count("\n") == 1


def test_without_credentials_it_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert command.main(["--stack", "dev"]) == outcome.REFUSED
    assert "AWS cannot be asked: Unable to locate credentials" in capsys.readouterr().err


def test_no_image_at_all_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--keep", "0"])
    assert ended.value.code == outcome.REFUSED
    assert "--keep = 0" in capsys.readouterr().err


def test_who_bakes_may_what_a_bake_calls_and_no_more(
    connected: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world = connected
    world.ami(OLD)
    world.ami(NOW)
    world.has(lists=3)
    world.bakes(NOW)
    world.builder.add_response("delete_image", {"imageBuildVersionArn": OLD})
    # What the fixtures of this test call is called as well.
    world.called.clear()
    world.bake()
    assert command.main(["--policy"]) == outcome.PUBLISHED
    document = json.loads(capsys.readouterr().out)
    assert document == iam.document(*iam.bake_images(REGION, ACCOUNT, "dev"))
    granted = {action for each in document["Statement"] for action in each["Action"]}
    # EC2 deletes the snapshots itself, if the caller may.
    assert granted == world.called | {"ec2:DeleteSnapshot"}
