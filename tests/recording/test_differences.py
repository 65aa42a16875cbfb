"""Differences: property by property, and replaced where the real provider says so."""

import dataclasses
import json

import pytest
from support.recordings import evaluate

from recording import kinds, preview, replacing
from recording.differences import differences
from recording.model import Recording

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dev() -> Recording:
    return evaluate("dev")


def altered(recording: Recording, **inputs: dict[str, object]) -> Recording:
    """The recording with other inputs for resources by name (`_` for `-`)."""
    names = {name.replace("_", "-"): change for name, change in inputs.items()}
    resources = [
        dataclasses.replace(r, inputs={**r.inputs, **names.get(r.name, {})}) if r.custom else r
        for r in recording.resources
    ]
    return dataclasses.replace(recording, resources=resources)


def test_a_change_is_shown_property_by_property_inside_json_too(dev: Recording) -> None:
    policy = json.loads(dev.one(kinds.iam.ROLE_POLICY.token, "router-policy").inputs["policy"])
    policy["Statement"][0]["Action"].append("logs:DeleteLogGroup")
    changed = altered(
        dev,
        router_policy={"policy": json.dumps(policy)},
        queue_group={"nodeType": "cache.t4g.small"},
    )
    lines = [
        line for change in differences(dev, changed, []) for line in preview.shown_change(change)
    ]
    assert lines[:2] == [
        "~ queue-group  elasticache:ReplicationGroup",
        "    nodeType: cache.t4g.micro → cache.t4g.small",
    ]
    assert lines[2] == "~ router-policy  iam:RolePolicy"
    assert lines[3].startswith("    policy.Statement[0].Action: [")
    assert "logs:DeleteLogGroup" in lines[3]


def test_what_is_gone_is_removed(dev: Recording) -> None:
    fewer = dataclasses.replace(
        dev, resources=[r for r in dev.resources if r.name != "gpu-node-ssm"]
    )
    assert [(c.kind, c.resource.name) for c in differences(dev, fewer, [])] == [
        ("removed", "gpu-node-ssm")
    ]


@pytest.mark.skipif(
    not replacing.available(), reason="Terraform with a mirror of its AWS provider was not found"
)
def test_the_real_provider_says_what_is_replaced(dev: Recording) -> None:
    changed = altered(
        dev,
        network_vpc={"cidrBlock": "10.0.0.0/16"},
        gpu_node_0={"ami": "ami-00000000"},
        queue_parameters={"family": "redis7"},
        network_lambda_group={"description": "other"},
        queue_group={"nodeType": "cache.t4g.small"},
        router_function={"memorySize": 1024},
        router_role={"assumeRolePolicy": "{}"},
        storage_private={"blockPublicAcls": False},
    )
    kinds = {change.resource.name: change.kind for change in differences(dev, changed, [])}
    assert kinds == {
        "network-vpc": "replaced",
        "gpu-node-0": "replaced",
        "queue-parameters": "replaced",
        "network-lambda-group": "replaced",
        "queue-group": "changed",
        "router-function": "changed",
        "router-role": "changed",
        "storage-private": "changed",
    }


@pytest.mark.skipif(
    not replacing.available(), reason="Terraform with a mirror of its AWS provider was not found"
)
def test_what_the_provider_refuses_is_a_warning(dev: Recording) -> None:
    warnings: list[str] = []
    differences(dev, altered(dev, queue_group={"engine": "valky"}), warnings)
    assert (
        "the AWS provider refuses a change: aws_elasticache_replication_group.queue-group"
        in warnings[0]
    )


def test_without_the_provider_the_preview_says_that_it_was_not_asked(
    dev: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "find_plugins", lambda: None)
    changed = altered(dev, gpu_node_0={"ami": "ami-00000000"})
    changes = differences(dev, changed, [])
    assert [change.kind for change in changes] == ["changed"]
    assert f"({replacing.UNKNOWN})" in preview.as_text(changed, dev, changes, [])
