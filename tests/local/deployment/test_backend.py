"""The real program, made in the local cloud: real buckets, roles, instances and a Valkey, from its
own arguments.
"""

import json
from typing import Any

import pytest
import redis
from pulumi.runtime import MockResourceArgs
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.calls import REGION
from support.recordings import evaluate

from local.aws.moto import Moto
from local.deployment.backend import LocalBackend, bake
from local.deployment.kinds import MAKERS
from local.machine.valkey import Valkey
from recording import kinds
from recording.model import Recording
from tlfif import names

pytestmark = pytest.mark.integration

API_URL = "http://127.0.0.1:8080/v1"


@pytest.fixture
def recording(moto: Moto, valkey: Valkey) -> Recording:
    bake(moto, "dev")
    return evaluate("dev", LocalBackend("dev", moto, valkey, api_url=API_URL))


async def test_the_whole_program_becomes_real(
    moto: Moto, valkey: Valkey, recording: Recording
) -> None:
    _check_outputs(recording)
    _check_network(moto, recording)
    _check_bucket(moto, recording)
    _check_identity(moto, recording)
    _check_node(moto, valkey, recording)
    _check_queue(valkey, recording)
    _check_guardrails(moto, recording)
    _check_functions(valkey, recording)


def _check_outputs(recording: Recording) -> None:
    assert recording.outputs["api_url"] == API_URL
    assert recording.outputs["redis_endpoint"] == "127.0.0.1"


def _check_network(moto: Moto, recording: Recording) -> None:
    ec2 = moto.client("ec2")
    vpc = recording.one(kinds.ec2.VPC.token)
    (real,) = ec2.describe_vpcs(VpcIds=[vpc.id])["Vpcs"]
    assert real["CidrBlock"] == "10.20.0.0/22"
    assert real["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == vpc.outputs["ipv6CidrBlock"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc.id]}])["Subnets"]
    public = {each["CidrBlock"] for each in subnets if each["MapPublicIpOnLaunch"]}
    assert public == {"10.20.2.0/24", "10.20.3.0/25", "10.20.3.128/25"}
    private = {each["CidrBlock"] for each in subnets} - public
    assert private == {"10.20.0.0/24", "10.20.1.0/24"}
    groups = [each.id for each in recording.of_type(kinds.ec2.SECURITY_GROUP.token)]
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": groups}])[
        "SecurityGroupRules"
    ]
    declared = {
        each.id
        for each in recording.resources
        if "securityGroup" in each.type and each.id.startswith("sgr-")
    }
    assert {each["SecurityGroupRuleId"] for each in rules} == declared, (
        "and no rule that lets everything out"
    )


def _check_bucket(moto: Moto, recording: Recording) -> None:
    s3, bucket = moto.client("s3"), recording.one(kinds.s3.BUCKET.token).id
    assert bucket == recording.outputs["replies_bucket"]
    s3.put_object(Bucket=bucket, Key="replies/a", Body=b"not denied, though nothing here is TLS")
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    kept = {rule["ID"]: rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule}
    assert kept == {"expire-replies": 7, "expire-canary": 7, "expire-incoming": 1}
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def _check_identity(moto: Moto, recording: Recording) -> None:
    pool, client = recording.outputs["user_pool_id"], recording.outputs["user_pool_client_id"]
    idp = moto.client("cognito-idp")
    real = idp.describe_user_pool(UserPoolId=pool)["UserPool"]
    assert real["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert real["Policies"]["PasswordPolicy"]["MinimumLength"] == 12
    flows = idp.describe_user_pool_client(UserPoolId=pool, ClientId=client)["UserPoolClient"][
        "ExplicitAuthFlows"
    ]
    assert "ALLOW_USER_PASSWORD_AUTH" in flows


def _check_node(moto: Moto, valkey: Valkey, recording: Recording) -> None:
    (node,) = recording.outputs["gpu_instance_ids"]
    (reservation,) = moto.client("ec2").describe_instances(InstanceIds=[node])["Reservations"]
    (real,) = reservation["Instances"]
    assert real["State"]["Name"] == "stopped"
    assert real["InstanceType"] == "g4dn.xlarge"
    assert {"Key": "stack", "Value": "dev"} in real["Tags"]
    assert real["MetadataOptions"]["HttpTokens"] == "required"
    user_data, role_arn = moto.user_data_and_role(real)
    stack = json.loads(user_data or "")["TLFIF_STACK"]
    parameter = moto.client("ssm").get_parameter(Name=names.node_parameter(stack))["Parameter"]
    configuration = json.loads(parameter["Value"])
    assert (configuration["TLFIF_REDIS_HOST"], configuration["TLFIF_REDIS_PORT"]) == (
        valkey.host,
        str(valkey.port),
    )
    policies = moto.client("iam").list_role_policies(RoleName=str(role_arn).rpartition("/")[2])[
        "PolicyNames"
    ]
    assert len(policies) == 2


def _check_queue(valkey: Valkey, recording: Recording) -> None:
    assert recording.one(kinds.elasticache.REPLICATION_GROUP.token).outputs["port"] == valkey.port
    with valkey.operator(decode_responses=True) as client:
        settings: Any = client.config_get("maxmemory*")
    # A cache.t4g.micro's 512 MiB, less the reserved quarter.
    assert (settings["maxmemory-policy"], settings["maxmemory"]) == ("noeviction", "402653184")


def _check_guardrails(moto: Moto, recording: Recording) -> None:
    budgets = moto.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    assert [(each["BudgetName"], each["BudgetLimit"]) for each in budgets] == [
        ("tl-fif-dev", {"Amount": "23.00", "Unit": "USD"})
    ]
    groups = moto.client("logs").describe_log_groups()["logGroups"]
    assert {each["logGroupName"]: each["retentionInDays"] for each in groups}[
        "/apigw/tl-fif-dev"
    ] == 30
    topic = recording.outputs["alerts_topic_arn"]
    attributes = moto.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert "budgets.amazonaws.com" in attributes["Policy"]


def _check_functions(valkey: Valkey, recording: Recording) -> None:
    router = recording.one(kinds.lambda_.FUNCTION.token, "router-function")
    variables = router.inputs["environment"]["variables"]
    assert variables["TLFIF_REDIS_PORT"] == str(valkey.port)
    assert variables["TLFIF_USER_POOL_ID"] == recording.outputs["user_pool_id"]
    roles = {each.outputs["arn"] for each in recording.of_type(kinds.iam.ROLE.token)}
    assert router.inputs["role"] in roles


async def test_an_unknown_type_is_named(moto: Moto, valkey: Valkey) -> None:
    backend = LocalBackend("dev", moto, valkey)
    args = MockResourceArgs(typ="aws:rds/instance:Instance", name="db", inputs={}, custom=True)

    with pytest.raises(
        LookupError,
        match=r"cannot make aws:rds/instance:Instance \(.*-db-.*\): add it to recording/kinds/",
    ):
        backend.new_resource(args)


# What the program does not declare yet; botocore refuses a property that has no counterpart in the
# API.
LATER: dict[str, dict[str, Any]] = {
    kinds.ssm.PARAMETER.token: {"name": "/x", "type": "String", "value": "v"},
    kinds.monitoring.METRIC_ALARM.token: {
        "comparisonOperator": "GreaterThanThreshold",
        "evaluationPeriods": 5,
        "datapointsToAlarm": 3,
        "metricName": "Latency",
        "namespace": "AWS/ApiGateway",
        "dimensions": {"ApiName": "tl-fif"},
        "extendedStatistic": "p95",
        "period": 60,
        "threshold": 300,
        "alarmActions": ["arn:aws:sns:us-east-1:123456789012:t"],
        "okActions": ["arn:aws:sns:us-east-1:123456789012:t"],
        "treatMissingData": "notBreaching",
        "tags": {"env": "tinyllama"},
    },
    kinds.monitoring.DASHBOARD.token: {
        "dashboardName": "d",
        "dashboardBody": '{"widgets": []}',
    },
    kinds.monitoring.EVENT_RULE.token: {
        "scheduleExpression": "rate(1 minute)",
        "description": "d",
    },
}


@pytest.mark.parametrize("kind", sorted(LATER))
def test_types_that_later_steps_need_can_be_made(moto: Moto, kind: str) -> None:
    assert MAKERS[kind](moto, LATER[kind].get("name", "a-name"), LATER[kind])["id"]


def test_a_bucket_policy_is_kept_but_for_its_conditional_statements(moto: Moto) -> None:
    moto.client("s3").create_bucket(Bucket="logs")
    everybody = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": "arn:aws:s3:::logs/*",
    }
    conditional = {
        **everybody,
        "Action": "s3:*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [everybody, conditional]}

    make = MAKERS[kinds.s3.BUCKET_POLICY.token]
    assert make(moto, "p", {"bucket": "logs", "policy": json.dumps(policy)}) == {"id": "logs"}

    kept = json.loads(moto.client("s3").get_bucket_policy(Bucket="logs")["Policy"])
    assert kept["Statement"] == [everybody]


def test_a_rule_has_targets(moto: Moto) -> None:
    MAKERS[kinds.monitoring.EVENT_RULE.token](
        moto, "rule", {"scheduleExpression": "rate(1 minute)"}
    )
    target = {
        "rule": "rule",
        "arn": f"arn:aws:lambda:{REGION}:123456789012:function:f",
        "input": "{}",
    }
    MAKERS[kinds.monitoring.EVENT_TARGET.token](moto, "target", target)

    (real,) = moto.client("events").list_targets_by_rule(Rule="rule")["Targets"]
    assert (real["Arn"], real["Input"]) == (target["arn"], "{}")


# --- the queue's server


async def test_valkey_comes_back_on_its_port_with_its_settings(valkey: Valkey) -> None:
    with redis.Redis(valkey.host, valkey.port, retry=Retry(NoBackoff(), 0)) as client:
        client.set("a", "b")
        valkey.configure(maxmemory_policy="noeviction")
        await valkey.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        await valkey.start()
        assert client.get("a") is None, "its memory is gone, as on ElastiCache"
    with valkey.operator(decode_responses=True) as operator:
        settings: Any = operator.config_get("maxmemory-policy")
    assert settings == {"maxmemory-policy": "noeviction"}


async def test_valkey_refuses_what_elasticache_refuses(valkey: Valkey) -> None:
    with redis.Redis(valkey.host, valkey.port) as client:
        for command in (
            "CONFIG GET maxmemory",
            "DEBUG SLEEP 0",
            "SHUTDOWN",
            "ACL SETUSER x",
            "BGSAVE",
        ):
            with pytest.raises(redis.ResponseError, match=r"no permissions|not allowed"):
                client.execute_command(*command.split())
