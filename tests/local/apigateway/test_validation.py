"""API Gateway's limits, and the parameters that a method requires."""

from collections.abc import AsyncIterator

import httpx
from support.gateways import Cloud


async def test_required_parameters(api: httpx.AsyncClient, cloud: Cloud) -> None:
    for path in ("/echo/1", "/echo/1?must="):
        response = await api.get(path, headers={"Authorization": "t"})
        assert response.status_code == 400
        assert response.json() == {"message": "Missing required request parameters: [must]"}
    assert cloud.events == []
    assert len(cloud.tokens) == 1  # the authorizer comes first


async def test_limits_of_size(api: httpx.AsyncClient, cloud: Cloud) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 1024 * 1024

    for body in (b"x" * (10 * 1024 * 1024 + 1), chunks()):
        response = await api.post("/open", content=body)
        assert (response.status_code, response.json()) == (413, {"message": "Request Too Long"})
    assert (await api.post("/open", headers={"X-Big": "x" * 10_240})).status_code == 431
    assert (
        await api.post("/secret/".rstrip("/"), headers={"Authorization": "x" * 9_000})
    ).status_code == 200
    assert (
        await api.get(f"/echo/{'x' * 1_700}?must=1", headers={"Authorization": "t"})
    ).status_code == 414
    assert len(cloud.events) == 1
