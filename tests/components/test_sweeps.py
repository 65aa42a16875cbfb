"""The contract sweeps, over every stack; and that each of them finds what it looks for, and names
it.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support import sweeps
from support.recordings import evaluate

from recording import kinds
from recording.model import Recording, Resource
from recording.shipped import stacks


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    return {stack: evaluate(stack) for stack in stacks()}


def test_there_are_the_three_stacks() -> None:
    assert stacks() == ["dev", "literal", "prod"]


@pytest.mark.story("OPS-003", "RED-002", "EC2-005", "API-004")
@pytest.mark.parametrize("stack", stacks())
@pytest.mark.parametrize("rule", sweeps.SWEEPS, ids=lambda rule: rule.__name__)
def test_the_stack_keeps_the_rule(
    rule: sweeps.Sweep, stack: str, recordings: dict[str, Recording]
) -> None:
    assert rule(recordings[stack]) == []


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(stacks(), 2)))
def test_two_stacks_in_one_account_do_not_clash(
    one: str, other: str, recordings: dict[str, Recording]
) -> None:
    assert sweeps.clashes(recordings[one], recordings[other]) == []


def test_the_same_stack_twice_would_clash(recordings: dict[str, Recording]) -> None:
    found = sweeps.clashes(recordings["prod"], recordings["prod"])
    assert "aws:cloudwatch/logGroup:LogGroup: /apigw/tl-fif" in found
    assert "aws:lambda/function:Function: tl-fif-prod-router" in found


def test_every_wildcard_reason_is_a_sentence() -> None:
    assert all(len(reason) > 20 for reason in sweeps.wildcard_reasons().values())
    assert {"DescribeNodes", "PutMetrics", "SendTraces"} <= sweeps.wildcard_reasons().keys()


# --- each sweep finds what it looks for


Change = Callable[[Resource], Resource]


def with_inputs(**inputs: Any) -> Change:
    return lambda r: replace(r, inputs={**r.inputs, **inputs})


def statement(**changes: Any) -> Change:
    def change(resource: Resource) -> Resource:
        document = json.loads(resource.inputs["policy"])
        document["Statement"][0] |= changes
        return with_inputs(policy=json.dumps(document))(resource)

    return change


def without_action(action: str) -> Change:
    def change(resource: Resource) -> Resource:
        document = json.loads(resource.inputs["policy"])
        kept = [each for each in document["Statement"] if action not in each["Action"]]
        assert len(kept) < len(document["Statement"])
        return with_inputs(policy=json.dumps({**document, "Statement": kept}))(resource)

    return change


def hasty(resource: Resource) -> Resource:
    return replace(resource, dependencies=[])


def body(**changes: Any) -> Change:
    return lambda r: with_inputs(body=json.dumps(json.loads(r.inputs["body"]) | changes))(r)


def trusting(principal: Any) -> Change:
    policy = {
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]
    }
    return with_inputs(assumeRolePolicy=json.dumps(policy))


def alarm(**inputs: Any) -> Change:
    sound = {
        "alarmActions": ["arn:aws:sns:us-east-1:123456789012:a"],
        "treatMissingData": "notBreaching",
        "namespace": "AWS/ElastiCache",
        "metricName": "DatabaseMemoryUsagePercentage",
        "dimensions": {"CacheClusterId": "x-001"},
    }
    return lambda r: replace(r, type=sweeps.ALARM, inputs={**sound, **inputs})


def dashboard(*metrics: list[Any]) -> Change:
    widget = {"type": "metric", "properties": {"title": "spend", "metrics": list(metrics)}}
    body = json.dumps({"widgets": [widget]})
    return lambda r: replace(r, type=sweeps.DASHBOARD, inputs={"dashboardBody": body})


# Sweep to the faults it is tried with: a resource, a change of it, and what is said of it.
FAULTS: dict[str, list[tuple[str, Change, str]]] = {
    "roles_are_least_privilege": [
        ("router-policy", statement(Action="ec2:*"), "router-policy: action ec2:*"),
        ("router-policy", statement(Resource="*", Sid="Any"), "resource * of Any"),
    ],
    "who_reads_objects_sees_that_one_is_missing": [
        (
            "router-policy",
            without_action("s3:ListBucket"),
            "router-role-",
        ),
        ("gpu-node-policy", without_action("s3:ListBucket"), "and may not list it"),
    ],
    "roles_name_no_more_than_their_own_statements": [
        ("router-policy", statement(NotAction="x"), "router-policy"),
        ("router-policy", statement(Effect="Deny", Condition={}), "no plain statement"),
        ("gpu-node-ssm", with_inputs(policyArn="arn:x"), "arn:x"),
    ],
    "roles_are_taken_by_one_service_and_used": [
        ("router-role", trusting({"AWS": "*"}), "router-role: trusts"),
        ("router-role", lambda r: replace(r, urn="x"), "nothing uses it"),
    ],
    "functions_are_called_only_for_one_source": [
        ("router-from-api", with_inputs(sourceArn=None), "router-from-api"),
    ],
    "log_groups_have_a_retention": [
        ("router-logs", with_inputs(retentionInDays=0), "router-logs"),
    ],
    "functions_log_to_a_group_of_ours": [
        ("router-function", with_inputs(loggingConfig={}), "router-function"),
    ],
    "buckets_are_private_encrypted_tls_only_and_expire": [
        (
            "storage-private",
            with_inputs(blockPublicAcls=False),
            "storage-replies: public access is not blocked",
        ),
        ("storage-expiry", with_inputs(rules=[]), "storage-replies: no lifecycle"),
        ("storage-encrypted", with_inputs(rules=[]), "not encrypted"),
        ("storage-tls-only", with_inputs(policy="{}"), "not TLS-only"),
    ],
    "security_group_rules_are_single_ports_and_justified": [
        ("network-queue-from-node", with_inputs(toPort=6400), "network-queue-from-node: tcp"),
        ("network-queue-from-node", with_inputs(description=""), "no description"),
        ("network-node-group", with_inputs(ingress=[{}]), "rules inside the group"),
    ],
    "nothing_is_reached_from_everywhere": [
        (
            "network-queue-from-node",
            with_inputs(cidrIpv4="0.0.0.0/0"),
            "network-queue-from-node: from 0.0.0.0/0",
        ),
        ("network-node-to-queue", with_inputs(cidrIpv6="::/0"), "to everywhere"),
        ("network-node-to-aws-ipv4", with_inputs(fromPort=80), "to everywhere"),
    ],
    "instances_answer_metadata_v2_only": [
        ("gpu-node-0", with_inputs(metadataOptions={"httpTokens": "optional"}), "gpu-node-0"),
        ("gpu-image-builder", with_inputs(instanceMetadataOptions={}), "gpu-image-builder"),
    ],
    "what_bakes_an_image_is_none_of_the_nodes": [
        (
            "gpu-image-builder",
            with_inputs(resourceTags={"env": "tinyllama", "stack": "literal"}),
            "gpu-image-builder: has the tags of a node",
        ),
    ],
    "a_schedule_that_failed_is_not_run_again": [
        ("guardian-target", with_inputs(retryPolicy={}), "guardian-target: EventBridge"),
        ("guardian-once", with_inputs(maximumRetryAttempts=2), "tl-fif-literal-guardian again"),
        ("guardian-once", with_inputs(maximumEventAgeInSeconds=3600), "guardian again, or later"),
    ],
    "who_calls_a_function_finds_it_and_calls_it_once": [
        (
            "router-policy",
            statement(Action=["lambda:InvokeFunction"], Resource="arn:aws:lambda:x"),
            "router-policy: calls arn:aws:lambda:x, which is not there",
        ),
        (
            "cpu-worker-once",
            with_inputs(maximumRetryAttempts=2),
            "cpu-worker-policy: Lambda runs tl-fif-literal-cpu-worker again, or later",
        ),
    ],
    "somebody_moves_each_alias": [
        ("router-alias", lambda r: replace(r, ignore_changes=[]), "router-alias: two move it"),
        ("delivery-pipeline", lambda r: replace(r, type="a:b/c:D"), "alias: nobody moves it"),
    ],
    "nothing_starts_a_stopped_instance": [
        ("gpu-node-0", lambda r: replace(r, ignore_changes=[]), "gpu-node-0: userData starts it"),
        ("gpu-node-0", lambda r: replace(r, replace_on_changes=[]), "instanceType starts it"),
        ("gpu-node-0", with_inputs(ebsOptimized=True), "is ebsOptimized changed in place?"),
    ],
    "tags_that_others_set_are_left_alone": [
        ("gpu-node-0", lambda r: replace(r, ignore_changes=[]), 'tags["tlfif-budget-latch"]'),
    ],
    "nodes_are_reached_by_the_balancer_alone": [
        ("gpu-node-0", with_inputs(keyName="mine"), "gpu-node-0: a key pair"),
        (
            "router-role",
            lambda r: replace(r, type="aws:ec2/keyPair:KeyPair"),
            "router-role: a key pair",
        ),
        ("tls-nlb", with_inputs(securityGroups=[]), "network-node-from-balancer: leads to a node"),
        ("network-node-from-balancer", with_inputs(fromPort=22), "leads to a node"),
        (
            "network-node-from-balancer",
            with_inputs(referencedSecurityGroupId=None, cidrIpv4="10.20.0.0/22"),
            "leads to a node",
        ),
    ],
    "load_balancers_are_internal_and_speak_tls": [
        ("tls-nlb", with_inputs(internal=False), "tls-nlb"),
    ],
    "alarms_have_an_action_and_a_metric_that_something_emits": [
        ("router-logs", alarm(alarmActions=[]), "no action"),
        ("router-logs", alarm(treatMissingData="breaching"), "rings before there is data"),
        ("router-logs", alarm(treatMissingData="missing"), "nobody hears when the data ends"),
        (
            "router-logs",
            alarm(metricName="Memory"),
            "router-logs: nothing emits AWS/ElastiCache Memory",
        ),
        (
            "router-logs",
            alarm(dimensions={"ReplicationGroupId": "x"}),
            "has the dimensions {'CacheClusterId'}",
        ),
    ],
    "widgets_show_metrics_that_something_emits": [
        (
            "router-logs",
            dashboard(["TLFIF/Router", "EC2Starts", "Stack", "dev"], [".", "EC2Stops", ".", "."]),
            "router-logs: spend: nothing emits TLFIF/Router EC2Stops",
        ),
    ],
    "everything_taggable_is_tagged": [
        ("queue-group", with_inputs(tags={"env": "tinyllama"}), "queue-group: tags"),
        ("gpu-node-0", with_inputs(volumeTags=None), "gpu-node-0: volumeTags"),
    ],
    "no_secret_is_in_clear": [
        (
            "gpu-node-0",
            with_inputs(userData='{"HF_PASSWORD": "hunter2"}'),
            "gpu-node-0.userData.HF_PASSWORD",
        ),
        (
            "router-function",
            with_inputs(environment={"variables": {"X": "AKIA" + "A" * 16}}),
            "router-function.environment.variables.X",
        ),
    ],
    "everything_is_part_of_a_component": [
        ("queue-group", lambda r: replace(r, parent="urn:stack"), "queue-group"),
    ],
    "everything_that_costs_money_has_a_line": [
        (
            "queue-group",
            with_inputs(nodeType="cache.t4g.smal"),
            "queue-group: no line for cache.t4g.smal redis",
        ),
        ("gpu-node-0", with_inputs(instanceType="g4dn.xlarg"), "g4dn.xlarg"),
        (
            "queue-group",
            lambda r: replace(r, type="aws:rds/instance:Instance"),
            "does not say whether aws:rds/instance:Instance costs money",
        ),
        ("router-logs", alarm(), "but lines for"),
    ],
    "names_are_such_as_aws_takes": [
        ("tls-nodes", with_inputs(name="n" * 33), "tls-nodes: 'nnn"),
        ("storage-replies", with_inputs(bucket="tl_fif"), "storage-replies: 'tl_fif' is not"),
        ("queue-group", with_inputs(replicationGroupId="a--b"), "queue-group: 'a--b' is not"),
        ("router-role", with_inputs(name="tl fif"), "router-role"),
    ],
    "tags_are_such_as_aws_takes": [
        ("queue-group", with_inputs(tags={"env": "what's this"}), "queue-group: tags"),
        ("queue-group", with_inputs(tags={"aws:env": "a"}), "queue-group: tags"),
        ("gpu-node-0", with_inputs(volumeTags={"": "a"}), "gpu-node-0: tags"),
    ],
    "values_are_such_as_the_reference_says": [
        (
            "network-queue-group",
            with_inputs(description="the queue's"),
            "network-queue-group: description",
        ),
        ("network-node-to-queue", with_inputs(description="a" * 256), "network-node-to-queue"),
        (
            "health-canary",
            with_inputs(schedule={"expression": "rate(8 hours)"}),
            "health-canary: schedule.expression 'rate(8 hours)'; Synthetics",
        ),
        ("guardian-schedule", with_inputs(scheduleExpression="rate(1 minutes)"), "guardian-sche"),
        ("router-logs", with_inputs(retentionInDays=10), "router-logs: retentionInDays 10"),
    ],
    "values_are_such_as_the_api_models_say": [
        ("router-function", with_inputs(handler="a" * 129), "router-function: handler"),
        ("router-function", with_inputs(runtime="python3.1"), "router-function: runtime"),
        (
            "identity-users",
            with_inputs(passwordPolicy={"minimumLength": 5}),
            "identity-users: passwordPolicy.minimumLength '5' is not within 6 to 99",
        ),
        ("tls-nodes", with_inputs(targetType="address"), "is none of instance, ip, lambda, alb"),
        ("gpu-image-component", with_inputs(data="d" * 16_001), "is not within 1 to 16000"),
        ("gpu-image-recipe", with_inputs(version="1.0"), "gpu-image-recipe: version"),
        (
            "gpu-image-pipeline",
            with_inputs(imageTestsConfiguration={"timeoutMinutes": 30}),
            "is not within 60 to 1440",
        ),
        (
            "router-function",
            with_inputs(vpcConfig={"securityGroupIds": [f"sg-{n}" for n in range(6)]}),
            "is not within 0 to 5",
        ),
        ("guardrails-budget", with_inputs(name="a:b"), "guardrails-budget: name 'a:b' is not"),
        ("gateway-slow", with_inputs(alarmDescription="a" * 1025), "gateway-slow"),
    ],
    "nothing_is_made_before_what_it_needs": [
        ("gpu-node-0", hasty, "gpu-node-0: does not wait for network-public-ipv4: "),
        ("gpu-node-0", hasty, "network-public-association-0"),
        ("gpu-node-0", hasty, "network-node-to-queue"),
        ("gpu-node-0", hasty, "network-queue-from-node"),
        ("gpu-node-0", hasty, "gpu-node-policy"),
        ("gpu-node-0", hasty, "gpu-node-ssm"),
        ("gpu-image-builder", hasty, "gpu-image-policy: a bake may be started"),
        ("gpu-image-builder", hasty, "network-builder-to-http-ipv4: without it there is no way"),
        ("guardian-function", hasty, "guardian-policy"),
        ("guardian-function", hasty, "guardian-logs: Lambda would make"),
        ("guardian-function", hasty, "network-private-ipv6"),
        ("guardian-function", hasty, "storage-private"),
        ("guardian-target", hasty, "guardian-from-schedule"),
        ("gateway-account", hasty, "gateway-logs-policy"),
        ("gateway-stage", hasty, "gateway-account: API Gateway refuses"),
        ("gateway-stage", hasty, "router-from-api"),
        ("health-private-stage", hasty, "queue-health-from-private-api"),
        ("health-canary", hasty, "health-canary-policy"),
        ("health-canary", hasty, "network-lambda-to-aws-ipv6"),
        ("guardrails-budget", hasty, "alerts-mail-policy: nobody may publish yet"),
        ("guardian-fails", hasty, "alerts-mail-policy"),
        ("tls-listener", hasty, "tls-validation"),
    ],
    "no_attribute_has_two_owners": [
        ("gateway-api", with_inputs(policy="{}"), "gateway-api: policy is of"),
        ("network-queue-group", with_inputs(ingress=[]), "network-queue-group: ingress is of"),
        ("gpu-node-0", with_inputs(rootBlockDevice={"tags": {}}), "rootBlockDevice.tags is of its"),
        ("network-node-to-aws-ipv4", with_inputs(cidrIpv4=None, cidrIpv6="::/0"), "2 of aws:vpc"),
    ],
    "a_rest_apis_body_says_all_of_it": [
        ("gateway-api", body(info={"title": "tl-fif"}), "gateway-api: the body has another name"),
        ("gateway-api", body(**{"x-amazon-apigateway-policy": {}}), "no policy in the body"),
        ("health-private-api", body(servers=[{"url": "/"}]), "the body has other endpoints"),
        (
            "router-role",
            lambda r: replace(r, type="aws:apigateway/restApiPolicy:RestApiPolicy"),
            "router-role: aws:apigateway/restApiPolicy:RestApiPolicy beside an OpenAPI body",
        ),
    ],
    "only_deploying_singletons_needs_a_key": [
        ("router-role", lambda r: replace(r, type=kinds.apigateway.ACCOUNT.token), "router-role"),
    ],
}


@pytest.mark.parametrize(
    ("rule", "name", "change", "said"),
    [(rule, *fault) for rule, faults in FAULTS.items() for fault in faults],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sweep_names_the_culprit(
    rule: str, name: str, change: Change, said: str, recordings: dict[str, Recording]
) -> None:
    whole = recordings["literal"]
    assert name in {resource.name for resource in whole.resources}
    resources = [change(r) if r.name == name and r.custom else r for r in whole.resources]
    check = next(each for each in sweeps.SWEEPS if each.__name__ == rule)
    assert said in "\n".join(check(replace(whole, resources=resources)))


def test_every_sweep_is_tried_with_a_fault() -> None:
    assert {rule.__name__ for rule in sweeps.SWEEPS} == FAULTS.keys()
