"""What watches the stack, as the program declares it: guardian, health checks, alarms, versions and
the private API.
"""

import json
import zipfile
from typing import Any, ClassVar

import pytest
from support.program import (
    ALARM,
    FUNCTION,
    PERMISSION,
    PIPED,
    SUBSCRIPTION,
    evaluate,
    statements,
)
from support.sweeps.metrics import emitted

from components.canary import script
from components.openapi import private
from components.settings import SettingsError
from local.lambda_ import schedules
from ping_probe import canary, handler
from recording import kinds
from recording.engine import SECRET
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording, Resource
from tlfif import names

URL = "https://events.pagerduty.com/integration/KEY/enqueue"


def alarm(recording: Recording, name: str) -> dict[str, Any]:
    return recording.one(ALARM, name).inputs


def topic(recording: Recording, role: str) -> str:
    return recording.one(kinds.monitoring.TOPIC.token, f"alerts-{role}").outputs["arn"]


def hears_of_silence(recording: Recording, name: str) -> bool:
    """Whether whoever hears that it rings hears that no data come any more, too."""
    found = alarm(recording, name)
    told = found.get("insufficientDataActions")
    return found["treatMissingData"] == "missing" and told == found["alarmActions"]


# --- schedules


def test_what_runs_every_minute_and_what_less_often(dev: Recording) -> None:
    functions = {
        r.outputs["arn"]: r.inputs["handler"].partition(".")[0] for r in dev.of_type(FUNCTION)
    }
    found = {functions[each.function_arn]: each.minutes for each in schedules.of(dev)}
    assert found == {
        "guardian": 1,
        "meter": 1,
        "ping_probe": 1,
        "payload_samples": 5,
        "cost_publisher": 15,
        "model_fetch": 60,
    }
    rules = {r.outputs["arn"] for r in dev.of_type(kinds.monitoring.EVENT_RULE.token)}
    allowed = [
        r.inputs for r in dev.of_type(PERMISSION) if r.inputs["principal"] == "events.amazonaws.com"
    ]
    assert {each["sourceArn"] for each in allowed} == rules


def test_the_guardian_runs_in_the_vpc_within_its_minute_and_may_do_what_the_router_may(
    dev: Recording,
) -> None:
    guardian = dev.one(FUNCTION, "guardian-function").inputs
    assert guardian["timeout"] < 60
    assert guardian["vpcConfig"]["ipv6AllowedForDualStack"] is True
    assert set(guardian["environment"]["variables"]) == {
        "TLFIF_STACK",
        "TLFIF_REDIS_HOST",
        "TLFIF_REDIS_PORT",
        "TLFIF_REPLIES_BUCKET",
        "TLFIF_GPU_COUNT",
        "TLFIF_GPU_SLOTS",
        "TLFIF_GPU_WAKE",
        "TLFIF_GPU_WAKE_AFTER_SECONDS",
        "TLFIF_LANE_FUNCTION",
        "TLFIF_LANE_PROMPT_BYTES",
        "TLFIF_BOOT_ALLOWANCE_MINUTES",
        "TLFIF_MAX_LIFETIME_HOURS",
        "AWS_USE_DUALSTACK_ENDPOINT",
    }
    own = statements(dev, "guardian-policy")
    router = statements(dev, "router-policy")
    for sid in ("StartNodes", "StopNodes", "CallLane", "WriteReplies", "ReadReplies"):
        assert own[sid] == router[sid]
    assert hears_of_silence(dev, "guardian-fails"), "a guardian nobody calls is a fault"


# --- alarms


@pytest.mark.story("API-004")
def test_slow_answers_ring_at_300_ms(dev: Recording) -> None:
    found = alarm(dev, "gateway-slow")
    assert (found["metricName"], found["extendedStatistic"]) == ("Latency", "p95")
    assert found["period"] * found["evaluationPeriods"] == 300
    assert (found["threshold"], found["comparisonOperator"]) == (
        300,
        "GreaterThanOrEqualToThreshold",
    )
    assert found["datapointsToAlarm"] == 3, "one cold start is one slow minute"
    assert found["evaluateLowSampleCountPercentiles"] == "evaluate", (
        "below 10 / (1 - 0.95) = 200 requests in a period `ignore` judges nothing"
    )
    assert found["dimensions"] == {"ApiName": "tl-fif-dev", "Stage": "v1"}
    assert found.get("actionsEnabled", True)


@pytest.mark.story("API-004")
def test_the_latency_query_is_saved_and_deployed(dev: Recording) -> None:
    query = dev.one(kinds.monitoring.QUERY_DEFINITION.token).inputs
    assert query["queryString"] == (ROOT / "queries" / "api_latency.cwi").read_text()
    assert query["logGroupNames"] == ["/apigw/tl-fif-dev"]
    stage = dev.one(kinds.apigateway.STAGE.token).inputs
    logged = json.loads(stage["accessLogSettings"]["format"])
    assert {"route", "status", "latencyMs"} < set(logged)
    for field in ("route", "status", "latencyMs"):
        assert field in query["queryString"]


@pytest.mark.story("RED-003")
def test_memory_rings_at_70_percent_on_each_nodes_own_id() -> None:
    recording = evaluate("dev", config={"tl-fif:queue": {"replicas": 1}})
    group = recording.one(kinds.elasticache.REPLICATION_GROUP.token).id
    found = [
        r.inputs for r in recording.of_type(ALARM) if r.inputs["namespace"] == "AWS/ElastiCache"
    ]
    assert sorted(each["dimensions"]["CacheClusterId"] for each in found) == [
        f"{group}-001",
        f"{group}-002",
    ]
    assert {(each["metricName"], each["threshold"]) for each in found} == {
        ("DatabaseMemoryUsagePercentage", 70)
    }


@pytest.mark.story("RED-004")
def test_the_queues_health_rings_after_two_periods_of_five_minutes(dev: Recording) -> None:
    found = alarm(dev, "queue-health-fails")
    assert (found["metricName"], found["evaluationPeriods"], found["period"]) == (
        names.METRIC_QUEUE_HEALTHY,
        2,
        300,
    )
    assert (found["statistic"], found["threshold"]) == ("Minimum", 1)
    assert hears_of_silence(dev, "queue-health-fails")


@pytest.mark.story("API-005")
def test_three_failed_pings_of_five_wake_somebody(dev: Recording) -> None:
    found = alarm(dev, "health-ping-fails")
    assert (found["namespace"], found["metricName"]) == (
        names.NAMESPACE_API,
        names.METRIC_PING_SUCCESS,
    )
    assert (found["period"], found["evaluationPeriods"], found["datapointsToAlarm"]) == (60, 5, 3)
    assert hears_of_silence(dev, "health-ping-fails")
    assert set(found["alarmActions"]) == {topic(dev, "pager"), topic(dev, "mail")}
    assert people(dev) == [], "nobody is told before somebody is named"


def people(recording: Recording) -> list[Resource]:
    """Who is told, beside the function that stops the stack."""
    return [each for each in recording.of_type(SUBSCRIPTION) if each.inputs["protocol"] != "lambda"]


@pytest.mark.story("API-005")
def test_pagerduty_is_subscribed_by_a_secret() -> None:
    class Subscribed(RecordingBackend):
        endpoints: ClassVar[list[str]] = []

        def new_resource(self, args: Any) -> tuple[str | None, dict[str, Any]]:
            if args.typ == SUBSCRIPTION:
                self.endpoints.append(args.inputs["endpoint"])
            return super().new_resource(args)

    backend = Subscribed("dev", "us-east-1")
    recording = evaluate("dev", backend, config={"tl-fif:alerts": {"pagerDutyUrl": URL}})
    [subscription] = people(recording)
    assert (subscription.inputs["protocol"], subscription.inputs["topic"]) == (
        "https",
        topic(recording, "pager"),
    )
    assert subscription.inputs["endpoint"] == SECRET
    assert URL in backend.endpoints


def test_a_wrong_pagerduty_address_is_refused_and_not_shown() -> None:
    for key in ("pagerDutyUrl", "pagerdutyUrl"):
        with pytest.raises(SettingsError, match=f"alerts:{key} = .hidden.: ") as refused:
            evaluate("dev", config={"tl-fif:alerts": {key: "http://secret-key"}})
        assert "secret-key" not in str(refused.value)


# --- probe and canary


@pytest.mark.story("API-005")
def test_by_default_a_function_probes_and_a_canary_runs_every_eight_hours(dev: Recording) -> None:
    probe = dev.one(FUNCTION, "health-probe-function").inputs
    assert probe["environment"]["variables"] == {
        "TLFIF_STACK": "dev",
        "TLFIF_API_URL": dev.outputs["api_url"],
    }
    found = dev.one(kinds.monitoring.CANARY.token).inputs
    assert found["schedule"]["expression"] == "cron(0 */8 * * ? *)"
    assert found["runtimeVersion"] == "syn-python-selenium-14.0"
    assert found["vpcConfig"]["ipv6AllowedForDualStack"] is True
    assert found["artifactS3Location"] == f"s3://{dev.outputs['replies_bucket']}/canary"


@pytest.mark.story("API-005")
def test_literally_the_canary_asks_every_minute_and_rings(literal: Recording) -> None:
    probe = literal.one(FUNCTION, "health-probe-function").outputs["arn"]
    assert probe not in {each.function_arn for each in schedules.of(literal)}, "for deployments"
    found = literal.one(kinds.monitoring.CANARY.token)
    assert found.inputs["schedule"]["expression"] == "rate(1 minute)"
    ring = alarm(literal, "health-ping-fails")
    assert (ring["namespace"], ring["dimensions"]) == (
        "CloudWatchSynthetics",
        {"CanaryName": found.inputs["name"]},
    )
    assert (ring["datapointsToAlarm"], ring["evaluationPeriods"], ring["period"]) == (3, 5, 60)


@pytest.mark.story("API-005")
def test_the_canary_has_all_it_imports(dev: Recording) -> None:
    path = script()
    assert (
        dev.one(kinds.monitoring.CANARY.token).inputs["zipFile"]
        == path.relative_to(ROOT).as_posix()
    )
    with zipfile.ZipFile(path) as zipped:
        assert "python/ping_canary.py" in zipped.namelist()
        held = {name.removeprefix("python/") for name in zipped.namelist()}
    imported = {"tlfif/emf.py", "tlfif/names.py", "tlfif/log.py", "ping_probe/handler.py"}
    assert imported < held


@pytest.mark.story("API-005")
def test_the_canary_fails_when_a_route_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFIF_API_URL", "https://api")
    monkeypatch.setattr(canary, "well", lambda url, field: True)
    canary.handler({}, None)
    monkeypatch.setattr(canary, "well", lambda url, field: "ping" in url)
    with pytest.raises(RuntimeError, match="not well: /queue-health"):
        canary.handler({}, None)
    assert set(handler.ROUTES) == {"/ping", "/queue-health"}


# --- the private API


@pytest.mark.story("API-005")
def test_literally_ping_is_served_to_10_20_0_0_22_through_an_endpoint(
    literal: Recording, dev: Recording
) -> None:
    api = literal.one(kinds.apigateway.REST_API.token, "health-private-api")
    endpoint = literal.one(kinds.ec2.VPC_ENDPOINT.token, "health-private-endpoint")
    assert api.inputs["endpointConfiguration"]["types"] == "PRIVATE"
    assert api.inputs["endpointConfiguration"]["vpcEndpointIds"] == [endpoint.id]
    assert (endpoint.inputs["vpcEndpointType"], endpoint.inputs["privateDnsEnabled"]) == (
        "Interface",
        False,
    )
    host = f"https://{api.id}-{endpoint.id}.execute-api.us-east-1.amazonaws.com/v1"
    assert literal.outputs["ping_url"] == f"{host}/ping"
    assert literal.outputs["queue_health_url"] == f"{host}/queue-health"
    assert dev.outputs["ping_url"] == f"{dev.outputs['api_url']}/ping"
    policy = json.loads(api.inputs["body"])["x-amazon-apigateway-policy"]
    denied = {s["Sid"]: s["Condition"] for s in policy["Statement"] if s["Effect"] == "Deny"}
    assert denied == {
        "OtherEndpoints": {"StringNotEquals": {"aws:SourceVpce": endpoint.id}},
        "OtherAddresses": {"NotIpAddress": {"aws:VpcSourceIp": "10.20.0.0/22"}},
    }


@pytest.mark.story("API-005")
def test_the_private_api_has_the_two_routes_and_no_authorizer() -> None:
    spec = private((ROOT / "openapi.yaml").read_text(), {"queue_health_uri": "arn:health"})
    assert sorted(spec["paths"]) == ["/ping", "/queue-health"]
    assert "securitySchemes" not in spec["components"]
    assert (
        spec["paths"]["/queue-health"]["get"]["x-amazon-apigateway-integration"]["uri"]
        == "arn:health"
    )


# --- versions


@pytest.mark.story("LAM-005", "CI-004")
def test_the_gateway_calls_the_routers_version_that_prod_names(dev: Recording) -> None:
    router = dev.one(FUNCTION, "router-function").inputs
    found: Resource = dev.one(kinds.lambda_.ALIAS.token)
    assert (router["publish"], found.inputs["name"], found.inputs["functionVersion"]) == (
        True,
        "prod",
        "1",
    )
    assert router["tracingConfig"] == {"mode": "Active"}
    body = json.loads(dev.one(kinds.apigateway.REST_API.token).inputs["body"])
    uri = body["paths"]["/infer"]["post"]["x-amazon-apigateway-integration"]["uri"]
    assert uri == found.outputs["invokeArn"]
    assert dev.one(PERMISSION, "router-from-api").inputs["qualifier"] == "prod"


@pytest.mark.story("CI-004")
def test_what_is_deployed_serves_unless_a_pipeline_decides(dev: Recording) -> None:
    alias = kinds.lambda_.ALIAS.token
    assert dev.one(alias).ignore_changes == []
    assert dev.one(FUNCTION, "router-function").urn in dev.one(alias).dependencies
    piped = evaluate("dev", config=PIPED)
    assert piped.one(alias).ignore_changes == ["description", "functionVersion", "routingConfig"]
    permission = [each.one(PERMISSION, "router-from-api").inputs for each in (dev, piped)]
    assert permission[0] == permission[1]


@pytest.mark.story("LAM-005")
def test_payload_samples_are_kept_for_a_day(dev: Recording) -> None:
    group = dev.one(kinds.monitoring.LOG_GROUP.token, "router-payload-samples-logs").inputs
    assert group["retentionInDays"] == 1


def test_metrics_are_looked_for_in_all_that_is_deployed() -> None:
    shared = (names.NAMESPACE_ROUTER, names.METRIC_EC2_STARTS)
    of_the_node = (names.NAMESPACE_GPU, names.METRIC_AUTO_STOPS)
    assert {shared, of_the_node} <= emitted().keys()
