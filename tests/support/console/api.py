"""An API that answers as the test says, with the CORS headers of the real one: a localhost origin
is named, and what API Gateway answers by itself has none.
"""

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from support.calls import eventually
from support.console.cognito import claims

from tlfif import proxy

WAIT_S = 60
LOCALHOST = re.compile(r"http://localhost(:[0-9]{1,5})?")
OFF = {
    "node": "off",
    "nodes": [],
    "queue_depth": 0,
    "estimate": 90.0,
    "cap_eur": 20.0,
    "spend_eur": 7.25,
    "gpu_hours_left": 11.5,
    "money": {"degree": 0, "why": "", "projected_eur": 9.0},
    "latch": None,
}
FIGURES = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "tokens_per_second": 21.5,
    "engine": "vllm",
    "eur": 0.00042,
    "finish_reason": "stop",
}


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Job:
    """One that was accepted; `reply` is what GET answers, None a 404."""

    sub: str
    body: dict[str, Any]
    key: str | None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: int = field(default_factory=now_ms)
    reply: dict[str, Any] | None = None
    cancelled: bool = False
    _sequence: int = 0

    @property
    def prompt(self) -> str:
        """What was asked last."""
        return self.body.get("prompt") or self.body["messages"][-1]["content"]

    def say(self, text: str, status: str = "running", **told: Any) -> None:
        """The reply from now on, as far as it is written."""
        self._sequence += 1
        times = {"created_at": self.created_at, "started_at": now_ms(), "updated_at": now_ms()}
        times |= {"first_token_at": now_ms() if text else None}
        own = {"id": self.id, "status": status, "text": text, "sequence": self._sequence}
        self.reply = {**own, **times, "engine": "vllm", **told}

    def end(self, text: str, status: str = "done", **told: Any) -> None:
        """The final reply."""
        self.say(text, status, finished_at=now_ms(), **{**FIGURES, **told})


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float = field(default_factory=time.monotonic)


class Api:
    """`refuse(…)` has the next posts refused; `gateway` answers everything without CORS headers, as
    an authorizer's refusal; `away` breaks every connection off.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = dict(OFF)
        self.accepted: dict[str, Any] = {"status": "queued"}
        self.jobs: list[Job] = []
        self.asked: list[Asked] = []
        self.gateway: int | None = None
        self.away = False
        self.stops = 0
        # How far its clock is ahead of this machine's.
        self.ahead_s = 0.0
        self._refusals: list[Response] = []

    def refuse(self, status: int, code: str, *, retry_after: int = 0, **told: Any) -> None:
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        body = {"error": code, "message": f"The API says {code}.", **told}
        self._refusals.append(JSONResponse(body, status, headers=headers))

    def posts(self) -> list[Asked]:
        return [each for each in self.asked if (each.method, each.path) == ("POST", "/v1/infer")]

    async def until(self, so: Callable[[], Any]) -> None:
        """Returns once it is so."""

        async def asked() -> bool:
            return bool(so())

        await eventually(asked, WAIT_S)

    async def job(self, number: int = 1) -> Job:
        """The first job that is accepted, or a later one."""
        await self.until(lambda: len(self.jobs) >= number)
        return self.jobs[number - 1]

    async def answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            allowed = {
                "Access-Control-Allow-Methods": "GET,POST,DELETE,OPTIONS",
                "Access-Control-Allow-Headers": "Authorization,Content-Type,Idempotency-Key",
            }
            return self._for(request, Response(headers=allowed))
        raw = await request.body()
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, request.url.path, dict(request.headers), body))
        if self.away:
            request.scope["state"]["transport"].abort()
            return Response(status_code=503)
        if self.gateway:
            return JSONResponse({"error": "forbidden", "message": "no"}, self.gateway)
        sub = _sub(request)
        if sub is None:
            return JSONResponse({"error": "forbidden", "message": "The token is expired."}, 403)
        return self._for(request, self._route(request, sub, body))

    def _for(self, request: Request, response: Response) -> Response:
        """With what the API tells pages of this machine, its own time included."""
        origin = request.headers.get("origin", "")
        response.headers["Date"] = formatdate(time.time() + self.ahead_s, usegmt=True)
        response.headers["Vary"] = "Origin"
        response.headers["Cache-Control"] = "no-store"
        if LOCALHOST.fullmatch(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = proxy.EXPOSED
        return response

    def _route(self, request: Request, sub: str, body: Any) -> Response:
        match request.method, request.url.path.removeprefix("/v1").strip("/").split("/"):
            case "POST", ["infer"]:
                return self._infer(request, sub, body)
            case "GET", ["infer", id_]:
                job = self._find(id_, sub)
                if job is None or job.reply is None:
                    return _refused(404, "not_found")
                return JSONResponse(job.reply)
            case "DELETE", ["infer", id_]:
                return self._cancel(self._find(id_, sub))
            case "POST", ["stop"]:
                self.stops += 1
                return JSONResponse({"status": "stopping", "jobs": 0, "nodes": 1}, 202)
            case "GET", ["status"]:
                return JSONResponse(self.status)
        return _refused(404, "not_found")

    def _infer(self, request: Request, sub: str, body: dict[str, Any]) -> Response:
        if self._refusals:
            return self._refusals.pop(0)
        key = request.headers.get("idempotency-key")
        job = next((job for job in self.jobs if key and (job.sub, job.key) == (sub, key)), None)
        if job is None:
            job = Job(sub, body, key)
            self.jobs.append(job)
        told = {**self.accepted, "id": job.id, "expires_at": now_ms() + 300_000}
        headers = {"X-Request-Id": job.id, "Location": f"infer/{job.id}"}
        return JSONResponse(told, 202, headers=headers)

    def _cancel(self, job: Job | None) -> Response:
        if job is None:
            return _refused(404, "not_found")
        job.cancelled = True
        if job.reply is None:
            job.end("", "cancelled", reason="cancelled")
            return JSONResponse({"status": "cancelled", "id": job.id})
        if job.reply["status"] != "running":
            return JSONResponse({"status": job.reply["status"], "id": job.id})
        return JSONResponse({"status": "cancelling", "id": job.id}, 202)

    def _find(self, id_: str, sub: str) -> Job | None:
        return next((job for job in self.jobs if (job.id, job.sub) == (id_, sub)), None)


def _sub(request: Request) -> str | None:
    """Whose token it is; None for one that is none, or expired."""
    try:
        told = claims(request.headers["authorization"].removeprefix("Bearer "))
    except (KeyError, IndexError, ValueError):
        return None
    good = told["token_use"] == "access" and told["exp"] > time.time()
    return told["sub"] if good else None


def _refused(status: int, code: str) -> Response:
    return JSONResponse({"error": code, "message": f"The API says {code}."}, status)
