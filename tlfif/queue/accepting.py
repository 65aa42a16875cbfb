"""The router's side of the queue: accepts, withdraws and cancels jobs, and shows what there is."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tlfif import names
from tlfif.queue.conversation import Message, dump, reading, size, transcript
from tlfif.queue.lane import Lane, policy
from tlfif.queue.scripts import Call, pairs


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What the router asks the queue to accept.

    Either a `prompt` or `messages`, a conversation. `options` are the model's sampling options;
    `deadline_ms` (epoch) is when the caller gives up. `asked_idle_minutes` is what the request
    says of them, None where `idle_minutes` are the stack's.
    """

    id: str
    sub: str
    prompt: str = ""
    messages: Sequence[Message] = ()
    idle_minutes: int
    asked_idle_minutes: int | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    idempotency_key: str = ""
    deadline_ms: int = 2**53

    @property
    def reply_key(self) -> str:
        """Where its reply will be in S3."""
        return names.reply_key(self.sub, self.id)

    @property
    def prompt_bytes(self) -> int:
        """How long the contents are, in UTF-8."""
        return size(self.messages) if self.messages else len(self.prompt.encode())

    def keys(self) -> tuple[str, str, str]:
        """The job's, the rate limit's and the idempotency key in Redis ('' = none asked for)."""
        digest = hashlib.sha256(self.idempotency_key.encode()).hexdigest()
        idempotency = names.idempotency_key(self.sub, digest) if self.idempotency_key else ""
        return names.job_key(self.id), names.rate_key(self.sub), idempotency

    def fingerprint(self) -> str:
        """Equal for equal requests, and for no others.

        The same Idempotency-Key with another body is a mistake of the caller's; with another
        default of the stack's it is none.
        """
        asked = list(self.messages) or self.prompt
        body = json.dumps([asked, self.asked_idle_minutes, self.options], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()


@dataclass(frozen=True)
class Limits:
    """The bounds that accept enforces; the defaults are the stories' (API-003, RED-003)."""

    backlog_cap: int = names.BACKLOG_PER_NODE
    node_count: int = 1
    slots: int = 32
    burst: int = names.BURST_PER_SECOND
    sustained: int = names.SUSTAINED_PER_MINUTE
    ttl_s: int = names.JOB_TTL_S
    lane: Lane | None = None


@dataclass(frozen=True)
class Accepted:
    """The job is in the queue until `expires_at`, in epoch ms.

    `wake` = how many nodes this caller must start now; `phases` by instance id, of the nodes there
    are, for a caller who must start some. `call`: this caller must call the instant lane.
    """

    state: str
    wake: int
    expires_at: int
    estimate_ms: int | None
    id: str
    phases: dict[str, str] = field(default_factory=dict[str, str])
    call: bool = False


@dataclass(frozen=True)
class Refused:
    """The job left nothing behind.

    `why`: limited, latched, full, late, conflict; unserved: nodes are never woken, and the lane is
    broken; or closed, broken: no node is started for want of money, or because the last boots all
    failed, and nobody else is there to answer. `wait_ms` where waiting helps.
    """

    why: str
    wait_ms: int = 0
    detail: str = ""


def accept(job: NewJob, limits: Limits) -> Call[Accepted | Refused]:
    """Accepts a job, all or nothing.

    Latch, rate limit, backlog cap, hash with TTL, stream entry and the right to wake a node.
    """
    new = {
        "id": job.id,
        "sub": job.sub,
        **_asked(job),
        "idle_minutes": job.idle_minutes,
        "reply_key": job.reply_key,
        "options": json.dumps(job.options),
        "deadline_ms": job.deadline_ms,
        "fingerprint": job.fingerprint(),
        "wake_ttl_s": names.WAKE_TTL_S,
        **vars(limits),
        **policy(limits.lane),
    }
    return Call(
        "accepting/accept", job.keys(), [json.dumps(new)], lambda answer: _accepted(job.id, answer)
    )


def _asked(job: NewJob) -> dict[str, Any]:
    """What is to be answered; of a conversation, also how much of it there is to read."""
    if not job.messages:
        return {"prompt": job.prompt}
    return {
        "prompt": transcript(job.messages),
        "messages": dump(job.messages),
        "bytes": reading(job.messages),
    }


def _accepted(job_id: str, answer: list[Any]) -> Accepted | Refused:
    match answer:
        case ["accepted", state, wake, expires, estimate, phases, call]:
            known = pairs(phases)
            return Accepted(state, wake, expires, _ms(estimate), job_id, known, bool(call))
        case ["repeated", first, state, expires, estimate]:
            return Accepted(state, 0, expires, _ms(estimate), first)
        case ["limited", wait_ms]:
            return Refused("limited", wait_ms)
        case ["unserved" | "broken" as why, message, wait_ms]:
            return Refused(why, wait_ms, message)
        case [why, *detail]:
            return Refused(why, detail=str(detail[0]) if detail else "")
        case _:
            raise ValueError(f"accept answered {answer!r}")


def _ms(text: str) -> int | None:
    return int(text) if text else None


def withdraw(job: NewJob, *, laned: bool = True) -> Call[str]:
    """Takes an accepted job back; `laned`: unless the instant lane is there for it, or called.

    'withdrawn', 'kept' (it will be answered) or 'gone' (it has been).
    """
    keys = [*job.keys(), names.withdrawn_key(job.id)]
    args = [job.id, names.WITHDRAWN_TTL_S, int(laned)]
    return Call("accepting/withdraw", keys, args, str)


def woken(
    token: str,
    started: Sequence[str] = (),
    *,
    kept: bool = False,
    failure: tuple[str, str] | None = None,
    empty_zones: Sequence[str] = (),
) -> Call[str]:
    """Notes what came of a wake: the nodes that EC2 promised to start, or why it did not.

    The right to wake is given back unless it is `kept`; `failure` is EC2's code and a message.
    """
    code, message = failure or ("", "")
    bounds = [names.JOB_TTL_S, names.START_FAILURE_TTL_S]
    told = [token, int(kept), code, message, *bounds, len(empty_zones)]
    return Call("accepting/woken", [], [*told, *empty_zones, *started], str)


def empty_zones() -> Call[list[str]]:
    """Reads which availability zones had no machine for a node a moment ago."""
    return Call("accepting/empty_zones", [], [], list[str])


def cancel(job_id: str, sub: str, *, runs: bool = False) -> Call[tuple[str, str]]:
    """Cancels a job of this user's.

    ('unknown', ''), ('running', reply key): its worker is told, or ('cancelled', reply key): its
    reply is pending. A job that `runs`, by its reply below this user's `sub`, is never unknown.
    """
    args = [job_id, sub, names.CANCELLED_TTL_S, int(runs), names.LET_GO_S * 1000]
    return Call("accepting/cancel", [], args, _cancelled)


def _cancelled(answer: list[str]) -> tuple[str, str]:
    return answer[0], answer[1] if len(answer) > 1 else ""


@dataclass(frozen=True)
class Stopped:
    """A job that /stop cancelled; `entry` is its stream entry when a worker has it, else ''."""

    id: str
    reply_key: str
    entry: str


def stop() -> Call[list[Stopped]]:
    """Cancels everything unfinished; nodes become draining."""
    return Call("accepting/stop", [], [names.CANCELLED_TTL_S], _stopped)


def _stopped(answer: list[list[str]]) -> list[Stopped]:
    return [Stopped(*job) for job in answer]


def sample(version: int, payload: dict[str, Any]) -> Call[bool]:
    """Keeps a redacted payload for a day after router version `version` came.

    Whether more are wanted.
    """
    args = [version, json.dumps(payload), names.SAMPLING_S * 1000, names.SAMPLES_BOUND]
    return Call("accepting/sample", [], args, bool)


def collect_samples() -> Call[list[dict[str, Any]]]:
    """Returns the payloads kept since the last call, oldest first, and forgets them."""
    return Call("accepting/collect_samples", [], [], _samples)


def _samples(answer: list[str]) -> list[dict[str, Any]]:
    return [json.loads(each) for each in answer]


@dataclass(frozen=True)
class Status:
    """What the console shows.

    `nodes`: dicts of id, phase, in_flight, timings; `latch` and `money`: dicts or None;
    `failure`: code, message and time of the last start that came to nothing, until one succeeds.
    `lane`: the instant lane's phase ('' while it does not run), in_flight, estimate_ms (or None),
    failure (as above, or None), and use_s, for how many seconds it ran, by month.
    `last_boot`: in epoch ms, when the latest boot's steps were reached, from `started` to `ready`.
    `broken`: since when no node is started because so many boots `failed` in a row, until when one
    may try (epoch ms), and why; `guard`: what the guardian last did, when and why; or None.
    """

    nodes: list[dict[str, Any]]
    depth: int
    estimate_ms: int | None
    waking: bool
    latch: dict[str, Any] | None
    money: dict[str, Any] | None
    failure: dict[str, Any] | None
    lane: dict[str, Any]
    last_boot: dict[str, float] | None
    broken: dict[str, Any] | None = None
    guard: dict[str, Any] | None = None


def status() -> Call[Status]:
    """Reads everything `GET /status` needs at once."""
    return Call("accepting/status", [], [], _status)


def _status(answer: list[Any]) -> Status:
    nodes, depth, estimate, waking, latch, money, failure, lane, use, boot, *guards = answer
    breaker, guard = guards
    known = [{**node, "timings": json.loads(node["timings"])} for node in json.loads(nodes)]
    return Status(
        nodes=known,
        depth=depth,
        estimate_ms=_ms(estimate),
        waking=bool(waking),
        latch=_document(latch),
        money=_document(money),
        failure=_document(failure),
        lane=_lane(json.loads(lane), use),
        last_boot=_document(boot),
        broken=_broken(pairs(breaker)),
        guard=_document(guard),
    )


def _broken(told: dict[str, str]) -> dict[str, Any] | None:
    if "until" not in told:
        return None
    numbers = {name: int(told[name]) for name in ("failed", "since", "until")}
    return {**numbers, "why": told["why"], "node": told["node"]}


def _lane(told: dict[str, Any], use: list[str]) -> dict[str, Any]:
    used = {month: float(seconds) for month, seconds in pairs(use).items() if month != "last"}
    return {
        "phase": told["phase"],
        "in_flight": told["in_flight"],
        "estimate_ms": _ms(told["estimate"]),
        "failure": told.get("failure"),
        "use_s": used,
    }


def _document(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text else None
