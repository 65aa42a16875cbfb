"""The job queue's contract: every write is one Lua script, described here once for the sync and the
async client.

Each operation is a `Call`; `run(client, call)` and `await arun(client, call)` send it and parse the
answer. The clients are redis-py's, with `decode_responses=True`; they raise `redis.RedisError` when
the server is gone, hung or refuses.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.retry import Retry

from tlfif import names

T = TypeVar("T")
LUA = Path(__file__).parent / "lua"
TIMEOUT_S = 0.8


@dataclass(frozen=True)
class Call(Generic[T]):
    """One script call: its name in `lua/`, keys, arguments, and how to read the answer."""

    script: str
    keys: Sequence[str]
    args: Sequence[str | int | float]
    parse: Callable[[Any], T]


@cache
def source(script: str) -> tuple[str, str]:
    """The text of a script with the shared prelude, and its SHA-1 as the server names it."""
    text = (LUA / "common.lua").read_text() + (LUA / f"{script}.lua").read_text()
    return text, hashlib.sha1(text.encode()).hexdigest()


def connect(host: str, port: int, timeout_s: float = TIMEOUT_S) -> "redis.Redis":
    """A sync client that answers or fails within twice `timeout_s`.

    redis-py would retry ten times by default. One retry is right here: a Lambda that was frozen
    finds its connection dead, and every script is safe to send twice. A time-out is not retried:
    the caller is waiting. Nor does it greet the server: three round trips before the first command
    would use up a slow server's time.
    """
    return redis.Redis(
        host=host,
        port=port,
        decode_responses=True,
        protocol=2,
        driver_info=None,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


def run(client: "redis.Redis", call: Call[T]) -> T:
    """Sends the call; a server that does not know the script yet is given it."""
    text, sha = source(call.script)
    try:
        try:
            answer = client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = client.eval(text, len(call.keys), *call.keys, *call.args)
    except ReadOnlyError:
        # After a failover this connection leads to what is a replica now; the next one asks DNS
        # again.
        client.connection_pool.disconnect()
        raise
    return call.parse(answer)


async def arun(client: Any, call: Call[T]) -> T:
    """`run` for `redis.asyncio` clients."""
    text, sha = source(call.script)
    try:
        try:
            answer = await client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = await client.eval(text, len(call.keys), *call.keys, *call.args)
    except ReadOnlyError:
        await client.connection_pool.disconnect()
        raise
    return call.parse(answer)


# --- the router's side ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What the router asks the queue to accept.

    `options` are the model's sampling options as a dict.
    """

    id: str
    sub: str
    prompt: str
    idle_minutes: int
    options: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
    deadline_ms: int = 2**53

    @property
    def reply_key(self) -> str:
        return names.reply_key(self.sub, self.id)

    def keys(self) -> tuple[str, str, str]:
        """The job's, the rate limit's and the idempotency key in Redis ('' = none asked for)."""
        digest = hashlib.sha256(self.idempotency_key.encode()).hexdigest()
        idempotency = f"idem:{self.sub}:{digest}" if self.idempotency_key else ""
        return f"job:{self.id}", f"rate:{self.sub}", idempotency

    def fingerprint(self) -> str:
        """Equal for equal requests: the same Idempotency-Key with another body is a mistake of the
        caller's.
        """
        body = json.dumps([self.prompt, self.idle_minutes, self.options], sort_keys=True)
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


@dataclass(frozen=True)
class Accepted:
    """The job is in the queue.

    Times in epoch ms; `wake` = how many nodes this caller must start now.

    `phases` by instance id, of the nodes there are, for a caller who must start some.
    """

    state: str
    wake: int
    created_at: int
    expires_at: int
    estimate_ms: int | None
    id: str = ""
    phases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """The job left nothing behind.

    `why`: limited, latched, full, late or conflict; `wait_ms` where waiting helps.
    """

    why: str
    wait_ms: int = 0
    detail: str = ""


def accept(job: NewJob, limits: Limits) -> Call[Accepted | Refused]:
    """Latch, rate limit, backlog cap, job with TTL, stream entry and the right to wake a node: all
    or nothing.
    """
    args = [
        job.id, job.sub, job.prompt, job.idle_minutes, job.reply_key, json.dumps(job.options),
        limits.ttl_s, names.WAKE_TTL_S, limits.burst, limits.sustained, limits.backlog_cap,
        limits.node_count, limits.slots, job.deadline_ms, job.fingerprint(),
    ]  # fmt: skip
    return Call("accept", job.keys(), args, lambda answer: _accepted(job.id, answer))


def _accepted(job_id: str, answer: list[Any]) -> Accepted | Refused:
    match answer:
        case ["accepted", state, wake, created, expires, estimate, phases]:
            known = _pairs(phases)
            return Accepted(
                state, wake, created, expires, int(estimate) if estimate else None, job_id, known
            )
        case ["repeated", first, state, created, expires, estimate]:
            return Accepted(state, 0, created, expires, int(estimate) if estimate else None, first)
        case ["limited", wait_ms]:
            return Refused("limited", wait_ms)
        case [why, *detail]:
            return Refused(why, detail=str(detail[0]) if detail else "")
    raise ValueError(f"accept answered {answer!r}")


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def withdraw(job: NewJob) -> Call[str]:
    """Takes an accepted job back: 'withdrawn', 'kept' (it will be answered) or 'gone' (it has
    been).
    """
    return Call(
        "withdraw", [*job.keys(), f"withdrawn:{job.id}"], [job.id, names.WITHDRAWN_TTL_S], str
    )


def release_wake(token: str) -> Call[int]:
    """Gives the right to wake back after a start that failed."""
    return Call("release_wake", [], [token], int)


def cancel(job_id: str, sub: str) -> Call[tuple[str, str]]:
    """('unknown', ''), ('running', reply key): its worker is told, or ('cancelled', reply key): its
    reply is owed.
    """
    keys = [f"job:{job_id}", f"cancelled:{job_id}"]
    return Call(
        "cancel",
        keys,
        [job_id, sub, names.CANCELLED_TTL_S],
        lambda a: (a[0], a[1] if len(a) > 1 else ""),
    )


@dataclass(frozen=True)
class Stopped:
    """A job that /stop cancelled; `entry` is its stream entry when a worker has it, else ''."""

    id: str
    reply_key: str
    entry: str


def stop() -> Call[list[Stopped]]:
    """Cancels everything unfinished; nodes become draining."""
    return Call("stop", [], [names.CANCELLED_TTL_S], lambda jobs: [Stopped(*job) for job in jobs])


def settle(job_ids: Sequence[str]) -> Call[int]:
    """Forgets owed replies that have been written."""
    return Call("settle", [], list(job_ids), int)


def sample(version: int, payload: dict[str, Any]) -> Call[bool]:
    """Keeps a redacted payload for a day after router version `version` came; whether more are
    wanted.
    """
    args = [version, json.dumps(payload), names.SAMPLING_S * 1000, names.SAMPLES_BOUND]
    return Call("sample", [], args, bool)


def take_samples() -> Call[list[dict[str, Any]]]:
    """The payloads kept since the last call, oldest first; they are forgotten."""
    return Call("take_samples", [], [], lambda answer: [json.loads(each) for each in answer])


@dataclass(frozen=True)
class Status:
    """What the console shows.

    `nodes`: dicts of id, phase, in_flight, timings; `latch` and `money`: dicts or None.
    """

    nodes: list[dict[str, Any]]
    depth: int
    estimate_ms: int | None
    waking: bool
    latch: dict[str, Any] | None
    money: dict[str, Any] | None


def status() -> Call[Status]:
    """One read of everything `GET /status` needs."""
    return Call("status", [], [], _status)


def _status(answer: list[Any]) -> Status:
    nodes, depth, estimate, waking, latch, money = answer
    known = [{**node, "timings": json.loads(node["timings"])} for node in json.loads(nodes)]
    return Status(
        known, depth, int(estimate) if estimate else None, bool(waking),
        json.loads(latch) if latch else None, json.loads(money) if money else None,
    )  # fmt: skip


# --- the guardian's side --------------------------------------------------------------------------


@dataclass(frozen=True)
class Owed:
    """A final reply that no worker will write; `status` and `reason` are what it will say."""

    id: str
    reply_key: str
    status: str
    reason: str


Page = tuple[str, list[Owed]]


def sweep(
    cursor: str = "", count: int = 500, *, ttl_s: int = names.JOB_TTL_S, lost_s: int = names.LOST_S
) -> Call[Page]:
    """Removes expired jobs from the stream, `count` a call: the next cursor ('' at the end), and
    what is owed.
    """
    return Call("sweep", [], [cursor, count, ttl_s * 1000, lost_s * 1000], _page)


def owed(cursor: str = "", count: int = 500, *, older_than_s: float) -> Call[Page]:
    """Replies owed for longer than that: the next cursor ('' at the end), and the replies."""
    return Call("owed", [], [cursor, int(older_than_s * 1000), count], _page)


def _page(answer: list[Any]) -> Page:
    return answer[0], [Owed(*each) for each in answer[1]]


@dataclass(frozen=True)
class Rescue:
    """What to do about the nodes: how many to start, whether all are to be stopped; `depth` in
    stream entries.

    `phases` by instance id, of the nodes there are, when some must be started.
    """

    wake: int
    stop: bool
    depth: int
    phases: dict[str, str] = field(default_factory=dict)


def rescue(token: str, node_count: int, slots: int) -> Call[Rescue]:
    """Takes the right to wake, as accept does, when live jobs need more nodes than are up or
    coming.
    """
    args = [token, names.WAKE_TTL_S, node_count, slots]
    return Call(
        "rescue",
        [],
        args,
        lambda answer: Rescue(answer[0], bool(answer[1]), answer[2], _pairs(answer[3])),
    )


# --- the worker's side ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A job as its worker sees it.

    `job` is None when it expired before anybody took it; `cancelled`: '' or why.
    """

    entry: str
    id: str
    reply_key: str
    deliveries: int
    cancelled: str
    job: dict[str, str] | None


def create_group() -> Call[str]:
    """Creates the consumer group if it is not there; workers call it at start and when it was lost."""
    return Call("create_group", [], [], str)


def take(
    consumer: str,
    entries: Sequence[str],
    claim: int,
    *,
    abandoned_ms: int = names.LEASE_IDLE_S * 1000,
) -> Call[list[Item]]:
    """The jobs of `entries` (read by XREADGROUP just now) and up to `claim` that other workers
    abandoned.

    `deliveries` counts this one: above `names.MAX_DELIVERIES` the job has failed as often as it
    may.
    """
    args = [consumer, abandoned_ms, claim, names.JOB_TTL_S, *entries]
    return Call("take", [], args, lambda items: [_item(*item) for item in items])


def _item(
    entry: str, job_id: str, reply_key: str, deliveries: int, cancelled: str, flat: list[str]
) -> Item:
    return Item(entry, job_id, reply_key, deliveries, cancelled, _pairs(flat) or None)


def renew(consumer: str, leases: Sequence[tuple[str, str]]) -> Call[list[str]]:
    """Renews (entry, id) leases.

    Per lease: 'held', 'lost', or why the job was cancelled ('user', 'stopped').
    """
    flat = [part for lease in leases for part in lease]
    return Call("renew", [], [consumer, names.JOB_TTL_S, *flat], list)


def finish(entry: str, job_id: str, *, buried: str = "") -> Call[int]:
    """XACK + XDEL + DEL after the final reply is written; `buried` puts the id on the dead-letter
    stream as well.
    """
    return Call("finish", [], [entry, job_id, buried, names.DEAD_BOUND], int)


def hand_back(
    consumer: str, entry: str, *, abandoned_ms: int = names.LEASE_IDLE_S * 1000
) -> Call[str]:
    """Returns an unfinished job to the queue without counting the delivery: 'handed back' or
    'lost'.
    """
    return Call("hand_back", [], [consumer, entry, abandoned_ms], str)


def heartbeat(
    instance: str,
    boot: str,
    phase: str,
    in_flight: int,
    timings: dict[str, float],
    boot_ms: int | None = None,
) -> Call[str]:
    """Says that the node is there; `boot_ms` once, when it became ready.

    Answers the phase in force.
    """
    duration = "" if boot_ms is None else boot_ms
    args = [
        instance,
        boot,
        phase,
        in_flight,
        names.HEARTBEAT_TTL_S,
        json.dumps(timings),
        duration,
        names.BOOTS_BOUND,
    ]
    return Call("heartbeat", [f"node:{instance}"], args, str)


def drain(instance: str, boot: str) -> Call[str]:
    """'draining' when the node may stop itself; otherwise why not."""
    return Call("drain", [f"node:{instance}"], [instance, boot, names.HEARTBEAT_TTL_S], str)


def leave(instance: str, boot: str, consumer: str) -> Call[str]:
    """Removes the node's heartbeat and its consumer, if nothing is pending for it."""
    return Call("leave", [f"node:{instance}"], [instance, boot, consumer], str)


def consumer_name(instance: str, boot: str) -> str:
    """The consumer's name: the instance first, because drain reads the owner out of it."""
    return f"{instance}:{boot}"
