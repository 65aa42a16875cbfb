"""The small API of support.gateways, and what stands behind it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from support.gateways import Cloud, client, parse


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
async def api(cloud: Cloud) -> AsyncIterator[httpx.AsyncClient]:
    gateway = cloud.gateway(parse())
    async with client(gateway) as http:
        yield http
    await gateway.aclose()
