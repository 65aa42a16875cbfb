"""Which changes replace a resource: the table of kinds says what the real provider says of every
input of every stack.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.recordings import evaluate

from recording import kinds
from recording.kinds import KINDS
from recording.kinds.kind import Kind
from recording.model import Resource
from recording.replacing import Pair, available, replaced
from recording.shipped import stacks
from recording.terraform import Terraform, find_plugins, find_terraform
from recording.translation import terraform_type

Inputs = Mapping[str, Any]

QUEUE = kinds.elasticache.REPLICATION_GROUP.token
# What no stack declares, or only with one of its values: a kind's inputs before and after.
OTHERS: list[tuple[str, Inputs, Inputs]] = [
    # Replaced on the way back only, but replaced.
    (QUEUE, {"engine": "valkey"}, {"engine": "redis", "engineVersion": "7.1"}),
    (QUEUE, {"engineVersion": "8.1"}, {"engineVersion": "8.0"}),
    (QUEUE, {}, {"automaticFailoverEnabled": True, "numCacheClusters": 2}),
    (kinds.ssm.PARAMETER.token, {"tier": "Advanced"}, {"tier": "Standard"}),
    (kinds.ssm.PARAMETER.token, {}, {"name": "/y"}),
    (kinds.ssm.PARAMETER.token, {}, {"type": "SecureString"}),
    (kinds.ssm.PARAMETER.token, {}, {"value": "w"}),
    (kinds.monitoring.DASHBOARD.token, {}, {"dashboardName": "e"}),
    (kinds.monitoring.DASHBOARD.token, {}, {"dashboardBody": '{"widgets":[],"start":"-PT1H"}'}),
    (
        kinds.monitoring.TOPIC_SUBSCRIPTION.token,
        {},
        {"topic": "arn:aws:sns:us-east-1:123456789012:b"},
    ),
    (kinds.monitoring.TOPIC_SUBSCRIPTION.token, {}, {"protocol": "email-json"}),
    (kinds.monitoring.TOPIC_SUBSCRIPTION.token, {}, {"endpoint": "b@example.com"}),
    (kinds.monitoring.EVENT_TARGET.token, {"targetId": "a"}, {"targetId": "b"}),
    (kinds.monitoring.EVENT_TARGET.token, {}, {"input": "{}"}),
    (kinds.cognito.USER_POOL.token, {}, {"deletionProtection": "ACTIVE"}),
    (kinds.lambda_.FUNCTION.token, {}, {"reservedConcurrentExecutions": 3}),
    (kinds.ec2.INSTANCE.token, {}, {"rootBlockDevice.volumeSize": 40}),
    (kinds.ec2.INSTANCE.token, {}, {"rootBlockDevice.volumeType": "gp2"}),
]
# Of kinds that no stack has.
SAMPLES: dict[str, dict[str, Any]] = {
    kinds.ssm.PARAMETER.token: {"name": "/x", "type": "String", "value": "v"},
    kinds.monitoring.DASHBOARD.token: {"dashboardName": "d", "dashboardBody": '{"widgets":[]}'},
    kinds.monitoring.TOPIC_SUBSCRIPTION.token: {
        "topic": "arn:aws:sns:us-east-1:123456789012:a",
        "protocol": "email",
        "endpoint": "a@example.com",
    },
}
# Where the provider looks at values of the state too.
_VALID = {"ENABLED": "LEGACY", "Enabled": "Disabled"}
# Whose parts are asked for one by one.
_DEVICES = ("rootBlockDevice",)


def _other(value: Any) -> Any:
    """Another value of its type: before the change, where the provider checks little."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return _VALID.get(value, f"{value}x")
        case list():
            return [_other(each) for each in value]
        case dict():
            return {key: _other(each) for key, each in value.items()}
    raise TypeError(value)


def _at(inputs: Inputs, path: str) -> Any:
    name, _, rest = path.partition(".")
    return _at(inputs[name], rest) if rest else inputs[name]


def _with(inputs: Inputs, path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return {**inputs, name: _with(inputs[name], rest, value) if rest else value}


def _changed(inputs: Inputs, changes: Inputs) -> dict[str, Any]:
    changed = dict(inputs)
    for path, value in changes.items():
        changed = _with(changed, path, value)
    return changed


def _name_of(kind: Kind, schema: Mapping[str, Any]) -> str | None:
    """The property that names one of the kind, if the provider lets it be given."""
    type_ = terraform_type(kind.token, dict(schema))
    assert type_ is not None, kind.token
    snake = re.sub(r"(?=[A-Z])", "_", kind.name_property).lower()
    known = schema[type_]["block"]["attributes"].get(kind.attributes.get("name", snake), {})
    return kind.name_property if known.keys() & {"optional", "required"} else None


def _each_changed(resource: Resource, named: str | None) -> Iterator[tuple[str, Inputs, Inputs]]:
    """Each input of a resource, and all of its inputs with another value of that one, and with
    its own.
    """
    inputs = resource.inputs
    if named and named not in inputs:
        inputs = {**inputs, named: resource.outputs["name"]}
    for key, value in inputs.items():
        parts = [f"{key}.{part}" for part in value] if key in _DEVICES else [key]
        for path in parts:
            yield path, _with(inputs, path, _other(_at(inputs, path))), inputs


def _questions(schema: Mapping[str, Any]) -> dict[str, Pair]:
    """Pairs of resources that differ in one input, by what they are."""
    examples = {type_: _resource(type_, inputs) for type_, inputs in SAMPLES.items()}
    # What the program ignores is asked too.
    whole = [replace(e, ignore_changes=[]) for stack in stacks() for e in evaluate(stack).resources]
    asked: dict[str, tuple[Resource, Inputs, Inputs]] = {}
    for each in (each for each in whole if each.custom):
        examples.setdefault(each.type, each)
        for path, before, after in _each_changed(each, _name_of(KINDS[each.type], schema)):
            asked.setdefault(f"{each.type} {path}", (each, before, after))
    for type_, old, new in OTHERS:
        before = _changed(examples[type_].inputs, old)
        asked[f"{type_} {', '.join(new)}"] = examples[type_], before, _changed(before, new)
    return {
        question: (
            replace(example, urn=question, name=f"r{at}", inputs=dict(before)),
            replace(example, urn=question, name=f"r{at}", inputs=dict(after)),
        )
        for at, (question, (example, before, after)) in enumerate(asked.items())
    }


def _resource(type_: str, inputs: dict[str, Any]) -> Resource:
    return Resource(
        urn="",
        type=type_,
        name="",
        parent="",
        inputs=inputs,
        outputs={"name": "n"},
        id="i",
        dependencies=[],
        custom=True,
    )


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program, plugins = find_terraform(), find_plugins()
    if not available() or program is None or plugins is None:
        pytest.skip("the AWS provider was not found; TFLIF_TF_PLUGINS may name its mirror")
    folder: Path = tmp_path_factory.mktemp("terraform")
    return Terraform(folder, program=program, plugins=plugins).schema()


@pytest.mark.integration
@pytest.mark.story("RED-001")
def test_the_table_replaces_what_the_real_provider_replaces(schema: dict[str, Any]) -> None:
    questions = _questions(schema)
    theirs = replaced(list(questions.values()), "us-east-1")
    ours = {
        question
        for question, (before, after) in questions.items()
        if KINDS[before.type].replacing(before.inputs, after.inputs)
    }
    assert sorted(ours - theirs) == [], "changed in place by the provider"
    assert sorted(theirs - ours) == [], "replaced by the provider"


def test_a_part_of_an_input_can_replace() -> None:
    kind = Kind(token="aws:a/b:B", replaced_by=frozenset({"name", "device.encrypted"}))
    one = {"name": "n", "device": {"encrypted": True, "size": 1}, "tags": {}}

    assert kind.replacing(one, one) == set()
    bigger = {**one, "device": {"encrypted": True, "size": 2}, "tags": {"a": "b"}}
    assert kind.replacing(one, bigger) == set()
    assert kind.replacing(one, {**one, "device": {}}) == {"device"}
    assert kind.replacing(one, {"name": "m"}) == {"name", "device"}
