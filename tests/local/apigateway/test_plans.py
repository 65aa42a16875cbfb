"""What one caller may have, whoever else calls: usage plans by the authorizer's keys."""

from pathlib import Path
from typing import Any

import pytest
from support.gateways import ALLOWED, ROLE, Cloud, client, function_uri, parse
from support.recordings import evaluate

from components.gateway import ACCESS_LOG_FORMAT
from components.openapi import OPENAPI, render
from local.apigateway.model import Plan, SpecError
from local.apigateway.spec import GatewaySpec
from tlfif import callers, names

FLOOD_PER_S, SECONDS = 50, 12
# A token with the form of one; in these tests it is its owner's `sub` as well.
ONE = "a.a.a"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("local.apigateway.throttle.time.monotonic", lambda: now[0])
    return now


def own(**more: Any) -> GatewaySpec:
    values = {
        "router_uri": function_uri("router"),
        "queue_health_uri": function_uri("queue-health"),
        "authorizer_uri": function_uri("authorizer"),
        "replies_role": ROLE,
        "replies_uri": "arn:aws:apigateway:eu-west-1:s3:path/bucket/replies/{sub}/{object}",
    }
    recorded = GatewaySpec.from_recording(evaluate("dev"))
    return parse(
        render(Path(OPENAPI).read_text(), values),
        access_log=ACCESS_LOG_FORMAT,
        throttles=recorded.throttles,
        plans=recorded.plans,
        **more,
    )


def by_key(event: dict[str, Any]) -> dict[str, Any]:
    """The authorizer's answer, but for the tokens: a token is its `sub`."""
    sub = event["authorizationToken"]
    key = callers.key_of("dev", sub)
    return {**ALLOWED, "principalId": sub, "context": {"sub": sub}, "usageIdentifierKey": key}


def two_apart() -> tuple[str, str]:
    """Two callers who are counted by keys of their own."""
    other = next(
        token
        for token in ("b.b.b", "c.c.c", "d.d.d", "e.e.e")
        if callers.key_of("dev", token) != callers.key_of("dev", ONE)
    )
    return ONE, other


@pytest.mark.parametrize("who", ["nobody", "a caller"])
@pytest.mark.story("API-003")
async def test_a_flood_takes_nothing_from_another_caller(
    cloud: Cloud, clock: list[float], who: str
) -> None:
    cloud.authorizer = by_key
    flooding, other = two_apart()
    theirs = {} if who == "nobody" else {"Authorization": flooding}
    refused: list[int] = []
    answers: list[int] = []
    async with client(cloud.gateway(own())) as http:
        for number in range(FLOOD_PER_S * SECONDS):
            clock[0] += 1 / FLOOD_PER_S
            refused.append((await http.get("/status", headers=theirs)).status_code)
            if number % FLOOD_PER_S == 0:
                mine = await http.get("/status", headers={"Authorization": other})
                answers.append(mine.status_code)
    assert answers == [200] * SECONDS
    if who == "nobody":
        assert set(refused) == {401}
        assert len(cloud.tokens) == 1, "who sends no token costs no call"
    else:
        rate, burst = names.CALLER_THROTTLE
        assert 0 < refused.count(200) <= burst + rate * SECONDS + 1
        assert set(refused) == {200, 429}


async def test_all_routes_of_a_caller_share_what_is_allowed(
    cloud: Cloud, clock: list[float]
) -> None:
    cloud.authorizer = by_key
    burst = names.CALLER_THROTTLE[1]
    async with client(cloud.gateway(own())) as http:
        headers = {"Authorization": ONE}
        for _ in range(burst // 2):
            assert (await http.get("/status", headers=headers)).status_code == 200
            assert (await http.post("/stop", headers=headers)).status_code == 200
        refused = await http.post("/infer", headers=headers, json={"prompt": "x"})
        preflight = await http.options("/infer", headers={"Origin": "http://localhost:1"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.json()["error"] == "throttled"
    assert preflight.status_code == 200, "a preflight has no caller"


async def test_a_day_has_a_quota(
    cloud: Cloud, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = {ONE: Plan(throttle=None, per_day=2)}
    spec = GatewaySpec(**{**vars(own()), "plans": plans})
    async with client(cloud.gateway(spec)) as http:
        got = [await http.get("/status", headers={"Authorization": ONE}) for _ in range(3)]
        assert [each.status_code for each in got] == [200, 200, 429]
        assert got[-1].json()["error"] == "quota_exceeded"
        monkeypatch.setattr("local.apigateway.throttle.today", lambda: "tomorrow")
        again = await http.get("/status", headers={"Authorization": ONE})
        assert again.status_code == 200


async def test_without_a_key_of_the_plan_nobody_gets_in(cloud: Cloud) -> None:
    """Which the authorizer never lets happen: it names a key of the program's for any caller."""
    async with client(cloud.gateway(own())) as http:
        refused = await http.get("/status", headers={"Authorization": ONE})
        assert (refused.status_code, refused.headers["x-amzn-ErrorType"]) == (
            403,
            "ForbiddenException",
        )


def test_keys_that_callers_send_are_not_served() -> None:
    document = render(
        Path(OPENAPI).read_text(),
        dict.fromkeys(
            ["router_uri", "queue_health_uri", "authorizer_uri", "replies_role", "replies_uri"],
            function_uri("router"),
        ),
    )
    del document["x-amazon-apigateway-api-key-source"]
    with pytest.raises(SpecError, match="only keys from an authorizer"):
        GatewaySpec.parse(document, api_arn="arn:aws:execute-api:r:1:a", stage="v1")


@pytest.mark.parametrize("token", ["Bearer a.b.c", "bearer a-_.b.c", "a.b.c", "a.b."])
async def test_what_has_it_is_judged_by_the_authorizer(cloud: Cloud, token: str) -> None:
    async with client(cloud.gateway(own())) as http:
        await http.get("/status", headers={"Authorization": token})
    assert [each["authorizationToken"] for each in cloud.tokens] == [token]
