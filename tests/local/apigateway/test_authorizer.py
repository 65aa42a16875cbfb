"""Authorization: the authorizer, its cache, the resource policy, and both by table A."""

from typing import Any

import httpx
import pytest
from support.gateways import ALLOW_ALL, ALLOWED, API_ARN, DENY_ALL, Cloud, client, parse

from local.apigateway.model import FunctionError, InvocationRefused
from local.iam.policy import PolicyError

MALFORMED = "AuthorizerConfigurationException"
VPC = "2600:1f18:aa:bb00::/56"


async def test_no_token_is_401_without_an_invocation(api: httpx.AsyncClient, cloud: Cloud) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "does not match"}):
        response = await api.post("/secret", headers={**headers, "Origin": "http://localhost"})
        assert (response.status_code, response.json()) == (401, {"message": "Unauthorized"})
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-origin"] == "http://localhost"
    assert cloud.tokens == []
    assert cloud.events == []


async def test_the_authorizers_context_reaches_the_function(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    await api.post("/secret", headers={"authorization": "t1"})
    assert cloud.tokens == [
        {"type": "TOKEN", "authorizationToken": "t1", "methodArn": f"{API_ARN}/v1/POST/secret"}
    ]
    got = cloud.events[0]["requestContext"]["authorizer"]
    assert got.pop("integrationLatency") >= 0
    assert got == {"principalId": "t1", "sub": "t1", "n": "1", "b": "true"}


async def test_authorizer_results_are_cached_by_token_across_routes(
    api: httpx.AsyncClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("local.apigateway.authorizer.time.monotonic", lambda: now)
    for token in ("t1", "t1", "t2"):
        await api.post("/secret", headers={"Authorization": token})
        await api.get("/echo/1?must=1", headers={"Authorization": token})
    assert [event["authorizationToken"] for event in cloud.tokens] == ["t1", "t2"]
    now += 61
    await api.post("/secret", headers={"Authorization": "t1"})
    assert len(cloud.tokens) == 3


async def test_a_cached_policy_is_evaluated_for_each_method(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    only = {**ALLOW_ALL, "Resource": f"{API_ARN}/v1/POST/secret"}
    cloud.authorizer = {"principalId": "p", "policyDocument": {"Statement": only}}
    headers = {"Authorization": "t"}
    assert (await api.post("/secret", headers=headers)).status_code == 200
    assert (await api.get("/echo/1?must=1", headers=headers)).status_code == 403
    assert len(cloud.tokens) == 1


@pytest.mark.parametrize(
    ("result", "status", "error_type"),
    [
        (FunctionError("Unauthorized"), 401, "UnauthorizedException"),
        (FunctionError("unauthorized"), 500, "AuthorizerFailureException"),
        (FunctionError("KeyError: 'x'"), 500, "AuthorizerFailureException"),
        (InvocationRefused("429"), 500, MALFORMED),
        ("text", 500, MALFORMED),
        ({"policyDocument": {"Statement": [ALLOW_ALL]}}, 500, MALFORMED),
        ({"principalId": "p"}, 500, MALFORMED),
        (
            {"principalId": "p", "policyDocument": {"Statement": [{"Effect": "allow"}]}},
            500,
            MALFORMED,
        ),
        ({**ALLOWED, "context": {"a": []}}, 500, MALFORMED),
        (
            {"principalId": "p", "policyDocument": {"Statement": [DENY_ALL, ALLOW_ALL]}},
            403,
            "AccessDeniedException",
        ),
    ],
)
async def test_authorizers_that_do_not_allow(
    api: httpx.AsyncClient, cloud: Cloud, result: Any, status: int, error_type: str
) -> None:
    cloud.authorizer = lambda event: result
    response = await api.post("/secret", headers={"Authorization": "t"})
    assert (response.status_code, response.headers["x-amzn-errortype"]) == (status, error_type)
    assert cloud.events == []


@pytest.mark.parametrize(
    ("authorizer", "resource", "status"),
    [
        # Table A of "How API Gateway resource policies affect authorization workflow".
        ("Allow", "Allow", 200),
        ("Allow", None, 200),
        ("Allow", "Deny", 403),
        (None, "Allow", 200),
        (None, None, 403),
        (None, "Deny", 403),
        ("Deny", "Allow", 403),
        ("Deny", None, 403),
        ("Deny", "Deny", 403),
    ],
)
async def test_both_policies_decide_by_table_a(
    cloud: Cloud, authorizer: str | None, resource: str | None, status: int
) -> None:
    def policy(effect: str | None) -> dict[str, Any]:
        return {"Statement": [{**ALLOW_ALL, "Effect": effect}] if effect else []}

    cloud.authorizer = {"principalId": "p", "policyDocument": policy(authorizer)}
    async with client(cloud.gateway(parse(policy=policy(resource)))) as http:
        response = await http.post("/secret", headers={"Authorization": "t"})
    assert response.status_code == status
    # The resource policy's denial comes before the authorizer is asked.
    assert len(cloud.tokens) == (resource != "Deny")


def fence(*statements: dict[str, Any]) -> dict[str, Any]:
    return {
        "Statement": [{**ALLOW_ALL, "Principal": "*", "Resource": "execute-api:/*"}, *statements]
    }


async def test_resource_policy_fences_a_route_to_the_vpc(cloud: Cloud) -> None:
    outside = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "execute-api:Invoke",
        "Resource": "execute-api:/*/GET/mock",
        "Condition": {"NotIpAddress": {"aws:SourceIp": [VPC, "198.51.100.0/24"]}},
    }
    gateway = cloud.gateway(parse(policy=fence(outside)))
    addresses = {
        "192.0.2.1": 403,
        "198.51.100.9": 200,
        "2600:1f18:aa:bbff::1": 200,
        "2600:1f18:aa:bc00::1": 403,
    }
    for address, status in addresses.items():
        async with client(gateway, address) as http:
            assert (await http.get("/mock")).status_code == status, address
            assert (
                await http.get("/mock/", headers={"X-Forwarded-For": "198.51.100.9"})
            ).status_code == status
            assert (await http.post("/open")).status_code == 200
    app: Any = gateway.inside_vpc("2600:1f18:aa:bb00::5")
    inside = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=inside, base_url="http://x/v1") as http:
        assert (await http.get("/mock")).status_code == 200
        await http.post("/open")
    assert cloud.events[-1]["requestContext"]["identity"]["sourceIp"] == "2600:1f18:aa:bb00::5"


async def test_a_policy_that_allows_nothing_denies_open_routes(cloud: Cloud) -> None:
    async with client(cloud.gateway(parse(policy={"Statement": []}))) as http:
        assert (await http.post("/open")).status_code == 403


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny", "NotAction": "x", "Resource": "*"},
        {"Effect": "Deny", "Action": "*"},
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Principal": {"AWS": "arn:aws:iam::1:root"},
        },
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"NumericEquals": {"a": "1"}},
        },
        {"Effect": "Deny", "Action": "*", "Resource": 1},
    ],
)
def test_policies_beyond_the_evaluator_are_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse(policy=fence(statement))
