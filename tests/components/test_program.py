"""The real program, evaluated for each stack: what it is made of, and what it refuses."""

import ast
import logging
from typing import Any

import pytest
from support.program import INSTANCE, evaluate, strings

from components.settings import SettingsError
from recording import kinds
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording
from recording.shipped import stacks


def test_the_stacks_are_those_tested() -> None:
    assert {"dev", "prod"} <= set(stacks())


def test_main_is_imports_constructors_and_exports() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AugAssign, ast.Expr)
    module = ast.parse((ROOT / "__main__.py").read_text())
    assert [ast.unparse(node) for node in module.body if not isinstance(node, allowed)] == []
    logic = (ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    assert [ast.unparse(node) for node in ast.walk(module) if isinstance(node, logic)] == []


def test_no_value_was_missing_where_a_text_was_made_of_it(recording: Recording) -> None:
    # A mock answers None for an output it does not know, and an f-string or concat hides that.
    found = [
        (r.name, text) for r in recording.resources for text in strings(r.inputs) if "None" in text
    ]
    assert found == []


def test_the_program_uses_nothing_deprecated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate("dev")
    assert caplog.records == []


def test_everything_is_part_of_a_component_and_taggable_things_are_tagged(
    recording: Recording,
) -> None:
    for resource in recording.resources:
        if resource.custom:
            assert ":components:" in resource.parent, resource.name
            tags = resource.inputs.get("tags", {"env": "tinyllama", "stack": recording.stack})
            assert tags.items() >= {"env": "tinyllama", "stack": recording.stack}.items(), (
                resource.name
            )
    assert len([r for r in recording.resources if "tags" in r.inputs]) > 25


def test_outputs_say_where_everything_is(recording: Recording) -> None:
    outputs = recording.outputs
    assert outputs["ping_url"] == outputs["api_url"] + "/ping"
    assert outputs["gpu_instance_ids"] == [r.id for r in recording.of_type(INSTANCE)]
    assert {
        "user_pool_id",
        "user_pool_client_id",
        "redis_endpoint",
        "replies_bucket",
        "next_step",
    } <= outputs.keys()


@pytest.mark.story("EC2-002")
def test_without_an_image_there_is_no_node_and_the_next_step_is_named() -> None:
    bare = evaluate("dev", RecordingBackend("dev", "us-east-1", parameters={}))
    assert bare.of_type(INSTANCE) == []
    assert bare.outputs["gpu_instance_ids"] == []
    assert "/tl-fif/latest_ami_id-dev does not exist" in bare.outputs["next_step"]
    assert "pulumi config set --path 'tl-fif:gpu.amiId'" in bare.outputs["next_step"]


@pytest.mark.story("EC2-002")
def test_prod_takes_the_image_from_the_storys_parameter_and_no_other() -> None:
    parameters = {
        "/tl-fif/latest_ami_id": "ami-00000000",
        "/tl-fif/latest_ami_id-dev": "ami-11111111",
    }
    amis = {
        stack: evaluate(stack, RecordingBackend(stack, "us-east-1", parameters=parameters))
        .one(INSTANCE)
        .inputs["ami"]
        for stack in ("dev", "prod")
    }
    assert amis == {"dev": "ami-11111111", "prod": "ami-00000000"}


def test_a_configured_image_wins() -> None:
    backend = RecordingBackend("dev", "us-east-1", parameters={})
    recording = evaluate("dev", backend, config={"tl-fif:gpu": {"amiId": "ami-0123456789abcdef0"}})
    assert recording.one(INSTANCE).inputs["ami"] == "ami-0123456789abcdef0"


def test_a_wrong_key_in_a_stack_file_stops_the_program() -> None:
    with pytest.raises(
        SettingsError, match=r"queue:engin = \[hidden\]: no such key. Did you mean queue:engine"
    ):
        evaluate("dev", config={"tl-fif:queue": {"engin": "redis"}})


def test_an_instance_type_that_no_zone_offers_stops_the_program() -> None:
    class Elsewhere(RecordingBackend):
        def call(self, args: Any) -> dict[str, Any]:
            return {
                **super().call(args),
                **({"locations": []} if "Offerings" in args.token else {}),
            }

    with pytest.raises(
        Exception, match=r"gpu:instanceType = 'g4dn.xlarge' is not offered in us-east-1"
    ):
        evaluate("dev", Elsewhere("dev", "us-east-1"))


def test_two_stacks_in_one_account_share_no_fixed_name() -> None:
    def fixed(recording: Recording) -> set[tuple[str, str]]:
        inner = kinds.lambda_.ALIAS.token  # a name within its function
        return {
            (r.type, r.inputs["name"])
            for r in recording.resources
            if "name" in r.inputs and r.type != inner
        }

    assert fixed(evaluate("dev")) & fixed(evaluate("prod")) == set()
