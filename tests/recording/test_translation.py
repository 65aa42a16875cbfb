"""What the program asks of its engine is asked of Terraform; the list of moto's gaps is true."""

import importlib.util
import re
from dataclasses import replace
from typing import Any

import pytest
from support.applied import MISSING

from recording import kinds
from recording.model import Recording, Resource
from recording.references import Linked
from recording.translation import Json, TranslationError, translate

SCHEMA: Json = {
    "aws_sns_topic": {
        "block": {
            "attributes": {
                "name": {"type": "string", "optional": True},
                "tags": {"type": ["map", "string"], "optional": True},
            }
        }
    }
}
TOPIC = Resource(
    urn="urn::topic",
    type=kinds.monitoring.TOPIC.token,
    name="topic",
    parent="",
    inputs={"name": "topic"},
    outputs={},
    id="topic",
    dependencies=[],
    custom=True,
)


def translated(**options: Any) -> Json:
    recording = Recording(stack="odd", resources=[replace(TOPIC, **options)], outputs={})
    linked = Linked(recording=recording, region="us-east-1", references={}, names={})
    return translate(linked, SCHEMA)[0]["resource"]["aws_sns_topic"]["topic"]


def test_a_replacement_comes_first_as_pulumi_has_it() -> None:
    assert translated()["lifecycle"] == {"create_before_destroy": True}
    assert "lifecycle" not in translated(delete_before_replace=True)


def test_what_is_protected_is_never_destroyed() -> None:
    assert translated(protect=True)["lifecycle"]["prevent_destroy"] is True


@pytest.mark.parametrize("path", ['tags["owner"]', "tags.owner"])
def test_what_is_left_to_others_is_ignored(path: str) -> None:
    ignored = translated(ignore_changes=["name", path])["lifecycle"]["ignore_changes"]
    assert ignored == ["name", 'tags["owner"]']


def test_an_ignored_path_without_a_place_is_named() -> None:
    with pytest.raises(TranslationError, match=r"topic: ignores nmae"):
        translated(ignore_changes=["nmae"])


@pytest.mark.parametrize(("service", "operation"), MISSING.values(), ids=list(MISSING))
def test_moto_still_has_no(service: str, operation: str) -> None:
    if importlib.util.find_spec(f"moto.{service}") is None:
        return
    responses = vars(importlib.import_module(f"moto.{service}.responses")).values()
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    assert not any(hasattr(each, name) for each in responses if isinstance(each, type))
