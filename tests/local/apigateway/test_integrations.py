"""Mock and S3 integrations: templates, paths, the selection of responses."""

import httpx
import pytest
from support.gateways import Cloud, client, document, parse, raw

from local.apigateway.integrations import s3_path


async def test_mock(api: httpx.AsyncClient) -> None:
    response = await api.get("/mock")
    assert (response.status_code, response.json()) == (200, {"path": "/mock", "stage": "v1"})
    assert response.headers["x-fixed"] == "fixed"
    assert response.headers["x-id"] == response.headers["x-amzn-requestid"]
    assert response.headers["content-type"] == "application/json"
    plain = await api.get("/mock", headers={"Accept": "text/plain; q=1, */*"})
    assert (plain.text, plain.headers["content-type"]) == ("plain", "text/plain")
    override = await api.get("/mock?code=400")
    assert (override.status_code, override.headers["x-over"], override.text) == (
        499,
        "ridden",
        "{}",
    )


async def test_mock_misconfigured(api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    for code, says in (
        ("500", "no response matches '500'"),
        ("none", "a mock's request template renders"),
    ):
        response = await api.get(f"/mock?code={code}")
        assert (response.status_code, response.json()["error"]) == (500, "API_CONFIGURATION_ERROR")
        assert says in caplog.text


async def test_passthrough_never_refuses_other_media_types(api: httpx.AsyncClient) -> None:
    for media, status in [("application/json; charset=utf-8", 200), ("text/xml", 415)]:
        assert (await api.get("/mock", headers={"Content-Type": media})).status_code == status


async def test_a_body_that_is_no_json_is_the_callers_fault(cloud: Cloud) -> None:
    reads_body = document("$input.params('code') => $input.json('$.code')")
    async with client(cloud.gateway(parse(reads_body))) as http:
        response = await http.request("GET", "/mock", content='{"code": 400}')
        assert (response.status_code, response.text) == (499, "{}")
        response = await http.request("GET", "/mock", content="no json")
    assert (response.status_code, response.json()) == (
        400,
        {"message": "Could not parse request body into json"},
    )


async def test_s3_is_read_under_the_callers_own_sub(api: httpx.AsyncClient, cloud: Cloud) -> None:
    cloud.objects["replies/alice/1.json"] = b'{"text": "hi"}'
    mine = await api.get("/replies/1", headers={"Authorization": "alice"})
    assert (mine.status_code, mine.content) == (200, b'{"text": "hi"}')
    assert (mine.headers["content-type"], mine.headers["etag"]) == ("text/reply", '"1"')
    theirs = await api.get("/replies/1", headers={"Authorization": "bob"})
    assert (theirs.status_code, theirs.json()) == (404, {"error": "not_found"})
    request = cloud.requests[0]
    assert request.url.raw_path == b"/bucket/replies/alice/1.json?versionId=test"
    assert (request.headers["x-fixed"], request.headers["x-over"]) == ("one", "1!")
    assert "Credential=AKIDREPLIES/" in request.headers["authorization"]
    assert "/eu-west-1/s3/aws4_request" in request.headers["authorization"]
    assert "authorization" not in {
        name for name, value in request.headers.items() if value == "alice"
    }


@pytest.mark.parametrize(
    "climb",
    ["..%2fbob%2f1", "%2e%2e%2fbob%2f1", "..%2F..%2Freplies%2Fbob%2F1", "%2e%2e/bob/1", "../bob/1"],
)
async def test_no_path_reaches_another_users_key(cloud: Cloud, climb: str) -> None:
    cloud.objects["replies/bob/1.json"] = b"bob's"
    gateway = cloud.gateway(parse())
    status, body = await raw(gateway, f"/v1/replies/{climb}", Authorization="alice")
    assert status == 404
    assert body != b"bob's"
    for request in cloud.requests:
        assert request.url.raw_path.startswith(b"/bucket/replies/alice/")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/b", "/k/a/b"),
        ("../../etc", "/k/%2E%2E/%2E%2E/etc"),
        (".", "/k/%2E"),
        ("a?b#c", "/k/a%3Fb%23c"),
        ("%2e%2e", "/k/%2e%2e"),
        ("100%", "/k/100%25"),
        ("a b\r\né", "/k/a%20b%0D%0A%C3%A9"),
    ],
)
def test_s3_paths_are_escaped(value: str, path: str) -> None:
    assert s3_path("/k/{x}", {"x": value}) == path
    assert (
        httpx.URL(f"http://h{path}").raw_path.decode() == path
    )  # and the client sends them like that


async def test_s3_failures(api: httpx.AsyncClient, cloud: Cloud) -> None:
    headers = {"Authorization": "alice"}
    cloud.s3_status = 503
    response = await api.get("/replies/1", headers=headers)
    assert (response.status_code, response.json()) == (502, {"error": "storage"})
    cloud.s3_status = httpx.ConnectError("refused")
    response = await api.get("/replies/1", headers=headers)
    assert (response.status_code, response.json()["error"]) == (504, "INTEGRATION_FAILURE")
