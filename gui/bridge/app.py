"""The bridge's HTTP surface: models and chat completions, and everything else refused as OpenAI
refuses it.
"""

import inspect
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gui.bridge.completions import Completions
from gui.bridge.errors import OpenAIError
from gui.bridge.guards import HostGuard, KeyGuard
from gui.bridge.protocol.chat import known
from gui.bridge.stack.api import Api
from gui.bridge.stack.jobs import Jobs
from gui.bridge.stack.outlook import Outlook

MODEL = "tl-fif"
SURFACE = "/v1/chat/completions, /v1/models and /v1/models/{id}"
# Chrome asks whether a public page may reach this machine; older starlettes cannot answer.
_CAN = "allow_private_network" in inspect.signature(CORSMiddleware).parameters
_PRIVATE: dict[str, Any] = {"allow_private_network": True} if _CAN else {}
EXPOSED = ("x-request-id", "retry-after", "x-should-retry")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask: `key` is what they send; `hosts` are names of this machine beside its loopback
    addresses, `any_address` whether all addresses are; `origins` are pages that may, as browsers
    name them.
    """

    key: str
    hosts: Collection[str] = ()
    any_address: bool = False
    origins: Collection[str] = ()


class Bridge:
    """`app` serves OpenAI's API as the user of a stack's; `close` ends what runs there."""

    def __init__(
        self, api: Api, access: Access, say: Callable[[str], None], *, model: str = MODEL
    ) -> None:
        self._model, self._began = model, int(time.time())
        self._outlook, self._jobs = Outlook(api), Jobs(api, say)
        self._completions = Completions(self._jobs, self._outlook, model, say)
        self.app = self._app(access)

    async def close(self, within_s: float) -> None:
        """Refuses what comes, ends what runs and cancels its jobs; takes twice as long at most."""
        await self._completions.close(within_s)
        self._outlook.close()
        await self._jobs.close(within_s)

    def _app(self, access: Access) -> Starlette:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            **_PRIVATE,
            expose_headers=EXPOSED,
        )
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._completions, methods=["POST"]),
                Route("/v1/models", self._list),
                Route("/v1/models/{model:path}", self._retrieve),
            ],
            middleware=[
                Middleware(HostGuard, names=access.hosts, any_address=access.any_address),
                *([cors] if access.origins else []),
                Middleware(KeyGuard, key=access.key),
            ],
            exception_handlers={HTTPException: _not_served, OpenAIError: _refused},
        )
        app.router.redirect_slashes = False
        return app

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _retrieve(self, request: Request) -> Response:
        known(request.path_params["model"], self._model)
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        told = {"id": self._model, "object": "model", "created": self._began}
        return {**told, "owned_by": "tl-fif"}


async def _not_served(request: Request, error: Exception) -> Response:
    """404 and 405, which Starlette raises."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    asked = f"{request.method} {request.url.path[:200]}"
    code, why = (
        ("method_not_allowed", "is not allowed")
        if status == 405
        else (
            "unknown_url",
            "is not served",
        )
    )
    hint = "" if request.url.path.startswith("/v1/") else "; the base URL ends in /v1"
    refusal = OpenAIError(status, f"{asked} {why}: this bridge has {SURFACE}{hint}.", code=code)
    headers = getattr(error, "headers", None) or {}
    return JSONResponse(refusal.body(), status, {**headers, **refusal.headers()})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, OpenAIError)
    return JSONResponse(error.body(), error.status, error.headers())
