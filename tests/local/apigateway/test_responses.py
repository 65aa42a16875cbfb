"""What API Gateway answers by itself, and what it writes into its log."""

import json

import httpx
from support.gateways import Cloud, client, parse

from components.gateway import ACCESS_LOG_FORMAT


async def test_default_gateway_responses_apply_to_their_class(
    api: httpx.AsyncClient, cloud: Cloud
) -> None:
    cloud.router = {"nonsense": 1}
    response = await api.post("/open")
    assert (response.status_code, response.headers["retry-after"]) == (502, "5")
    assert response.json() == {"error": "DEFAULT_5XX", "id": response.headers["x-amzn-requestid"]}


async def test_access_log_lines(cloud: Cloud) -> None:
    more = ', "i": "$context.integrationLatency", "u": "$context.identity.userAgent"}'
    gateway = cloud.gateway(parse(access_log=ACCESS_LOG_FORMAT.replace("}", more)))
    async with client(gateway) as http:
        first = await http.get("/mock", headers={"User-Agent": 'a"b\\'})
        await http.post("/open")
        await http.get("/nothing")
    lines = [json.loads(line) for line in cloud.lines]
    assert int(lines[0].pop("latencyMs")) >= 0
    assert lines[0] == {
        "requestId": first.headers["x-amzn-requestid"],
        "ip": "192.0.2.7",
        "route": "GET /mock",
        "status": "200",
        "i": "-",
        "u": 'a"b\\',
    }
    assert int(lines[1]["i"]) >= 0
    assert (lines[2]["route"], lines[2]["status"]) == ("GET -", "404")
