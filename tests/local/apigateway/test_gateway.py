"""The whole chain: the project's own API, the recorded program, a real socket."""

import asyncio
import ipaddress
import json
import socket
from pathlib import Path

import httpx
import pytest
from support.gateways import ROLE, Cloud, client, function_uri, parse, raw
from support.recordings import evaluate

from components.gateway import ACCESS_LOG_FORMAT
from components.openapi import OPENAPI, render
from local.apigateway.model import FunctionError, Plan
from local.apigateway.spec import GatewaySpec
from local.machine.serving import serving
from recording import kinds
from tlfif import callers, names

JOB = "0f8fad5b-d9cb-4d7d-a2f0-0123456789ab"


@pytest.fixture
def own() -> GatewaySpec:
    values = {
        "router_uri": function_uri("router"),
        "queue_health_uri": function_uri("queue-health"),
        "authorizer_uri": function_uri("authorizer"),
        "replies_role": ROLE,
        "replies_uri": "arn:aws:apigateway:eu-west-1:s3:path/bucket/replies/{sub}/{object}",
    }
    return parse(render(Path(OPENAPI).read_text(), values), access_log=ACCESS_LOG_FORMAT)


@pytest.mark.story("API-001")
async def test_own_api_routes_and_refuses(cloud: Cloud, own: GatewaySpec) -> None:
    async with client(cloud.gateway(own)) as http:
        assert (await http.post("/infer", json={"prompt": "x"})).json()["error"] == "unauthorized"
        headers = {"Authorization": "a.lice."}
        assert (await http.post("/infer", headers=headers, json={"prompt": "x"})).status_code == 200
        assert (await http.put("/infer", headers=headers)).json()["error"] == "not_found"
        assert (await http.get("/ping")).json() == {"status": "ok"}
        cloud.authorizer = FunctionError("no keys")
        response = await http.get("/status", headers={"Authorization": "b.o.b"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert json.loads(cloud.lines[1])["route"] == "POST /infer"


@pytest.mark.story("API-002")
async def test_own_replies_are_the_callers_alone(cloud: Cloud, own: GatewaySpec) -> None:
    cloud.objects[f"replies/a.lice./{JOB}.json"] = b'{"status": "done", "text": "h\xc3\xa9"}'
    gateway = cloud.gateway(own)
    async with client(gateway) as http:
        mine = await http.get(f"/infer/{JOB}", headers={"Authorization": "a.lice."})
        assert (mine.status_code, mine.json()) == (200, {"status": "done", "text": "hé"})
        assert mine.headers["cache-control"] == "no-store"
        theirs = await http.get(f"/infer/{JOB}", headers={"Authorization": "b.o.b"})
        assert (theirs.status_code, theirs.json()["error"]) == (404, "not_found")
        for status in (403, 500):
            cloud.s3_status = status
            assert (
                await http.get(f"/infer/{JOB}", headers={"Authorization": "a.lice."})
            ).status_code == 502
    cloud.s3_status = None
    sought = [
        f"/v1/infer/{climb}"
        for climb in (f"..%2Fa.lice.%2F{JOB}", "%2e%2e", f"{JOB}.json", JOB.upper())
    ]
    for path in sought:
        assert (await raw(gateway, path, Authorization="b.o.b"))[0] == 404
    assert (await raw(gateway, f"/v1/infer/%2e%2e/a.lice./{JOB}", Authorization="b.o.b"))[0] == 404


@pytest.mark.story("API-001")
@pytest.mark.parametrize("name", ["Origin", "origin"])
async def test_own_preflight_names_localhost_only(
    cloud: Cloud, own: GatewaySpec, name: str
) -> None:
    async with client(cloud.gateway(own)) as http:
        for origin in ("http://localhost", "http://localhost:3000"):
            response = await http.options(
                "/infer", headers={name: origin, "Access-Control-Request-Method": "POST"}
            )
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (
                200,
                origin,
            )
            assert response.headers["vary"] == "Origin"
        for origin in (
            "https://localhost",
            "http://localhost.evil.example",
            "http://localhost:123456",
            "null",
            "",
        ):
            response = await http.options("/infer", headers={name: origin})
            assert response.status_code == 200
            assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-origin" not in (await http.options("/infer")).headers


async def test_the_recorded_program_is_what_is_served(cloud: Cloud) -> None:
    recording = evaluate("dev")
    spec = GatewaySpec.from_recording(recording)
    api = recording.one(kinds.apigateway.REST_API.token)
    assert (spec.api_id, spec.stage) == (
        api.id,
        recording.one(kinds.apigateway.STAGE.token).inputs["stageName"],
    )
    assert spec.access_log == ACCESS_LOG_FORMAT
    assert spec.throttles["*/*"] == names.STAGE_THROTTLE
    assert set(spec.plans) == {callers.key_of("dev", str(number)) for number in range(1_000)}
    assert set(spec.plans.values()) == {
        Plan(throttle=names.CALLER_THROTTLE, per_day=names.CALLER_REQUESTS_PER_DAY)
    }
    gateway = cloud.gateway(spec)
    async with client(gateway) as http:
        for path in ("ping", "ping/"):
            response = await http.get(f"/{path}")
            assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    block = ipaddress.ip_network(recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"])
    inside = httpx.ASGITransport(app=gateway.inside_vpc(str(block[5])))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=inside, base_url="http://x") as http:
        assert (await http.get(f"{spec.stage}/ping")).json() == {"status": "ok"}


async def exchange(port: int, request: str) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own, with nothing tidied up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


async def test_served_on_a_socket(cloud: Cloud) -> None:
    cloud.objects["replies/bob/1.json"] = b"bob's"
    listener = socket.create_server(("127.0.0.1", 0))
    port, end = listener.getsockname()[1], "Host: x\nConnection: close\n\n"
    async with serving(cloud.gateway(parse()).app, listener):
        for path in (
            "replies/../bob/1",
            "replies/%2e%2e%2Fbob/1",
            "replies/..%2fbob%2f1",
            "../v1/mock",
        ):
            status, body = await exchange(
                port, f"GET /v1/{path} HTTP/1.1\nAuthorization: alice\n{end}"
            )
            assert status in (403, 404)
            assert b"bob's" not in body
        assert (await exchange(port, f"GET /v1/mock HTTP/1.1\nX-Big: {'x' * 100_000}\n{end}"))[
            0
        ] == 431
        assert await exchange(port, f"HEAD /v1/mock HTTP/1.1\n{end}") == (404, b"")
        # The peer's own address counts, whatever a header claims.
        forwarded = "X-Forwarded-For: 198.51.100.9\nContent-Length: 0"
        assert (await exchange(port, f"POST /v1/open HTTP/1.1\n{forwarded}\n{end}"))[0] == 200
        assert cloud.events[0]["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
