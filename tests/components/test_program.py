"""The real program, evaluated for each stack: what it declares, who may do what, and what it
refuses.
"""

import ast
import ipaddress
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from components import gateway, iam, network, pricing
from components.settings import SettingsError
from recording import kinds
from recording.evaluate import evaluate, stacks
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording, Resource
from tlfif import names

FUNCTION = kinds.lambda_.FUNCTION.token
INSTANCE = kinds.ec2.INSTANCE.token
LOG_GROUP = kinds.monitoring.LOG_GROUP.token
POLICY = kinds.iam.ROLE_POLICY.token


@pytest.fixture(scope="module", params=["dev", "prod"])
def recording(request: pytest.FixtureRequest) -> Recording:
    return evaluate(request.param)


@pytest.fixture(scope="module")
def dev() -> Recording:
    return evaluate("dev")


def variables(recording: Recording, function: str) -> dict[str, str]:
    return recording.one(FUNCTION, function).inputs["environment"]["variables"]


def statements(recording: Recording, policy: str) -> dict[str, dict[str, Any]]:
    document = json.loads(recording.one(POLICY, policy).inputs["policy"])
    return {statement["Sid"]: statement for statement in document["Statement"]}


def body(recording: Recording) -> dict[str, Any]:
    return json.loads(recording.one(kinds.apigateway.REST_API.token).inputs["body"])


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from keys(item)


# --- the program as a whole


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
        SettingsError, match=r"queue:engin = 'redis': no such key. Did you mean queue:engine"
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


# --- network


@pytest.mark.story("RED-002")
def test_the_queue_is_reached_from_functions_and_nodes_only(recording: Recording) -> None:
    groups = {r.name: r.id for r in recording.of_type(kinds.ec2.SECURITY_GROUP.token)}
    rules = recording.of_type(kinds.ec2.INGRESS_RULE.token)
    allowed = {
        (
            r.inputs["securityGroupId"],
            r.inputs["referencedSecurityGroupId"],
            r.inputs["fromPort"],
            r.inputs["toPort"],
        )
        for r in rules
    }
    queue = groups["network-queue-group"]
    assert allowed == {
        (queue, groups["network-lambda-group"], 6379, 6379),
        (queue, groups["network-node-group"], 6379, 6379),
    }
    assert not [r for r in rules if "cidrIpv4" in r.inputs or "cidrIpv6" in r.inputs]


@pytest.mark.story("RED-002")
def test_the_queue_is_encrypted_at_rest_and_keeps_accepted_jobs(recording: Recording) -> None:
    group = recording.one(kinds.elasticache.REPLICATION_GROUP.token).inputs
    assert (group["atRestEncryptionEnabled"], group["transitEncryptionEnabled"]) == (True, False)
    assert (group["clusterMode"], group["numCacheClusters"], group["automaticFailoverEnabled"]) == (
        "disabled",
        1,
        False,
    )
    assert (group["engine"], group["nodeType"], group["port"]) == (
        "valkey",
        "cache.t4g.micro",
        6379,
    )
    parameters = recording.one(kinds.elasticache.PARAMETER_GROUP.token).inputs
    assert parameters["parameters"] == [{"name": "maxmemory-policy", "value": "noeviction"}]
    subnet = recording.one(kinds.ec2.SUBNET.token, "network-queue-subnet")
    assert subnet.inputs["cidrBlock"] == "10.20.1.0/24"
    assert recording.one(kinds.elasticache.SUBNET_GROUP.token).inputs["subnetIds"] == [subnet.id]


def test_replicas_add_failover() -> None:
    recording = evaluate("dev", config={"tl-fif:queue": {"engine": "redis", "replicas": 1}})
    group = recording.one(kinds.elasticache.REPLICATION_GROUP.token).inputs
    assert (group["engine"], group["numCacheClusters"], group["automaticFailoverEnabled"]) == (
        "redis",
        2,
        True,
    )


def test_subnets_have_each_their_own_ipv6_block_in_the_vpc(recording: Recording) -> None:
    vpc = ipaddress.IPv6Network(recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"])
    blocks = [
        ipaddress.IPv6Network(r.inputs["ipv6CidrBlock"])
        for r in recording.of_type(kinds.ec2.SUBNET.token)
    ]
    assert len(set(blocks)) == 3
    assert all(block.prefixlen == 64 and block.subnet_of(vpc) for block in blocks)
    assert network.ipv6_subnet("2600:1f18:1:aa00::/56", 255) == "2600:1f18:1:aaff::/64"


def test_only_nodes_get_a_public_address_and_nothing_pays_for_nat(recording: Recording) -> None:
    public = [
        r.name
        for r in recording.of_type(kinds.ec2.SUBNET.token)
        if r.inputs.get("mapPublicIpOnLaunch")
    ]
    assert public == ["network-node-subnet"]
    assert [r for r in recording.resources if "Nat" in r.type] == []
    assert [
        r.inputs["vpcEndpointType"] for r in recording.of_type(kinds.ec2.VPC_ENDPOINT.token)
    ] == ["Gateway"]


# --- functions


@pytest.mark.story("LAM-001")
def test_the_router_is_what_the_story_asks_for(recording: Recording) -> None:
    router = recording.one(FUNCTION, "router-function").inputs
    assert (router["runtime"], router["memorySize"], router["architectures"]) == (
        "python3.12",
        512,
        ["arm64"],
    )
    assert router["handler"] == "router.handler.handler"
    assert router["tracingConfig"] == {"mode": "Active"}
    assert router["vpcConfig"]["ipv6AllowedForDualStack"] is True


def test_the_functions_get_the_environment_they_read(dev: Recording) -> None:
    router = variables(dev, "router-function")
    assert router == {
        "TLFIF_STACK": "dev",
        "TLFIF_REDIS_HOST": dev.outputs["redis_endpoint"],
        "TLFIF_REDIS_PORT": "6379",
        "TLFIF_USER_POOL_ID": dev.outputs["user_pool_id"],
        "TLFIF_CLIENT_ID": dev.outputs["user_pool_client_id"],
        "TLFIF_REPLIES_BUCKET": dev.outputs["replies_bucket"],
        "TLFIF_BACKLOG_CAP": str(names.BACKLOG_PER_NODE),
        "TLFIF_GPU_COUNT": "1",
        "TLFIF_GPU_SLOTS": "8",
        "TLFIF_IDLE_MINUTES": "5",
        "TLFIF_CAP_EUR": "20",
        "TLFIF_GPU_EUR_PER_HOUR": "0.4617",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
    }
    assert variables(dev, "gateway-authorizer-function") == {
        "TLFIF_USER_POOL_ID": dev.outputs["user_pool_id"],
        "TLFIF_CLIENT_ID": dev.outputs["user_pool_client_id"],
    }


def test_each_function_logs_to_its_own_group_with_retention(recording: Recording) -> None:
    for function in recording.of_type(FUNCTION):
        group = next(
            g
            for g in recording.of_type(LOG_GROUP)
            if g.id == function.inputs["loggingConfig"]["logGroup"]
        )
        assert group.id == f"/aws/lambda/{function.inputs['name']}"
        assert group.inputs["retentionInDays"] > 0


# --- permissions


def test_the_router_may_start_and_stop_this_stacks_nodes_and_no_other(recording: Recording) -> None:
    granted = statements(recording, "router-policy")
    tags = {"aws:ResourceTag/env": "tinyllama", "aws:ResourceTag/stack": recording.stack}
    nodes = "arn:aws:ec2:us-east-1:123456789012:instance/*"
    assert granted["StartNodes"]["Condition"] == {
        "StringEquals": tags,
        "Null": {"aws:ResourceTag/tlfif-budget-latch": "true"},
    }
    assert granted["StopNodes"]["Condition"] == {"StringEquals": tags}
    assert granted["StartNodes"]["Resource"] == granted["StopNodes"]["Resource"] == nodes


def test_a_node_may_stop_only_itself(recording: Recording) -> None:
    instance = recording.one(INSTANCE)
    stop = statements(recording, "gpu-node-0-stop-self")["StopSelf"]
    assert stop["Resource"] == instance.outputs["arn"]
    assert stop["Condition"]["ArnEquals"] == {"ec2:SourceInstanceARN": instance.outputs["arn"]}
    work = statements(recording, "gpu-node-work")
    assert work["PutMetrics"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": names.NAMESPACE_GPU}
    }
    assert set(work) == {"ReadReplies", "WriteReplies", "SeeMissingReplies", "PutMetrics"}


def test_no_policy_has_a_wildcard_action_and_a_wildcard_resource_only_where_aws_knows_no_other(
    recording: Recording,
) -> None:
    unavoidable = {"SendTraces", "AttachToVpc", "DescribeNodes", "PutMetrics", "FindBuckets"}
    for policy in recording.of_type(POLICY):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            assert not [action for action in statement["Action"] if "*" in action], policy.name
            assert statement["Resource"] != "*" or statement["Sid"] in unavoidable, (
                policy.name,
                statement["Sid"],
            )


def test_api_gateway_reads_replies_and_nothing_else(recording: Recording) -> None:
    bucket = f"arn:aws:s3:::{recording.outputs['replies_bucket']}"
    granted = statements(recording, "gateway-replies-policy")
    assert {(s["Action"][0], s["Resource"]) for s in granted.values()} == {
        ("s3:GetObject", f"{bucket}/replies/*"),
        ("s3:ListBucket", bucket),
    }


def test_statements_leave_out_an_empty_condition() -> None:
    assert "Condition" not in iam.allow("Read", ["s3:GetObject"], "x")
    assert "Condition" not in iam.trust("ec2.amazonaws.com")


# --- the gateway


def test_the_routes_are_those_of_openapi_yaml(recording: Recording) -> None:
    routes = {
        (m.upper(), path)
        for path, item in body(recording)["paths"].items()
        for m in item
        if m != "parameters"
    }
    assert routes == {
        *(("OPTIONS", path) for path in ("/infer", "/infer/{id}", "/stop", "/status")),
        ("POST", "/infer"),
        ("GET", "/infer/{id}"),
        ("DELETE", "/infer/{id}"),
        ("POST", "/stop"),
        ("GET", "/status"),
        ("GET", "/ping"),
        ("GET", "/queue-health"),
    }


def test_the_body_is_complete_and_points_at_the_stacks_own_parts(recording: Recording) -> None:
    spec = body(recording)
    assert "x-tlfif-shared" not in spec
    assert not [text for text in strings(spec) if "${" in text]
    router = recording.one(kinds.lambda_.ALIAS.token, "router-alias").outputs["invokeArn"]
    assert spec["paths"]["/infer"]["post"]["x-amazon-apigateway-integration"]["uri"] == router
    replies = spec["paths"]["/infer/{id}"]["get"]["x-amazon-apigateway-integration"]
    role = recording.one(kinds.iam.ROLE.token, "gateway-replies-role")
    assert replies["credentials"] == role.outputs["arn"]
    bucket = recording.outputs["replies_bucket"]
    assert (
        replies["uri"]
        == f"arn:aws:apigateway:us-east-1:s3:path/{bucket}/replies/{{sub}}/{{object}}"
    )


def test_openapi_yaml_is_valid_and_within_api_gateways_limits() -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    validate(spec)
    assert all(name.isalnum() for name in spec["components"]["schemas"])
    assert not {"oneOf", "anyOf", "exclusiveMinimum", "exclusiveMaximum", "nullable"} & set(
        keys(spec)
    )


def test_an_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError, match="nope"):
        gateway.render("x-tlfif-shared: {}\npaths: ['${nope}']", {})


@pytest.mark.story("API-002")
def test_every_route_asks_for_a_token_or_is_fenced(recording: Recording) -> None:
    spec = body(recording)
    policy = json.loads(recording.one(kinds.apigateway.REST_API_POLICY.token).inputs["policy"])
    fence = next(s for s in policy["Statement"] if s["Effect"] == "Deny")
    api = recording.one(kinds.apigateway.REST_API.token).outputs["executionArn"]
    fenced = {resource.removeprefix(f"{api}/*/*") for resource in fence["Resource"]}
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            if method not in ("options", "parameters"):
                assert ("security" in operation) != (path in fenced), (method, path)
    authorizer = spec["components"]["securitySchemes"]["jwt"]["x-amazon-apigateway-authorizer"]
    assert authorizer["type"] == "token"
    assert authorizer["authorizerResultTtlInSeconds"] <= 60


@pytest.mark.story("API-005")
def test_ping_is_denied_outside_the_vpcs_ipv6_block() -> None:
    recording = evaluate("dev", config={"tl-fif:gateway": {"extraPingCidrs": ["192.0.2.0/24"]}})
    policy = json.loads(recording.one(kinds.apigateway.REST_API_POLICY.token).inputs["policy"])
    fence = next(s for s in policy["Statement"] if s["Effect"] == "Deny")
    block = recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"]
    assert fence["Condition"] == {"NotIpAddress": {"aws:SourceIp": [block, "192.0.2.0/24"]}}
    api = recording.one(kinds.apigateway.REST_API.token).outputs["executionArn"]
    fenced = [resource.removeprefix(f"{api}/*/*") for resource in fence["Resource"]]
    assert fenced == ["/ping", "/ping/*", "/queue-health", "/queue-health/*"]


def test_a_route_that_forgets_its_security_is_closed() -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    del spec["paths"]["/status"]["get"]["security"]
    assert gateway.vpc_only_paths(spec) == ["/status", "/ping", "/queue-health"]


def test_a_changed_fence_or_body_deploys_again(dev: Recording) -> None:
    def trigger(recording: Recording) -> str:
        return recording.one(kinds.apigateway.DEPLOYMENT.token).inputs["triggers"]["content"]

    fenced = evaluate("dev", config={"tl-fif:gateway": {"extraPingCidrs": ["192.0.2.0/24"]}})
    moved = evaluate("dev", config={"aws:region": "eu-west-1"})
    assert len({trigger(dev), trigger(fenced), trigger(moved)}) == 3


@pytest.mark.story("API-004")
def test_access_logs_have_the_storys_fields_group_and_retention(recording: Recording) -> None:
    stage = recording.one(kinds.apigateway.STAGE.token).inputs
    group = next(
        g
        for g in recording.of_type(LOG_GROUP)
        if g.outputs["arn"] == stage["accessLogSettings"]["destinationArn"]
    )
    assert (
        group.inputs["name"]
        == {"prod": "/apigw/tl-fif", "dev": "/apigw/tl-fif-dev"}[recording.stack]
    )
    assert group.inputs["retentionInDays"] == 30
    fields = json.loads(stage["accessLogSettings"]["format"])
    assert list(fields) == ["requestId", "ip", "route", "status", "latencyMs"]
    assert stage["xrayTracingEnabled"] is True


def test_the_accounts_log_role_is_left_alone_when_told_so() -> None:
    recording = evaluate("dev", config={"tl-fif:gateway": {"manageAccount": False}})
    assert recording.of_type(kinds.apigateway.ACCOUNT.token) == []
    assert not [r for r in recording.resources if r.name == "gateway-logs-role"]


def test_gateway_responses_have_the_contracts_statuses(recording: Recording) -> None:
    responses = body(recording)["x-amazon-apigateway-gateway-responses"]
    statuses = {
        kind: response["statusCode"]
        for kind, response in responses.items()
        if "statusCode" in response
    }
    assert statuses["UNAUTHORIZED"] == 401
    assert statuses["ACCESS_DENIED"] == 403
    assert statuses["MISSING_AUTHENTICATION_TOKEN"] == 404
    assert statuses["AUTHORIZER_FAILURE"] == statuses["AUTHORIZER_CONFIGURATION_ERROR"] == 503
    for response in responses.values():
        template = response["responseTemplates"]["application/json"].replace(
            "$context.error.messageString", '"x"'
        )
        assert set(json.loads(template)) == {"error", "message"}
        assert not [
            name for name in response.get("responseParameters", {}) if "Access-Control" in name
        ]


# --- nodes, bucket, budget


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


def test_a_gpu_hour_is_priced_in_every_region() -> None:
    for region in pricing.REGIONS:
        lines = pricing.bill(pricing.gpu_hour_lines("g4dn.xlarge"), region)
        assert sum(line.usd for line in lines) == pytest.approx(
            {"us-east-1": 0.531, "eu-west-1": 0.592, "eu-central-1": 0.663}[region]
        )
        assert all(
            row.line.per == "gpu-hour" and row.price.source and row.price.read for row in lines
        )
