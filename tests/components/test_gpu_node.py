"""The nodes, the bucket for their replies and the budget."""

import json
from typing import Any

import pytest
from support import sweeps
from support.program import INSTANCE, evaluate, statements, variables

from components.settings import GpuSettings
from recording import kinds
from recording.model import Recording, Resource
from tlfif import names


@pytest.mark.story("EC2-005")
def test_a_node_is_reached_by_nobody(recording: Recording) -> None:
    node = recording.one(INSTANCE).inputs
    assert "keyName" not in node
    assert "hibernation" not in node
    assert "associatePublicIpAddress" not in node
    assert node["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    assert node["rootBlockDevice"]["encrypted"] is True
    assert node["tags"] == {
        "env": "tinyllama",
        "stack": recording.stack,
        "Name": f"tl-fif-{recording.stack}-node-0",
    }
    ingress = recording.of_type(kinds.ec2.INGRESS_RULE.token)
    assert not [r for r in ingress if r.inputs["securityGroupId"] in node["vpcSecurityGroupIds"]]


@pytest.mark.story("EC2-003")
def test_a_node_reads_its_configuration_from_its_stacks_parameter(dev: Recording) -> None:
    parameter = dev.one(kinds.ssm.PARAMETER.token)
    assert parameter.inputs["name"] == names.node_parameter("dev") == "/tl-fif/dev/node"
    assert json.loads(parameter.inputs["insecureValue"]) == {
        "TLFIF_STACK": "dev",
        "TLFIF_REGION": "us-east-1",
        "TLFIF_REDIS_HOST": dev.outputs["redis_endpoint"],
        "TLFIF_REDIS_PORT": "6379",
        "TLFIF_REPLIES_BUCKET": dev.outputs["replies_bucket"],
        "TLFIF_MODEL": "tinyllama",
        "TLFIF_CONTEXT_TOKENS": "2048",
        "TLFIF_GPU_SLOTS": "8",
        "TLFIF_IDLE_MINUTES": "5",
        "TLFIF_MAX_LIFETIME_HOURS": "4",
        "TLFIF_BOOT_ALLOWANCE_MINUTES": "10",
        "TLFIF_GPU_EUR_PER_HOUR": "0.4617",
    }
    granted = statements(dev, "gpu-node-policy")["ReadParameter"]
    assert (granted["Action"], granted["Resource"]) == (
        ["ssm:GetParameter"],
        parameter.outputs["arn"],
    )
    assert parameter.urn in dev.one(INSTANCE).dependencies, "a new node boots at once"


# A value that differs from what dev has, for every key that a node can tell.
CHANGES = {
    "gpu": {
        "amiId": "ami-0123456789abcdef0",
        "slots": 9,
        "idleMinutes": 6,
        "maxLifetimeHours": 5,
        "bootAllowanceMinutes": 11,
        "diskGb": 31,
        "diskThroughputMbps": 250,
        "tlsIngress": True,
        "domain": "gpu.example.org",
        "count": 2,
        "wake": "backlog",
        "wakeAfterSeconds": 61,
    },
    "cpu": {"enabled": False, "memoryMb": 2048},
    "queue": {"engine": "redis", "nodeType": "cache.t4g.small", "replicas": 1},
    "gateway": {"privateEndpoint": True, "probe": "synthetics", "manageAccount": False},
    "budget": {"capEur": 21, "scope": "tag"},
    "alerts": {"email": "me@example.com"},
}


@pytest.mark.story("EC2-003", "OPS-003")
@pytest.mark.parametrize(
    ("group", "key"), [(group, key) for group, changes in CHANGES.items() for key in changes]
)
def test_no_setting_power_cycles_a_node(dev: Recording, group: str, key: str) -> None:
    changed = evaluate("dev", config={f"tl-fif:{group}": {key: CHANGES[group][key]}})
    old, new = (each.one(INSTANCE, "gpu-node-0") for each in (dev, changed))
    assert sweeps.power_cycled_by(old, new) == []


@pytest.mark.story("EC2-005")
@pytest.mark.parametrize(
    ("group", "key"), [(group, key) for group, changes in CHANGES.items() for key in changes]
)
def test_no_setting_opens_a_node(group: str, key: str) -> None:
    changed = evaluate("dev", config={f"tl-fif:{group}": {key: CHANGES[group][key]}})
    assert sweeps.nodes_are_reached_by_the_balancer_alone(changed) == []
    nodes = {
        each for node in changed.of_type(INSTANCE) for each in node.inputs["vpcSecurityGroupIds"]
    }
    ingress = changed.of_type(kinds.ec2.INGRESS_RULE.token)
    doors = [rule.name for rule in ingress if rule.inputs["securityGroupId"] in nodes]
    assert doors == (["network-node-from-balancer"] if key == "tlsIngress" else [])


@pytest.mark.story("OPS-003")
def test_every_tag_that_code_sets_is_known_as_such() -> None:
    own = {names.ENV_TAG, names.STACK_TAG}
    # An image's, which the program gives it.
    own |= {names.IMAGE_TAG, names.IMAGE_VERSION_TAG, names.IMAGE_DATE_TAG}
    constants = {key: value for key, value in vars(names).items() if key.endswith("_TAG")}
    assert set(constants.values()) - own == set(names.FOREIGN_TAGS)
    foreign = {f"names.{key}" for key, value in constants.items() if value not in own}
    assert sweeps.tags_set_by_code().keys() - foreign == set()
    call = 'ec2.create_tags(Resources=[i], Tags=[{"Key": names.X_TAG, "Value": ""}])'
    assert list(sweeps.keys_of_create_tags(call)) == ["names.X_TAG"]


def test_every_key_of_the_nodes_is_tried() -> None:
    # One type has a price, so no other can be tried: the sweep holds it. A spot node is another
    # one (test_fleet.py).
    tried = CHANGES["gpu"].keys() | {"instanceType", "spot"}
    assert tried == {field.alias for field in GpuSettings.model_fields.values()}


@pytest.mark.story("EC2-002")
def test_a_faster_disk_is_billed_and_the_usual_one_stays_as_it_was(dev: Recording) -> None:
    def disk(recording: Recording) -> dict[str, Any]:
        return recording.one(INSTANCE, "gpu-node-0").inputs["rootBlockDevice"]

    assert disk(dev) == {"volumeType": "gp3", "volumeSize": 30, "encrypted": True}
    gpu = {"diskThroughputMbps": 250, "count": 2}
    faster = evaluate("dev", config={"tl-fif:gpu": gpu})
    assert disk(faster)["throughput"] == 250
    [line] = [each for each in faster.bill if each["item"] == "gp3 throughput"]
    assert (line["quantity"], line["key"]) == (250, "gpu:diskThroughputMbps")
    assert line["usd"] == pytest.approx(2 * 125 * 0.04)


def test_several_nodes_share_a_role_but_not_the_right_to_stop_each_other() -> None:
    recording = evaluate("dev", config={"tl-fif:gpu": {"count": 3}})
    arns = {r.outputs["arn"] for r in recording.of_type(INSTANCE)}
    policies = [statements(recording, f"gpu-node-{n}-stop-self")["StopSelf"] for n in range(3)]
    assert {p["Resource"] for p in policies} == arns
    assert all(
        p["Condition"]["ArnEquals"] == {"ec2:SourceInstanceARN": p["Resource"]} for p in policies
    )
    assert variables(recording, "router-function")["TLFIF_BACKLOG_CAP"] == "1500"


def of_bucket(recording: Recording, kind: str) -> Resource:
    resource = recording.one(f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}")
    assert resource.inputs["bucket"] == recording.outputs["replies_bucket"]
    return resource


def test_the_bucket_is_private_encrypted_tls_only_and_emptied(recording: Recording) -> None:
    block = of_bucket(recording, "BucketPublicAccessBlock").inputs
    assert [value for key, value in block.items() if key != "bucket"] == [True] * 4
    encryption = of_bucket(recording, "BucketServerSideEncryptionConfiguration").inputs["rules"][0]
    assert encryption["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    policy = json.loads(of_bucket(recording, "BucketPolicy").inputs["policy"])["Statement"][0]
    assert (policy["Effect"], policy["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert of_bucket(recording, "BucketLifecycleConfiguration").inputs["rules"][0][
        "expiration"
    ] == {"days": 7}


@pytest.mark.story("OPS-003")
def test_the_budget_is_in_dollars_and_speaks_at_75_and_100_percent(recording: Recording) -> None:
    budget = recording.one(kinds.monitoring.BUDGET.token).inputs
    assert (budget["limitAmount"], budget["limitUnit"]) == ("23.00", "USD")
    assert "costFilters" not in budget
    mails = recording.outputs["alerts_topic_arn"]
    stop = recording.one(kinds.monitoring.TOPIC.token, "alerts-stop").outputs["arn"]
    assert [
        (n["threshold"], n["thresholdType"], n["subscriberSnsTopicArns"])
        for n in budget["notifications"]
    ] == [
        (75, "PERCENTAGE", [mails]),
        (100, "PERCENTAGE", [stop]),
    ]
    policy = json.loads(
        recording.one(kinds.monitoring.TOPIC_POLICY.token, "alerts-mail-policy").inputs["policy"]
    )
    services = [statement["Principal"]["Service"] for statement in policy["Statement"]]
    assert services == ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]


def test_alerts_and_budget_scope_are_opt_in() -> None:
    config = {"tl-fif:alerts": {"email": "me@example.com"}, "tl-fif:budget": {"scope": "tag"}}
    recording = evaluate("dev", config=config)
    mails = recording.one(kinds.monitoring.TOPIC_SUBSCRIPTION.token, "alerts-mail-address")
    assert mails.inputs["endpoint"] == "me@example.com"
    filters = recording.one(kinds.monitoring.BUDGET.token).inputs["costFilters"]
    assert filters == [{"name": "TagKeyValue", "values": ["user:env$tinyllama"]}]
