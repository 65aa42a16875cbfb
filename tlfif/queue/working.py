"""The worker's side of the queue: claims jobs, keeps leases, and says that its node is there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlfif import names
from tlfif.queue.scripts import Call, pairs

ABANDONED_MS = names.LEASE_IDLE_S * 1000


@dataclass(frozen=True)
class ClaimedJob:
    """A job as its worker sees it.

    `values` is None when it expired before anybody claimed it; `cancelled`: '' or why.
    `deliveries` counts this one: above `names.MAX_DELIVERIES` it has failed as often as it may.
    """

    @property
    def crashes(self) -> int:
        """How often an engine failed that had it."""
        return int((self.values or {}).get("crashes") or 0)

    entry: str
    id: str
    reply_key: str
    deliveries: int
    cancelled: str
    values: dict[str, str] | None


def create_group() -> Call[str]:
    """Creates the consumer group if it is not there: at a worker's start, or when it was lost."""
    return Call("working/create_group", [], [], str)


def claim(
    consumer: str, entries: Sequence[str], abandoned: int, *, abandoned_ms: int = ABANDONED_MS
) -> Call[list[ClaimedJob]]:
    """Claims `entries`, read by XREADGROUP just now, and up to `abandoned` jobs of other workers.

    Those are abandoned that nobody renewed for `abandoned_ms`.
    """
    args = [consumer, abandoned_ms, abandoned, names.JOB_TTL_S, *entries]
    return Call("working/claim", [], args, _claimed)


def _claimed(answer: list[Any]) -> list[ClaimedJob]:
    return [_claimed_job(*each) for each in answer]


def _claimed_job(
    entry: str, job_id: str, reply_key: str, deliveries: int, cancelled: str, values: list[str]
) -> ClaimedJob:
    return ClaimedJob(entry, job_id, reply_key, deliveries, cancelled, pairs(values) or None)


def renew(consumer: str, leases: Sequence[tuple[str, str]]) -> Call[list[str]]:
    """Renews (entry, id) leases.

    Per lease: 'held', 'lost' to another worker, 'gone' from the queue, or why the job was cancelled
    ('user', 'stopped').
    """
    flat = [part for lease in leases for part in lease]
    return Call("working/renew", [], [consumer, names.JOB_TTL_S, *flat], list[str])


def finish(entry: str, job_id: str, *, status: str = "done", buried: str = "") -> Call[int]:
    """Removes a job whose final reply is written, with this status; 1 if it was there.

    `buried`, if given, is why its id goes to the dead-letter stream as well.
    """
    return Call("working/finish", [], [entry, job_id, buried, names.DEAD_BOUND, status], int)


def hand_back(
    consumer: str,
    entry: str,
    job_id: str,
    *,
    silent_ms: int = ABANDONED_MS,
    counted: bool = False,
    crashed: bool = False,
    unless_alone: bool = False,
) -> Call[str]:
    """Returns an unfinished job to the queue, as if its worker had been silent for `silent_ms`.

    `counted`: as a failed delivery. `crashed`: noted as there when an engine failed.
    `unless_alone`: only if another node is ready for it.
    'handed back', 'kept', 'lost' to another worker, or 'gone' from the queue.
    """
    wishes = [int(counted), int(crashed), int(unless_alone)]
    args = [consumer, entry, job_id, names.JOB_TTL_S, silent_ms, *wishes]
    return Call("working/hand_back", [], args, str)


def heartbeat(
    instance: str,
    boot: str,
    phase: str,
    in_flight: int,
    timings: dict[str, float],
    boot_ms: int | None = None,
) -> Call[str]:
    """Says that the node is there; the answer is the phase in force.

    `timings` in epoch ms by phase and step, from `started` on; `boot_ms` once, when it became
    ready.
    """
    beat = {
        "instance": instance,
        "boot": boot,
        "phase": phase,
        "in_flight": in_flight,
        "timings": json.dumps(timings),
        "ttl_s": names.HEARTBEAT_TTL_S,
        "boots_bound": names.BOOTS_BOUND,
        "watched_s": names.WATCHED_TTL_S,
    }
    if boot_ms is not None:
        beat["boot_ms"] = boot_ms
    return Call("working/heartbeat", [], [json.dumps(beat)], str)


def drain(instance: str, boot: str) -> Call[str]:
    """Asks to go: 'draining' when the node may stop itself; otherwise why not."""
    return Call("working/drain", [], [instance, boot, names.HEARTBEAT_TTL_S], str)


def give_up(instance: str, boot: str, code: str, message: str) -> Call[str]:
    """Says that the node goes though work may wait, and why: GET /status shows it, and jobs that
    expire meanwhile end with it.
    """
    args = [instance, boot, names.HEARTBEAT_TTL_S, code, message, names.GAVE_UP_TTL_S]
    return Call("working/give_up", [], args, str)


def leave(instance: str, boot: str, consumer: str) -> Call[str]:
    """Removes the node's heartbeat and its consumer, if nothing is pending for it."""
    return Call("working/leave", [], [instance, boot, consumer], str)


def consumer_name(instance: str, boot: str) -> str:
    """The consumer's name: the instance first, because drain reads the owner out of it."""
    return f"{instance}:{boot}"
