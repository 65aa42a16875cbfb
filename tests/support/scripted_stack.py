"""A stack's API and its Cognito in one ASGI app, which answer the bridge by script."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

URL, COGNITO = "http://stack.test/v1", "http://stack.test/cognito"
CLIENT_ID, USER, PASSWORD = "client-1", "ada@example.com", "a password of Ada's 1"
# What a reply is at one look: its text so far, or all of its fields; None while nobody has the job.
Look = str | dict[str, Any] | None


def done(text: str, **fields: Any) -> dict[str, Any]:
    """A whole answer."""
    told = {"prompt_tokens": 7, "completion_tokens": 3, "finish_reason": "stop"}
    return {"status": "done", "text": text, **told, **fields}


def ended(status: str, **fields: Any) -> dict[str, Any]:
    """A reply that ended without one."""
    return {"status": status, "text": "", **fields}


def refusal(status: int, code: str = "no", *, wait_s: int | None = None, **body: Any) -> Response:
    headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
    told = {"error": code, "message": f"says {status}", **body}
    return JSONResponse(told, status, headers)


@dataclass
class ScriptedStack:
    """`script` is what each job's looks are, the last one for all that follow. `refusals` answer
    posts first, `failing` looks; a post waits for `gate`, as if on its way back.
    """

    script: list[Look] = field(default_factory=lambda: [done("Paris.")])
    refusals: list[Response] = field(default_factory=list)
    failing: list[Response] = field(default_factory=list)
    estimate: float | None = None
    lives_s: float = 3600
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    posts: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    flows: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refresh_tokens: set[str] = field(default_factory=set)
    server_ms: Callable[[], float] = lambda: time.time() * 1000

    def __post_init__(self) -> None:
        self.gate.set()
        self.app = Starlette(
            routes=[
                Route("/cognito", self._cognito, methods=["POST"]),
                Route("/v1/infer", self._let_in(self._infer), methods=["POST"]),
                Route("/v1/infer/{id}", self._let_in(self._reply)),
                Route("/v1/infer/{id}", self._let_in(self._cancel), methods=["DELETE"]),
                Route("/v1/status", self._let_in(self._status)),
            ]
        )

    def client(self) -> httpx.AsyncClient:
        """The way to it, without a network."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app))

    @property
    def unended(self) -> set[str]:
        """Accepted jobs that were neither read to their end nor cancelled."""
        return set(self.jobs.values()) - self.cancelled - self.ended

    async def _cognito(self, request: Request) -> Response:
        asked = await request.json()
        self.flows.append(asked["AuthFlow"])
        given = asked["AuthParameters"]
        right = {"USERNAME": USER, "PASSWORD": PASSWORD}
        if given != right and given.get("REFRESH_TOKEN") not in self.refresh_tokens:
            told = {
                "__type": "NotAuthorizedException",
                "message": "Incorrect username or password.",
            }
            return JSONResponse(told, 400)
        token, refresh = f"token-{len(self.flows)}", f"refresh-{len(self.flows)}"
        self.tokens.add(token)
        self.refresh_tokens.add(refresh)
        result = {"AccessToken": token, "ExpiresIn": self.lives_s, "RefreshToken": refresh}
        return JSONResponse({"AuthenticationResult": result})

    def _let_in(
        self, route: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            known = request.headers.get("authorization") in self.tokens
            response = await route(request) if known else refusal(403, "forbidden")
            response.headers["Date"] = formatdate(self.server_ms() / 1000, usegmt=True)
            return response

        return checked

    async def _infer(self, request: Request) -> Response:
        self.posts.append(await request.json())
        if self.refusals:
            return self.refusals.pop(0)
        job = self.jobs.setdefault(request.headers["idempotency-key"], str(uuid.uuid4()))
        await self.gate.wait()
        accepted = {"id": job, "status": "queued", "expires_at": int(self.server_ms()) + 300_000}
        starting = {} if self.estimate is None else {"estimate": self.estimate}
        return JSONResponse(accepted | starting, 202)

    async def _reply(self, request: Request) -> Response:
        if self.failing:
            return self.failing.pop(0)
        job = request.path_params["id"]
        count = self.looks[job] = self.looks.get(job, -1) + 1
        look = self.script[min(count, len(self.script) - 1)]
        if look is None:
            return refusal(404, "not_found")
        fields = look if isinstance(look, dict) else {"status": "running", "text": look}
        if fields["status"] != "running":
            self.ended.add(job)
        return JSONResponse({"id": job, "sequence": count, "updated_at": count, **fields})

    async def _cancel(self, request: Request) -> Response:
        self.cancelled.add(request.path_params["id"])
        return JSONResponse({"status": "cancelling", "id": request.path_params["id"]}, 202)

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"node": "loading", "lane": {"phase": "off"}, "estimate": 90})
