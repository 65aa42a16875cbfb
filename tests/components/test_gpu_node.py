"""The nodes, the bucket for their replies and the budget."""

import json

import pytest
from support.program import INSTANCE, evaluate, statements, variables

from recording import kinds
from recording.model import Recording, Resource


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


def test_a_node_reads_its_configuration_from_user_data(dev: Recording) -> None:
    user_data = json.loads(dev.one(INSTANCE).inputs["userData"])
    assert user_data == {
        "TLFIF_STACK": "dev",
        "TLFIF_REGION": "us-east-1",
        "TLFIF_REDIS_HOST": dev.outputs["redis_endpoint"],
        "TLFIF_REDIS_PORT": "6379",
        "TLFIF_REPLIES_BUCKET": dev.outputs["replies_bucket"],
        "TLFIF_MODEL": "tinyllama",
        "TLFIF_GPU_SLOTS": "8",
        "TLFIF_IDLE_MINUTES": "5",
        "TLFIF_MAX_LIFETIME_HOURS": "4",
    }


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
    topic = recording.outputs["alerts_topic_arn"]
    assert [
        (n["threshold"], n["thresholdType"], n["subscriberSnsTopicArns"])
        for n in budget["notifications"]
    ] == [
        (75, "PERCENTAGE", [topic]),
        (100, "PERCENTAGE", [topic]),
    ]
    policy = json.loads(
        recording.one(kinds.monitoring.TOPIC_POLICY.token, "alerts-mail-policy").inputs["policy"]
    )
    services = [statement["Principal"]["Service"] for statement in policy["Statement"]]
    assert services == ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]


def test_alerts_and_budget_scope_are_opt_in() -> None:
    config = {"tl-fif:alerts": {"email": "me@example.com"}, "tl-fif:budget": {"scope": "tag"}}
    recording = evaluate("dev", config=config)
    assert (
        recording.one(kinds.monitoring.TOPIC_SUBSCRIPTION.token).inputs["endpoint"]
        == "me@example.com"
    )
    filters = recording.one(kinds.monitoring.BUDGET.token).inputs["costFilters"]
    assert filters == [{"name": "TagKeyValue", "values": ["user:env$tinyllama"]}]
