"""Who serves the console, and whom it asks."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.console.api import Api
from support.console.cognito import CLIENT_ID, POOL, Cognito

from gui.site import Configuration, Site, write
from local.machine.ports import listen
from local.machine.serving import serving

METHODS = ["GET", "POST", "DELETE", "OPTIONS"]


class Servers:
    """They stand for the whole run; their script is begun anew for each test."""

    def __init__(self) -> None:
        self.api, self.cognito = Api(), Cognito()
        self.api_url = self.cognito_url = self.url = ""

    def begin(self) -> None:
        self.api, self.cognito = Api(), Cognito()

    @property
    def origins(self) -> set[str]:
        """All that a browser may ask."""
        urls = (self.api_url.removesuffix("/v1"), self.cognito_url, self.url)
        return {url.rstrip("/") for url in urls}

    async def ask_api(self, request: Request) -> Response:
        return await self.api.answer(request)

    async def ask_cognito(self, request: Request) -> Response:
        return await self.cognito.answer(request)


@asynccontextmanager
async def scripted(folder: Path) -> AsyncIterator[Servers]:
    """The servers; the console is written to the folder."""
    servers = Servers()
    async with AsyncExitStack() as stack:
        urls: list[str] = []
        for name, answer in (("API", servers.ask_api), ("Cognito", servers.ask_cognito)):
            app = Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])
            urls.append(await stack.enter_async_context(serving(app, listen(0, name))))
        servers.api_url, servers.cognito_url = f"{urls[0]}/v1", f"{urls[1]}/"
        told = Configuration(
            api_url=servers.api_url,
            cognito_url=servers.cognito_url,
            client_id=CLIENT_ID,
            user_pool_id=POOL,
            stack="dev",
        )
        write(folder, told)
        servers.url = stack.enter_context(Site(folder, [0] * 5)).url
        yield servers
