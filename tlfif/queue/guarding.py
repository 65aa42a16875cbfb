"""The guardian's side of the queue: ends jobs that nobody will, and says which nodes are wanted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tlfif import names
from tlfif.queue.lane import Lane, policy
from tlfif.queue.scripts import Call, pairs

PAGE_SIZE = 500


@dataclass(frozen=True)
class PendingReply:
    """A final reply that no worker will write; `status` and `reason` are what it will say."""

    id: str
    reply_key: str
    status: str
    reason: str


# The next cursor ('' at the end), and pending replies.
Page = tuple[str, list[PendingReply]]


def sweep(
    cursor: str = "",
    count: int = PAGE_SIZE,
    *,
    ttl_s: int = names.JOB_TTL_S,
    lost_s: int = names.LOST_S,
) -> Call[Page]:
    """Removes expired jobs from the stream, `count` a call; their replies are pending then."""
    return Call("guarding/sweep", [], [cursor, count, ttl_s * 1000, lost_s * 1000], _page)


def pending(cursor: str = "", count: int = PAGE_SIZE, *, older_than_s: float) -> Call[Page]:
    """Reads the replies that have been pending for longer than that, about `count` a call."""
    return Call("guarding/pending", [], [cursor, int(older_than_s * 1000), count], _page)


def _page(answer: list[Any]) -> Page:
    return answer[0], [PendingReply(*each) for each in answer[1]]


def clear(job_ids: Sequence[str]) -> Call[int]:
    """Forgets pending replies that have been written."""
    return Call("guarding/clear", [], list(job_ids), int)


def search() -> Call[str | None]:
    """Asks whether to look for replies of jobs that the queue lost while they ran.

    The key in the bucket to go on after ('' = the beginning); None when it is not time.
    """
    return Call("guarding/search", [], [names.SILENT_S * 1000], _cursor)


def _cursor(answer: list[Any]) -> str | None:
    due, cursor = answer
    return cursor if due else None


def searched(cursor: str, left: int) -> Call[str]:
    """Notes that the search has come to `cursor` ('' = the end), and left so many replies running.

    'OK', or 'lost': so was what the queue knew of the search.
    """
    args = [cursor, left, names.SEARCH_EVERY_S * 1000]
    return Call("guarding/searched", [], args, str)


def known(job_ids: Sequence[str]) -> Call[list[str]]:
    """Whether the queue will bring these jobs to an end: 'known', why it was cancelled, or ''."""
    return Call("guarding/known", [], list(job_ids), list[str])


@dataclass(frozen=True)
class Reconciliation:
    """What to do about the nodes: how many to start, whether all are to be stopped.

    `depth` in stream entries; `phases` by instance id, of the nodes there are, when some must be
    started; `starts` by instance id, for how many ms nodes have been expected. `call`: the instant
    lane is to be called.
    """

    wake: int
    stop: bool
    depth: int
    phases: dict[str, str] = field(default_factory=dict[str, str])
    starts: dict[str, int] = field(default_factory=dict[str, int])
    call: bool = False


def reconcile(
    token: str, node_count: int, slots: int, lane: Lane | None = None, caller: str = ""
) -> Call[Reconciliation]:
    """Claims the right to wake, as accept does, when live jobs need more nodes than there are; and
    the right to call the lane, when some wait that nobody has.

    `token` names the run, `caller` this question: in a second one of the run the right to call the
    lane is no more its own than anybody else's.
    """
    asked = {
        "token": token,
        "caller": caller or token,
        "node_count": node_count,
        "slots": slots,
        "wake_ttl_s": names.WAKE_TTL_S,
        "let_go_ms": names.LET_GO_S * 1000,
        **policy(lane),
    }
    return Call("guarding/reconcile", [], [json.dumps(asked)], _reconciliation)


def _reconciliation(answer: list[Any]) -> Reconciliation:
    wake, stop, depth, phases, starts, call = answer
    ages = {node: int(ms) for node, ms in pairs(starts).items()}
    return Reconciliation(wake, bool(stop), depth, pairs(phases), ages, bool(call))


def fell_back(nodes: Sequence[str], failure: tuple[str, str] | None) -> Call[str]:
    """Forgets that these nodes were to start: they are stopped again.

    `failure`: EC2's code and a message, None when somebody stopped them.
    """
    args = [*(failure or ("", "")), names.START_FAILURE_TTL_S, *nodes]
    return Call("guarding/fell_back", [], args, str)


def begin_run(function: str, token: str) -> Call[bool]:
    """Claims the one run that a scheduled function may be in; False while another has it."""
    return Call("guarding/begin_run", [], [function, token, names.RUN_LEASE_S], bool)


def end_run(function: str, token: str, *, done: bool) -> Call[int]:
    """Lets another run begin; `done` if this one has done its work."""
    return Call("guarding/end_run", [], [function, token, int(done)], int)


def money(month: str) -> Call[tuple[dict[str, Any], float]]:
    """Reads what was last told of the month's money, {} for nothing, and for how many seconds the
    lane ran in a month.
    """
    return Call("guarding/money", [], [month], _money)


def _money(answer: list[Any]) -> tuple[dict[str, Any], float]:
    told, used_s = answer
    return json.loads(told or "{}"), float(used_s)


def tell_money(told: dict[str, Any]) -> Call[str]:
    """Tells GET /status, and the next run, of the month's money."""
    return Call("guarding/tell_money", [], [json.dumps(told), names.MONEY_TTL_S], str)
