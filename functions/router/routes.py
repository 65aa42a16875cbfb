"""Answers the router's four routes; each gets the verified caller's `sub`."""

import json
import math
import re
import time
import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import redis

from router.body import parse
from router.samples import Sampler
from tlfif import aws, emf, names, nodes, replies, tokens, waking
from tlfif.calling import Caller
from tlfif.environment import Router
from tlfif.log import log
from tlfif.money import months
from tlfif.proxy import Event, Problem, Response, header, respond
from tlfif.queue import accepting, guarding, lane, scripts, working

# A job that the queue gets later than this finds its caller gone: we wait for the answer 100 ms
# longer, then say 503.
DEADLINE_MS = int(scripts.TIMEOUT_S * 1000) - 100
# What /stop has not answered by then, the guardian does.
STOP_WRITES_S = 4.0
# Of the month's money: what is closed, why, and what the month will have cost.
MONEY_SHOWN = ("degree", "why", "projected_eur")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True)
class Services:
    """What the routes work with; boto3's clients are made when they are first needed."""

    settings: Router
    redis: "redis.Redis"
    verifier: tokens.Verifier
    sampler: Sampler = field(default_factory=Sampler)
    clock: scripts.Clock = field(default_factory=scripts.Clock)

    @cached_property
    def limits(self) -> accepting.Limits:
        told, policy = self.settings, self.caller.policy
        return accepting.Limits(told.backlog_cap, told.gpu_count, told.gpu_slots, lane=policy)

    @cached_property
    def caller(self) -> Caller:
        return Caller(self.redis, self.settings, self.settings.ec2_timeout_s)

    @cached_property
    def ec2(self) -> Any:
        return nodes.client(self.settings.ec2_timeout_s)

    @cached_property
    def s3(self) -> Any:
        return replies.client()


def infer(services: Services, event: Event, sub: str) -> Response:
    """Accepts a job (LAM-003 … LAM-005): 202 queued, or 202 starting when a node is being woken.

    The instant lane is called first: it is there before EC2 has answered.
    """
    settings = services.settings
    request = parse(event)
    job = accepting.NewJob(
        id=str(uuid.uuid4()),
        sub=sub,
        prompt=request.prompt or "",
        messages=request.conversation(),
        idle_minutes=request.idle_minutes or settings.idle_minutes,
        asked_idle_minutes=request.idle_minutes,
        options=request.options(),
        idempotency_key=_idempotency_key(event),
    )
    answer = _accept(services, job)
    if isinstance(answer, accepting.Refused):
        raise _refusal(services, job, answer)
    if answer.call:
        services.caller.call(job.id)
    if answer.wake:
        _wake(services, job, answer)
    else:
        services.sampler.see(services.redis, job, answer.state)
    return _accepted(event, answer)


def _accept(services: Services, job: accepting.NewJob) -> accepting.Accepted | accepting.Refused:
    """Asks the queue, which must not accept what its caller has given up.

    The deadline is told in the queue's time. Whose clock is wrong when it calls a question late
    that is not, nobody can tell; the queue is asked what its own says, and then once more.
    """
    clock, given_up_at = services.clock, time.monotonic() + DEADLINE_MS / 1000
    timely = replace(job, deadline_ms=clock.now_ms() + DEADLINE_MS)
    answer = scripts.run(services.redis, accepting.accept(timely, services.limits))
    late = isinstance(answer, accepting.Refused) and answer.why == "late"
    if not late or time.monotonic() >= given_up_at:
        return answer
    ahead_ms = clock.ask(services.redis)
    log("clocks differ: the queue's is ahead of the router's", "ERROR", aheadMs=ahead_ms)
    timely = replace(job, deadline_ms=clock.now_ms() + DEADLINE_MS)
    return scripts.run(services.redis, accepting.accept(timely, services.limits))


def _idempotency_key(event: Event) -> str:
    key = header(event, "idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        message = "Idempotency-Key must be 1 to 128 printable ASCII characters; send a UUID"
        raise Problem(400, "invalid_request", message, field="Idempotency-Key", value=key[:80])
    return key or ""


def _accepted(event: Event, answer: accepting.Accepted) -> Response:
    body: dict[str, object] = {"status": answer.state}
    if answer.state == "starting":
        body["eta"] = names.BOOT_ETA_S
        body["estimate"] = _estimate_s(answer.estimate_ms)
    body |= {"id": answer.id, "expires_at": answer.expires_at}
    headers = {"X-Request-Id": answer.id, "Location": _location(event, answer.id)}
    return respond(event, 202, body, headers)


def _location(event: Event, job_id: str) -> str:
    """Where the reply will be, relative to the URI of the request (RFC 9110, 10.2.2).

    What stands before /infer (a stage, a base path, whatever a proxy adds) the caller knows, and
    nobody else does.
    """
    return job_id if str(event.get("path")).endswith("/") else f"infer/{job_id}"


def _estimate_s(boot_ms: int | None) -> float:
    """The p90 of measured boots in s; the story's figure until one was measured."""
    return float(names.BOOT_ETA_S) if boot_ms is None else round(boot_ms / 1000, 1)


def _refusal(services: Services, job: accepting.NewJob, refused: accepting.Refused) -> Problem:
    limits = services.limits
    match refused.why:
        case "limited":
            stack = services.settings.stack
            emf.emit(names.NAMESPACE_ROUTER, stack, {names.METRIC_RATE_LIMIT_BREACHES: 1})
            often = f"{limits.burst} requests a second and {limits.sustained} a minute"
            message = f"At most {often}."
            wait_s = math.ceil(refused.wait_ms / 1000)
            return Problem(429, "rate_limited", message, retry_after_s=wait_s)
        case "latched" | "closed":
            return latched(refused.detail)
        case "broken":
            return _broken(refused)
        case "full":
            message = f"{refused.detail} jobs are waiting already; try again when some are done."
            return Problem(503, "backlog_full", message, retry_after_s=30)
        case "unserved":
            message = f"This stack has no nodes, and its instant lane fails: {refused.detail}"
            wait_s = math.ceil(refused.wait_ms / 1000)
            return Problem(503, "lane_unavailable", message, retry_after_s=wait_s)
        case "conflict":
            message = "Idempotency-Key was used for another request; send a new key with a new body"
            key = job.idempotency_key[:80]
            return Problem(400, "invalid_request", message, field="Idempotency-Key", value=key)
        case _:
            message = "The job queue answered too late; try again."
            return Problem(503, "queue_unavailable", message, retry_after_s=2)


def latched(detail: str) -> Problem:
    """402: the budget is spent, or as good as; `detail` says why and until when, as JSON text. A
    latch that only the nodes' tag shows lasts until the month ends, like any other.
    """
    told: dict[str, Any] = json.loads(detail or "{}")
    until = str(told.get("until") or months.iso(months.end(time.time())))
    message = f"The monthly budget is spent; no GPU is started before {until}."
    reason = {"reason": told["reason"]} if told.get("reason") else {}
    return Problem(402, "budget_exhausted", message, until=until, **reason)


def _broken(refused: accepting.Refused) -> Problem:
    """503: the last boots of nodes all failed; Retry-After is when one is tried again."""
    told = json.loads(refused.detail)
    since = months.iso(told["since"] / 1000)
    message = f"Nodes have failed to boot since {since}: {told['why']}"
    wait_s = math.ceil(refused.wait_ms / 1000)
    return Problem(503, "nodes_broken", message, retry_after_s=wait_s, since=since)


def _wake(services: Services, job: accepting.NewJob, accepted: accepting.Accepted) -> None:
    """Starts nodes for an accepted job, or withdraws the job when EC2 has none to give and the
    instant lane will not answer it.

    The job is in the queue: should Redis fail before it is withdrawn, it stays accepted and the
    guardian goes on. Should Redis fail while it is, nobody knows whether the job is there: a 503,
    never a 202 for a job that is gone.
    """
    try:
        wanted, phases = accepted.wake, accepted.phases
        outcome, code = waking.start(services.caller, job.id, wanted, phases, services.ec2)
    except redis.RedisError as error:
        log("wake left to the guardian", "ERROR", jobId=job.id, why=str(error))
        return
    problem = _no_node(outcome, code)
    # Where the budget is spent the lane is not to answer either.
    withdraw = accepting.withdraw(job, laned=outcome is not nodes.Outcome.LATCHED)
    if problem and scripts.run(services.redis, withdraw) == "withdrawn":
        raise problem


def _no_node(outcome: nodes.Outcome, code: str) -> Problem | None:
    match outcome:
        case nodes.Outcome.NO_CAPACITY:
            return Problem(503, "no_capacity", nodes.explain(code), retry_after_s=60)
        case nodes.Outcome.ABSENT:
            message = "This stack has no GPU node yet; bake the image, then run pulumi up."
            return Problem(503, "no_node", message, retry_after_s=60)
        case nodes.Outcome.LATCHED:
            return latched("")
    return None


def cancel(services: Services, event: Event, sub: str) -> Response:
    """Cancels one job of the caller's.

    200 when it was queued (or has ended), 202 while its reply is still to come.
    """
    job_id = (event.get("pathParameters") or {}).get("id", "")
    if not re.fullmatch(names.UUID4, job_id):
        raise Problem(404, "not_found", "You have no such job.")
    status = _cancel(services, job_id, sub)
    body = {"status": status, "id": job_id}
    return respond(event, 202 if status == "cancelling" else 200, body, {"X-Request-Id": job_id})


def _cancel(services: Services, job_id: str, sub: str) -> str:
    """A final status, or 'cancelling'.

    A job that the queue lost while it ran is cancelled like any other: who calls owns it, because
    its reply is below their own `sub`.
    """
    outcome, key = scripts.run(services.redis, accepting.cancel(job_id, sub))
    if outcome == "unknown":
        status = _reply_status(services, names.reply_key(sub, job_id))
        if status in replies.FINAL:
            return status
        outcome, key = scripts.run(services.redis, accepting.cancel(job_id, sub, runs=True))
    if outcome == "running":
        return "cancelling"
    reply = guarding.PendingReply(job_id, key, "cancelled", "user")
    return _answer_cancelled(services, reply)


def _answer_cancelled(services: Services, reply: guarding.PendingReply) -> str:
    """Writes a cancelled job's reply; the status that stands.

    'cancelling' when it could not be written: it stays pending until it is.
    """
    try:
        status = replies.write_final(services.s3, services.settings.replies_bucket, reply, "router")
        scripts.run(services.redis, guarding.clear([reply.id]))
    except (aws.Unavailable, redis.RedisError) as error:
        log("reply left to the guardian", "ERROR", jobId=reply.id, why=str(error))
        return "cancelling"
    return status


def _reply_status(services: Services, key: str) -> str:
    """What its reply says of a job that the queue does not know; a 404 Problem without one."""
    try:
        with aws.answering():
            found = replies.read(services.s3, services.settings.replies_bucket, key)
    except aws.Unavailable as error:
        message = f"The reply could not be read ({error}); try again."
        raise Problem(503, "storage_unavailable", message, retry_after_s=2) from error
    if found is None:
        raise Problem(404, "not_found", "You have no such job.")
    return found[0]["status"]


def stop(services: Services, event: Event, sub: str) -> Response:
    """Cancels every unfinished job, stops the stack's nodes, and answers the jobs.

    What remains the guardian does.
    """
    jobs = scripts.run(services.redis, accepting.stop())
    stopped = _stop_nodes(services)
    answered = _answer_stopped(services, jobs)
    log("stop", sub=sub, jobs=len(jobs), answered=answered, nodes=stopped)
    told = {} if stopped is None else {"nodes": len(stopped)}
    return respond(event, 202, {"status": "stopping", "jobs": len(jobs), **told}, {})


def _stop_nodes(services: Services) -> list[str] | None:
    """The nodes that stop now; None when EC2 did not answer."""
    if services.settings.gpu_wake == "never":  # there are none
        return []
    try:
        return nodes.stop(services.ec2, services.settings.stack)
    except aws.Unavailable as error:
        log("stop left to the guardian", "ERROR", why=str(error))
        return None


def _answer_stopped(services: Services, jobs: list[accepting.Stopped]) -> int:
    """Writes the replies of stopped jobs; how many got theirs here.

    A job that a worker has is its worker's, until the reply is written.
    """
    entries = {job.id: job.entry for job in jobs}
    pending = [guarding.PendingReply(job.id, job.reply_key, "cancelled", "stopped") for job in jobs]
    give_up_at = time.monotonic() + STOP_WRITES_S
    bucket = services.settings.replies_bucket
    written, why = replies.write_all(services.s3, bucket, pending, "router", give_up_at)
    if why:
        log("replies left to the guardian", "ERROR", jobs=len(pending) - len(written), why=why)
    for reply in written:
        if entries[reply.id]:
            ended = working.finish(entries[reply.id], reply.id, status=reply.status)
            scripts.run(services.redis, ended)
    if written:
        scripts.run(services.redis, guarding.clear([reply.id for reply in written]))
    return len(written)


def status(services: Services, event: Event, sub: str) -> Response:
    """Everything the console shows, from one read of the queue."""
    settings = services.settings
    now = scripts.run(services.redis, accepting.status())
    money = now.money or {}
    body: dict[str, object] = {
        "node": _phase(now),
        "nodes": now.nodes,
        "queue_depth": now.depth,
        "estimate": _estimate_s(now.estimate_ms),
        "spend_eur": money.get("spend_eur"),
        "cap_eur": settings.cap_eur,
        "gpu_hours_left": money.get("gpu_hours_left"),
        "money": {name: money.get(name) for name in MONEY_SHOWN} if money else None,
        "latch": now.latch,
    }
    if now.broken:
        body["nodes_broken"] = _shown(now.broken, "since", "until")
    if now.guard:
        body["guard"] = _shown(now.guard, "at")
    if now.failure:
        body["start_failure"] = now.failure
    if now.last_boot:
        body["last_boot"] = _steps(now.last_boot)
    if services.caller.policy:
        body["lane"] = _lane(now.lane, settings.lane_eur_per_hour)
    return respond(event, 200, body, {})


def _shown(told: dict[str, Any], *moments: str) -> dict[str, Any]:
    """With its moments, in epoch ms, as people read them."""
    return told | {name: months.iso(told[name] / 1000) for name in moments}


def _steps(reached: dict[str, float]) -> dict[str, float]:
    """Seconds after its start at which a node reached each step of a boot, in order."""
    started = reached.get("started", 0)
    steps = sorted(reached.items(), key=lambda each: each[1])
    return {step: round((at - started) / 1000, 1) for step, at in steps if step != "started"}


def _lane(told: dict[str, Any], eur_per_hour: float) -> dict[str, Any]:
    """The instant lane as the console shows it; seconds and EUR are this month's."""
    used_s: float = told["use_s"].get(lane.month(), 0.0)
    first_ms = told["estimate_ms"]
    shown = {
        "phase": told["phase"] or "off",
        "in_flight": told["in_flight"],
        "estimate": round((names.LANE_FIRST_MS if first_ms is None else first_ms) / 1000, 1),
        "seconds": round(used_s, 1),
        "eur": round(used_s * eur_per_hour / 3600, 6),
    }
    return shown | ({"failure": told["failure"]} if told["failure"] else {})


def _phase(now: accepting.Status) -> str:
    """The phase furthest along among the nodes.

    'starting' between the wake and the first heartbeat, else 'off'.
    """
    phases = {node["phase"] for node in now.nodes}
    for phase in ("ready", "loading", "booting"):
        if phase in phases:
            return phase
    if now.waking:
        return "starting"
    return "draining" if phases else "off"
