"""The real AWS provider makes each stack in moto, finds nothing to change afterwards, changes what
changed and no more, and leaves nothing behind.
"""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from support.applied import (
    ONLY_MOTO,
    differences,
    start_fuller_moto,
    start_provider,
    stood_in,
)
from support.leftovers import inventory, stray_interfaces

from local.aws.moto import Moto
from local.machine.processes import Processes
from recording import kinds
from recording.applying import Change, Deployment, Outcome
from recording.model import Resource
from recording.references import Linked, link
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import Json, translate
from tlfif import names

# The first test waits for a life, and the lives are lived beside one another.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

VPC, TOPIC = "aws_vpc.network-vpc", "aws_sns_topic.alerts-mail"
BUCKET = "aws_s3_bucket.storage-replies"
NODE, API = "aws_instance.gpu-node-0", "aws_api_gateway_rest_api.gateway-api"
ROUTER, ALIAS = "aws_lambda_function.router-function", "aws_lambda_alias.router-alias"
DEPLOYMENT = "aws_api_gateway_deployment.gateway-deployment"


@dataclass(frozen=True)
class Place:
    """An account without anything but an image, and a folder that remembers what is made in it."""

    moto: Moto
    image: str
    terraform: Terraform

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.terraform, self.moto.url)

    def program(self, stack: str, **gpu: Any) -> Linked:
        return link(stack, config={"tl-fif:gpu": {"amiId": self.image, **gpu}})

    def configured(self, linked: Linked) -> Json:
        return stood_in(translate(linked, self.terraform.schema())[0])


Begun = Mapping[str, Future[Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Begun]:
    """Each stack's life, in an account of its own. The provider mostly waits, by itself: all of
    them at once take little longer than one.
    """
    program, plugins = find_terraform(), find_plugins()
    if program is None or plugins is None:
        pytest.skip(
            "Terraform with a mirror of its AWS provider was not found; "
            "TFLIF_TF_PLUGINS may name the mirror"
        )
    lived = {"literal": short_life, "prod": short_life, "dev": long_life}
    async with Processes(tmp_path_factory.mktemp("fuller-moto")) as procs:
        with ThreadPoolExecutor(len(lived)) as pool:
            begun = {}
            for stack, life in lived.items():
                moto = await start_fuller_moto(procs, "us-east-1", stack)
                folder = tmp_path_factory.mktemp(stack)
                attached = await start_provider(procs, plugins, moto.url, folder)
                terraform = Terraform(folder, program=program, plugins=plugins, attached=attached)
                place = Place(moto, moto.publish_image("/tl-fif/applied"), terraform)
                begun[stack] = pool.submit(life(place, stack))
            yield begun


# --- a life: made, the same again, gone


@dataclass(frozen=True, kw_only=True)
class Short:
    """What was seen of a stack that is made, planned again and destroyed; where it has a pipeline,
    planned after a deployment.
    """

    wanted: int
    made: Outcome
    deployed: str
    again: Mapping[str, Change]
    destroyed: Outcome
    left: set[str]


def deploy(moto: Moto, stack: str) -> str:
    """What a pipeline does with the router: new code, a version, the alias at it; the version."""
    functions, named = moto.client("lambda"), {"FunctionName": f"tl-fif-{stack}-router"}
    first = functions.get_alias(**named, Name="prod")["FunctionVersion"]
    assert first == "$LATEST", "nothing was deployed yet"
    functions.update_function_code(**named, ZipFile=_zipped("another router"))
    version = functions.publish_version(**named)["Version"]
    functions.update_alias(**named, Name="prod", FunctionVersion=version)
    return version


def _zipped(text: str) -> bytes:
    with io.BytesIO() as file, zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("name.txt", text)
        zipped.close()
        return file.getvalue()


def short_life(here: Place, stack: str) -> Callable[[], Short]:
    """The program is evaluated before, one at a time."""
    wanted = here.configured(here.program(stack))

    def live() -> Short:
        empty = inventory(here.moto)
        return Short(
            wanted=sum(len(named) for named in wanted["resource"].values()),
            made=here.deployment.apply(wanted),
            deployed=deploy(here.moto, stack) if "aws_codepipeline" in wanted["resource"] else "",
            again=here.deployment.plan(wanted),
            destroyed=here.deployment.destroy(),
            left=inventory(here.moto) - stray_interfaces(here.moto) - empty,
        )

    return live


@pytest.mark.story("RED-001", "RED-002", "OPS-003", "API-001", "CI-001", "CI-004")
@pytest.mark.parametrize("stack", ["literal", "prod"])
def test_a_stack_is_made_stays_as_it_is_and_is_gone(stack: str, lives: Begun) -> None:
    life = lives[stack].result()
    assert life.made.errors == []
    assert life.made.count == life.wanted
    assert differences(life.again) == {}
    assert set(ONLY_MOTO) == told(life.again), "remove what is no longer needed from ONLY_MOTO"
    assert (life.destroyed.errors, life.destroyed.count) == ([], life.made.count)
    assert life.left == set()
    assert (life.deployed == "1") == (stack == "literal"), "a deployment is no drift"
    print(f"{stack}: apply {life.made.seconds:.0f} s, destroy {life.destroyed.seconds:.0f} s")


def told(planned: Mapping[str, Change]) -> set[tuple[str, str]]:
    """The types and attributes that would change."""
    return {
        (address.partition(".")[0], attribute)
        for address, change in planned.items()
        for attribute in change.differing
    }


# --- a life with everything that happens to one


@dataclass(frozen=True, kw_only=True)
class Life:
    """What was seen of dev: interrupted, refused, finished, planned, changed and destroyed."""

    wanted: int
    interrupted: Outcome
    refused: Outcome
    finished: Outcome
    again: Mapping[str, Change]
    planned: Mapping[str, Change]
    changed: Outcome
    policies: tuple[Any, Any]
    node: Mapping[str, Any]
    versions: tuple[str, str]
    destroyed: Outcome
    left: set[str]


def long_life(here: Place, stack: str) -> Callable[[], Life]:
    """The programs are evaluated before, one at a time."""
    wanted = here.configured(here.program(stack))
    without_image = here.configured(here.program(stack, amiId="ami-0123456789abcdef0"))
    changed = here.configured(other(here.program(stack, idleMinutes=11)))

    def live() -> Life:
        deployment, moto, empty = here.deployment, here.moto, inventory(here.moto)
        interrupted = deployment.interrupt(wanted, at=VPC, others=(TOPIC, BUCKET))
        refused = deployment.apply(without_image)
        finished = deployment.apply(wanted)
        assert finished.errors == []
        again = deployment.plan(wanted)
        before = policy(moto)
        rest(moto)
        planned = deployment.plan(changed)
        outcome = deployment.apply(changed)
        policies, seen, versions = (before, policy(moto)), node(moto), served(moto)
        destroyed = deployment.destroy()
        return Life(
            wanted=sum(len(named) for named in wanted["resource"].values()),
            interrupted=interrupted,
            refused=refused,
            finished=finished,
            again=again,
            planned=planned,
            changed=outcome,
            policies=policies,
            node=seen,
            versions=versions,
            destroyed=destroyed,
            left=inventory(moto) - stray_interfaces(moto) - empty,
        )

    return live


@pytest.fixture(scope="module")
def life(lives: Begun) -> Life:
    return lives["dev"].result()


def other(linked: Linked) -> Linked:
    """The program with another text in its OpenAPI document and another router."""

    def edit(each: Resource) -> Resource:
        if each.type == kinds.apigateway.REST_API.token:
            body = json.loads(each.inputs["body"])
            body["info"]["description"] = "Another text."
            return replace(each, inputs={**each.inputs, "body": json.dumps(body)})
        if each.type == kinds.apigateway.DEPLOYMENT.token:
            return replace(each, inputs={**each.inputs, "triggers": {"content": "another"}})
        if each.name == "router-function":
            source = {"code": "dist/lambda/router-other.zip", "sourceCodeHash": "b3RoZXI="}
            return replace(each, inputs={**each.inputs, **source})
        return each

    resources = [edit(each) for each in linked.recording.resources]
    return replace(linked, recording=replace(linked.recording, resources=resources))


def rest(moto: Moto) -> None:
    """The node stops, as it does when nothing is asked, and the guardian's latch is set on it."""
    ec2 = moto.client("ec2")
    ec2.stop_instances(InstanceIds=[node(moto)["InstanceId"]])
    tag = {"Key": names.LATCH_TAG, "Value": "somebody else's"}
    ec2.create_tags(Resources=[node(moto)["InstanceId"]], Tags=[tag])


def node(moto: Moto) -> Mapping[str, Any]:
    (reservation,) = moto.client("ec2").describe_instances()["Reservations"]
    return reservation["Instances"][0]


def policy(moto: Moto) -> Any:
    """The policy of the only API, which GetRestApi tells as a text with escapes; None without."""
    (api,) = moto.client("apigateway").get_rest_apis()["items"]
    told = moto.client("apigateway").get_rest_api(restApiId=api["id"]).get("policy")
    return json.loads(json.loads(f'"{told}"')) if told else None


def served(moto: Moto) -> tuple[str, str]:
    """The router's newest version, and the one that the alias names."""
    client, name = moto.client("lambda"), "tl-fif-dev-router"
    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    newest = max((each["Version"] for each in versions if each["Version"].isdigit()), key=int)
    return newest, client.get_alias(FunctionName=name, Name="prod")["FunctionVersion"]


def test_an_interrupted_and_a_refused_apply_are_finished_by_the_next(life: Life) -> None:
    assert sorted(life.interrupted.done["create"]) == [BUCKET, TOPIC]
    assert life.interrupted.errors
    assert [each for each in life.refused.errors if each.startswith(NODE)]
    assert life.finished.errors == []
    # The interrupted network counts as half made: it is deleted and made anew.
    parts = (life.interrupted, life.refused, life.finished)
    made = [address for each in parts for address in each.done.get("create", ())]
    assert len(made) == len({*made}) == life.wanted


def test_a_second_plan_changes_nothing(life: Life) -> None:
    assert differences(life.again) == {}


@pytest.mark.story("API-001", "LAM-001")
def test_a_change_changes_what_it_is_about(life: Life) -> None:
    assert life.changed.errors == []
    changes = differences(life.planned)
    assert {API, ROUTER, DEPLOYMENT} <= changes.keys()
    about = ("aws_api_gateway_", "aws_lambda_", "aws_instance.", "aws_ssm_parameter.")
    assert [each for each in changes if not each.startswith(about)] == []
    assert NODE not in changes or "user_data" not in changes[NODE]


@pytest.mark.story("API-004")
def test_a_changed_body_leaves_the_fence(life: Life) -> None:
    before, after = life.policies
    assert before
    assert after == before


@pytest.mark.story("EC2-005")
def test_a_changed_setting_starts_no_stopped_node(life: Life) -> None:
    assert life.node["State"]["Name"] == "stopped"


def test_a_tag_that_somebody_else_set_stays(life: Life) -> None:
    assert names.LATCH_TAG in {each["Key"] for each in life.node["Tags"]}


def test_a_changed_router_is_live(life: Life) -> None:
    newest, serving = life.versions
    assert int(newest) > 1
    assert serving == newest


def test_nothing_is_left(life: Life) -> None:
    assert life.destroyed.errors == []
    assert life.left == set()
