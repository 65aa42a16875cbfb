"""Which method of the API a request is for."""

import httpx
import pytest
from support.gateways import Cloud, parse, raw


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("GET", "/open"), ("HEAD", "/mock"), ("PROPFIND", "/mock"), ("GET", "/")],
)
async def test_unknown_routes_get_the_documents_answer(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await api.request(method, path)
    assert response.status_code == 404
    assert response.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    if method != "HEAD":
        assert response.json() == {"error": "not_found", "message": "Missing Authentication Token"}
    assert int(response.headers["content-length"]) > 0


async def test_another_stage_is_forbidden(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    assert await raw(gateway, "/v2/mock") == (403, b'{"message":"Forbidden"}')
    assert (await raw(gateway, "/mock"))[0] == 403


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/open", "/open", None),
        ("/open/", "/open", None),
        ("/open/fixed", "/open/fixed", None),
        ("/open/other", "/open/{name}", {"name": "other"}),
        ("/open/a%2Fb", "/open/{name}", {"name": "a%2Fb"}),
    ],
)
async def test_fixed_paths_come_before_parameters(
    api: httpx.AsyncClient,
    cloud: Cloud,
    path: str,
    resource: str,
    parameters: dict[str, str] | None,
) -> None:
    assert (await api.post(path)).status_code == 200
    event = cloud.events[0]
    assert (event["resource"], event["pathParameters"], event["path"]) == (
        resource,
        parameters,
        path,
    )


async def test_nothing_in_a_path_is_normalised(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    for path in (
        "/v1//mock",
        "/v1/./mock",
        "/v1/open/../mock",
        "/v1/%6dock",
        "/v1/open/%2e%2e/mock",
    ):
        assert (await raw(gateway, path))[0] == 404, path
    assert (await raw(gateway, "/v1/open/..", "POST"))[0] == 200
    assert cloud.events[0]["pathParameters"] == {"name": ".."}
