"""The REST API that the program declares: routes, fence, logs and gateway responses."""

import json
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate
from support.program import LOG_GROUP, body, evaluate, keys, strings

from components import openapi
from recording import kinds
from recording.model import ROOT, Recording


def fence(spec: dict[str, Any]) -> dict[str, Any]:
    """What the API's resource policy, in its body, denies."""
    statements = spec["x-amazon-apigateway-policy"]["Statement"]
    return next(each for each in statements if each["Effect"] == "Deny")


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
        openapi.render("x-tlfif-shared: {}\npaths: ['${nope}']", {})


@pytest.mark.story("API-002")
def test_every_route_asks_for_a_token_or_is_fenced(recording: Recording) -> None:
    spec = body(recording)
    fenced = {resource.removeprefix("execute-api:/*/*") for resource in fence(spec)["Resource"]}
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
    denial = fence(body(recording))
    block = recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"]
    assert denial["Condition"] == {"NotIpAddress": {"aws:SourceIp": [block, "192.0.2.0/24"]}}
    fenced = [resource.removeprefix("execute-api:/*/*") for resource in denial["Resource"]]
    assert fenced == ["/ping", "/ping/*", "/queue-health", "/queue-health/*"]


def test_a_route_that_forgets_its_security_is_closed() -> None:
    spec = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    del spec["paths"]["/status"]["get"]["security"]
    assert openapi.vpc_only_paths(spec) == ["/status", "/ping", "/queue-health"]


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
