"""The console in a browser, before an API and a Cognito that answer by script."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from support.console.api import Api
from support.console.cognito import Cognito, Person
from support.console.screen import Screen, chromium
from support.console.servers import Servers, scripted


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with scripted(tmp_path_factory.mktemp("served") / "console") as servers:
        yield servers


@pytest.fixture
def servers(running: Servers) -> Servers:
    """Those of the run, as if nobody had asked them yet."""
    running.begin()
    return running


@pytest.fixture
def api(servers: Servers) -> Api:
    return servers.api


@pytest.fixture
def cognito(servers: Servers) -> Cognito:
    return servers.cognito


@pytest.fixture
def ada(cognito: Cognito) -> Person:
    return cognito.person()


@pytest.fixture
def look() -> dict[str, Any]:
    """How the browser is set up; a test's own parametrisation overrides it."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def screen(browser: Browser, servers: Servers, look: dict[str, Any]) -> AsyncIterator[Screen]:
    """A new person's browser, at the console; in the end nothing has happened that must not."""
    context = await browser.new_context(
        **{"locale": "en-GB", "timezone_id": "UTC", "reduced_motion": "reduce", **look}
    )
    try:
        # Timers can be made to be due; until then they run as everywhere.
        await context.clock.install()
        screen = Screen(context, servers.url)
        await screen.open()
        yield screen
        await screen.check(servers.origins)
    finally:
        await context.close()
