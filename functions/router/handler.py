"""POST /infer, DELETE /infer/{id}, POST /stop, GET /status: parse → one queue script → render."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import redis

from router import routes
from tlfif import emf, names, tokens
from tlfif.environment import Router
from tlfif.log import log
from tlfif.proxy import Event, Problem, Response, header
from tlfif.queue import scripts

Route = Callable[["routes.Services", Event, str], Response]
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/infer"): routes.infer,
    ("DELETE", "/infer/{id}"): routes.cancel,
    ("POST", "/stop"): routes.stop,
    ("GET", "/status"): routes.status,
}


@cache
def services() -> routes.Services:
    """Made once per execution environment: a warm call opens nothing."""
    settings = Router.read()
    verifier = tokens.for_pool(os.environ["AWS_REGION"], settings)
    client = scripts.connect(settings.redis_host, settings.redis_port)
    return routes.Services(settings, client, verifier)


def handler(event: Event, context: Any) -> Response:
    """The Lambda entry point.

    Every refusal is a JSON answer; nothing the caller sends can make it fail.
    """
    request_id = context.aws_request_id
    try:
        route = ROUTES.get((event.get("httpMethod", ""), event.get("resource", "")))
        if route is None:
            raise Problem(404, "not_found", "There is no such route.")
        return route(services(), event, _caller(event))
    except Problem as problem:
        return problem.response(event, request_id)
    except redis.RedisError as error:
        return _queue_down(event, request_id, error)


def _caller(event: Event) -> str:
    """The verified `sub` (LAM-002).

    It is checked here again, so that the router is safe when it is invoked directly.
    """
    try:
        claims = services().verifier.verify(tokens.bearer(header(event, "authorization") or ""))
    except tokens.Rejected as refusal:
        log("token refused", why=str(refusal))
        message = "Send an Authorization header with a valid access token."
        raise Problem(401, "unauthorized", message) from refusal
    except tokens.KeysUnavailable as error:
        log("keys unavailable", "ERROR", why=str(error))
        message = "Tokens cannot be checked now."
        raise Problem(503, "authorizer_unavailable", message, retry_after_s=5) from error
    return claims["sub"]


def _queue_down(event: Event, request_id: str, error: Exception) -> Response:
    """503 and the metric the story names (LAM-003)."""
    emf.emit(
        names.NAMESPACE_ROUTER, services().settings.stack, {names.METRIC_REDIS_ENQUEUE_FAIL: 1},
        error=type(error).__name__, detail=str(error)[:200], requestId=request_id,
    )  # fmt: skip
    message = "The job queue does not answer; try again."
    problem = Problem(503, "queue_unavailable", message, retry_after_s=2)
    return problem.response(event, request_id)
