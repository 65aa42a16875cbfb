"""The real AWS provider accepts every stack, and refuses what is wrong with one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from support.recordings import different

from recording import kinds
from recording.model import Resource
from recording.references import Linked, link
from recording.shipped import stacks
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import NEWER, NewerProperty, TranslationError, translate

pytestmark = pytest.mark.integration

QUEUE = kinds.elasticache.REPLICATION_GROUP.token
INSTANCE = kinds.ec2.INSTANCE.token
API = kinds.apigateway.REST_API.token


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    program, plugins = find_terraform(), find_plugins()
    if program is None or plugins is None:
        pytest.skip(
            "Terraform with a mirror of its AWS provider was not found; "
            "TFLIF_TF_PLUGINS may name the mirror"
        )
    return Terraform(tmp_path_factory.mktemp("terraform"), program=program, plugins=plugins)


@pytest.fixture(scope="module")
def schema(terraform: Terraform) -> dict[str, Any]:
    return terraform.schema()


@pytest.fixture(scope="module")
def dev() -> Linked:
    return link("dev")


def changed(linked: Linked, kind: str, **inputs: Any) -> Linked:
    """The recording with some inputs of its first resource of a type set otherwise."""
    target = linked.recording.of_type(kind)[0]

    def change(each: Resource) -> Resource:
        return replace(each, inputs={**each.inputs, **inputs}) if each is target else each

    resources = [change(each) for each in linked.recording.resources]
    return replace(linked, recording=replace(linked.recording, resources=resources))


def without(linked: Linked, kind: str) -> Linked:
    resources = [each for each in linked.recording.resources if each.type != kind]
    return replace(linked, recording=replace(linked.recording, resources=resources))


@pytest.mark.story("RED-001", "RED-002", "OPS-003", "API-001")
@pytest.mark.parametrize("stack", different())
def test_the_real_provider_validates_and_plans_every_resource(
    stack: str, terraform: Terraform, schema: dict[str, Any]
) -> None:
    """dev is left out: it declares what prod does."""
    linked = link(stack)
    configuration, _ = translate(linked, schema)
    verdict = terraform.judge(configuration)
    assert verdict.errors == []
    assert verdict.planned == len([each for each in linked.recording.resources if each.custom])


def test_what_is_left_out_is_newer_than_the_provider_and_nothing_on_that_list_is_stale(
    schema: dict[str, Any],
) -> None:
    left_out = set().union(*(translate(link(stack), schema)[1] for stack in stacks()))
    assert set(NEWER) == left_out, "remove what is no longer needed from NEWER"
    assert [each for each in NEWER if not in_api(each)] == []


def test_the_configuration_is_the_same_in_every_run(schema: dict[str, Any], dev: Linked) -> None:
    assert translate(link("dev"), schema) == translate(dev, schema)


def test_references_stay_references(schema: dict[str, Any], dev: Linked) -> None:
    resources = translate(dev, schema)[0]["resource"]
    policy = resources["aws_iam_role_policy"]["gpu-node-policy"]["policy"]
    assert "${aws_s3_bucket.storage-replies.arn}/replies/*" in policy
    assert (
        "${aws_lambda_function.gateway-authorizer-function.invoke_arn}"
        in resources["aws_api_gateway_rest_api"]["gateway-api"]["body"]
    )
    waits = resources["aws_api_gateway_stage"]["gateway-stage"]["depends_on"]
    assert {
        "aws_api_gateway_account.gateway-account",
        "aws_lambda_permission.router-from-api",
    } < set(waits)


# --- what is wrong is caught


def test_a_misspelt_nested_property_is_named(schema: dict[str, Any], dev: Linked) -> None:
    wrong = changed(
        dev, INSTANCE, metadataOptions={"httpTokens": "required", "httpEndpont": "enabled"}
    )
    with pytest.raises(
        TranslationError,
        match=r"gpu-node-0.metadataOptions.httpEndpont: the provider's aws_instance has no",
    ):
        translate(wrong, schema)


def test_a_value_of_the_wrong_kind_is_named(schema: dict[str, Any], dev: Linked) -> None:
    with pytest.raises(TranslationError, match=r"queue-group\.port: .* is no number"):
        translate(changed(dev, QUEUE, port={"number": 6379}), schema)


def test_an_unknown_type_is_named(schema: dict[str, Any], dev: Linked) -> None:
    odd = replace(
        dev.recording.of_type(QUEUE)[0], type="aws:elasticache/replicationGruop:ReplicationGruop"
    )
    wrong = replace(dev, recording=replace(dev.recording, resources=[odd]))
    with pytest.raises(
        TranslationError, match="queue-group: the provider has no resource for aws:elasticache"
    ):
        translate(wrong, schema)


def faults(dev: Linked) -> Iterator[tuple[str, Linked, Mapping[str, str]]]:
    subnets = kinds.elasticache.SUBNET_GROUP.token
    yield "reference", without(dev, subnets), {"queue-group": "has not been declared"}
    yield (
        "engine",
        changed(dev, QUEUE, engine="valky"),
        {"queue-group": 'expected engine to be one of ["redis" "valkey"]'},
    )
    yield (
        "enum",
        changed(dev, INSTANCE, metadataOptions={"httpTokens": "requierd"}),
        {"gpu-node-0": "http_tokens"},
    )
    yield (
        "failover",
        changed(dev, QUEUE, automaticFailoverEnabled=True),
        {"queue-group": "num_cache_clusters"},
    )


@pytest.mark.parametrize("fault", ["reference", "engine", "enum", "failover"])
def test_the_provider_refuses_what_is_wrong_and_names_it(
    fault: str, terraform: Terraform, schema: dict[str, Any], dev: Linked
) -> None:
    wrong, said = next((linked, said) for name, linked, said in faults(dev) if name == fault)
    errors = "\n".join(terraform.judge(translate(wrong, schema)[0]).errors)
    for resource, what in said.items():
        assert resource in errors
        assert what in errors


# --- properties newer than the provider


def in_api(newer: NewerProperty) -> bool:
    """Whether botocore's model of the operation has the member (dots lead into structures)."""
    shape = (
        botocore.session.get_session()
        .get_service_model(newer.service)
        .operation_model(newer.operation)
        .input_shape
    )
    for part in newer.member.split("."):
        members = getattr(shape, "members", {})
        if part not in members:
            return False
        shape = members[part]
    return True


def test_a_property_newer_than_the_provider_is_left_out_only_by_the_list(
    schema: dict[str, Any], dev: Linked
) -> None:
    newer = NewerProperty(
        type="aws_api_gateway_rest_api",
        path="securityPolicy",
        service="apigateway",
        operation="CreateRestApi",
        member="securityPolicy",
        why="for this test",
    )
    modern = changed(dev, API, securityPolicy="SecurityPolicy_TLS13_1_3_2025_09")
    with pytest.raises(TranslationError, match=r"gateway-api\.securityPolicy"):
        translate(modern, schema)
    configuration, left_out = translate(modern, schema, [*NEWER, newer])
    assert left_out == {*NEWER, newer}
    assert "securityPolicy" not in str(configuration["resource"]["aws_api_gateway_rest_api"])
    assert in_api(newer)
    assert not in_api(replace(newer, member="securityPolciy"))
    assert newer not in translate(dev, schema, [*NEWER, newer])[1], (
        "and is stale where nothing needs it"
    )


def test_a_mirror_is_found_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = (
        tmp_path / "registry.terraform.io/hashicorp/aws/9.9.9/any_arch/terraform-provider-aws_v9"
    )
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    monkeypatch.setenv("TFLIF_TF_PLUGINS", str(tmp_path))
    assert find_plugins() == tmp_path
