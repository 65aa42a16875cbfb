"""The router's four routes. Each gets the verified caller's `sub` and answers with a proxy response."""

import math
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import redis

from router import requests
from router.settings import Settings
from tlfif import emf, names, nodes, queue, replies, tokens
from tlfif.http import Event, Problem, Response, header, respond
from tlfif.log import log

# The queue's clock may run a little ahead of ours; a job that arrives later than this was answered 503 already.
DEADLINE_MS = 1_500
ABORT_WAIT_S = 1.0
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")
WRITERS = 16


@dataclass(frozen=True)
class Services:
    """What the routes work with."""

    settings: Settings
    redis: "redis.Redis"
    verifier: tokens.Verifier


def infer(services: Services, event: Event, sub: str) -> Response:
    """Accepts a job: 202 queued, or 202 starting when a node is being woken for it (LAM-003 … LAM-005)."""
    settings = services.settings
    request = requests.parse(event)
    job = queue.NewJob(
        id=str(uuid.uuid4()),
        sub=sub,
        prompt=request.prompt,
        idle_minutes=request.idle_minutes or settings.idle_minutes,
        options=request.options(),
        idempotency_key=_idempotency_key(event),
        deadline_ms=int(time.time() * 1000) + DEADLINE_MS,
    )
    answer = queue.run(services.redis, queue.accept(job, settings.limits))
    if isinstance(answer, queue.Refused):
        raise _refusal(settings, answer)
    if answer.wake:
        _wake(services, job, answer.wake)
    return _accepted(event, answer)


def _idempotency_key(event: Event) -> str:
    key = header(event, "idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        message = "Idempotency-Key must be 1 to 128 printable ASCII characters; send a UUID"
        raise Problem(400, "invalid_request", message, field="Idempotency-Key", value=key[:80])
    return key or ""


def _accepted(event: Event, answer: queue.Accepted) -> Response:
    body: dict[str, object] = {"status": answer.state}
    if answer.state == "starting":
        body["eta"] = names.BOOT_ETA_S
        body["estimate"] = _estimate_s(answer.estimate_ms)
    body |= {"id": answer.id, "expires_at": answer.expires_at}
    return respond(event, 202, body, {"X-Request-Id": answer.id, "Location": f"/infer/{answer.id}"})


def _estimate_s(boot_ms: int | None) -> float:
    """The p90 of measured boots in s; the story's figure until one was measured."""
    return float(names.BOOT_ETA_S) if boot_ms is None else round(boot_ms / 1000, 1)


def _refusal(settings: Settings, refused: queue.Refused) -> Problem:
    match refused.why:
        case "limited":
            emf.emit(names.NAMESPACE_ROUTER, settings.stack, {names.METRIC_RATE_LIMIT_BREACHES: 1})
            message = f"At most {settings.limits.burst} requests a second and {settings.limits.sustained} a minute."
            return Problem(429, "rate_limited", message, retry_after_s=math.ceil(refused.wait_ms / 1000))
        case "latched":
            return latched(refused.detail)
        case "full":
            message = f"{refused.detail} jobs are waiting already; try again when some are done."
            return Problem(503, "backlog_full", message, retry_after_s=30)
        case "conflict":
            message = "Idempotency-Key was used for another request; send a new key with a new body"
            return Problem(400, "invalid_request", message, field="Idempotency-Key")
    return Problem(503, "queue_unavailable", "The job queue answered too late; try again.", retry_after_s=2)


def latched(detail: str) -> Problem:
    """402: the budget is spent. `detail` is the latch as JSON text (reason, until)."""
    message = "The monthly budget is spent; no GPU is started before the latch is lifted."
    return Problem(402, "budget_exhausted", message, latch=detail)


def _wake(services: Services, job: queue.NewJob, wanted: int) -> None:
    """Starts nodes for an accepted job, or takes the job back when EC2 has none to give."""
    stack = services.settings.stack
    outcome, started, code = nodes.wake(nodes.client(), stack, wanted)
    if started:
        emf.emit(names.NAMESPACE_ROUTER, stack, {names.METRIC_EC2_STARTS: started}, jobId=job.id)
    log("wake", jobId=job.id, outcome=outcome.value, started=started, code=code)
    refusals = {
        nodes.Outcome.NO_CAPACITY: Problem(503, "no_capacity", f"EC2 has no GPU now ({code}).", retry_after_s=60),
        nodes.Outcome.ABSENT: Problem(
            503, "no_node", "This stack has no GPU node yet; bake the image, then run pulumi up.", retry_after_s=60
        ),
        nodes.Outcome.LATCHED: latched(""),
    }
    problem = refusals.get(outcome)
    if problem and queue.run(services.redis, queue.withdraw(job)) != "taken":
        raise problem
    if outcome in (nodes.Outcome.UNKNOWN, nodes.Outcome.STOPPING):
        queue.run(services.redis, queue.release_wake(job.id))


def cancel(services: Services, event: Event, sub: str) -> Response:
    """Cancels one job of the caller's: 200 when it was queued (or has ended), 202 while its worker is being told."""
    job_id = (event.get("pathParameters") or {}).get("id", "")
    if not re.fullmatch(names.UUID4, job_id):
        raise Problem(404, "not_found", "You have no such job.")
    outcome, key = queue.run(services.redis, queue.cancel(job_id, sub))
    headers = {"X-Request-Id": job_id}
    if outcome == "running":
        return respond(event, 202, {"status": "cancelling", "id": job_id}, headers)
    s3 = replies.client()
    if outcome == "cancelled":
        status = replies.write_final(s3, services.settings.bucket, key, job_id, "cancelled", "user", "router")
        queue.run(services.redis, queue.settle([job_id]))
        return respond(event, 200, {"status": status, "id": job_id}, headers)
    found = replies.read(s3, services.settings.bucket, names.reply_key(sub, job_id))
    if found is None:
        raise Problem(404, "not_found", "You have no such job.")
    return respond(event, 200, {"status": found[0]["status"], "id": job_id}, headers)


def stop(services: Services, event: Event, sub: str) -> Response:
    """Cancels every unfinished job, answers each, then stops the stack's nodes."""
    jobs = queue.run(services.redis, queue.stop())
    bucket, s3 = services.settings.bucket, replies.client()

    def end(job: queue.Stopped) -> None:
        replies.write_final(s3, bucket, job.reply_key, job.id, "cancelled", "stopped", "router")
        call = queue.finish(job.entry, job.id) if job.entry else queue.settle([job.id])
        queue.run(services.redis, call)

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(end, jobs))
    stopped = nodes.stop(nodes.client(), services.settings.stack)
    log("stop", sub=sub, jobs=len(jobs), nodes=stopped)
    return respond(event, 202, {"status": "stopping", "jobs": len(jobs), "nodes": len(stopped)}, {})


def status(services: Services, event: Event, sub: str) -> Response:
    """Everything the console shows, from one read of the queue."""
    settings = services.settings
    now = queue.run(services.redis, queue.status())
    spend = (now.money or {}).get("spend_eur")
    left = None if spend is None else max(0.0, settings.cap_eur - spend) / settings.gpu_eur_per_hour
    body = {
        "node": _phase(now),
        "nodes": now.nodes,
        "queue_depth": now.depth,
        "estimate": _estimate_s(now.estimate_ms),
        "spend_eur": spend,
        "cap_eur": settings.cap_eur,
        "gpu_hours_left": None if left is None else round(left, 2),
        "latch": now.latch,
    }
    return respond(event, 200, body, {})


def _phase(now: queue.Status) -> str:
    """The phase furthest along among the nodes; 'starting' between the wake and the first heartbeat, else 'off'."""
    phases = {node["phase"] for node in now.nodes}
    for phase in ("ready", "loading", "booting"):
        if phase in phases:
            return phase
    if now.waking:
        return "starting"
    return "draining" if phases else "off"
