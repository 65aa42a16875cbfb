"""Each minute: stops nodes that money, or they themselves, no longer allow to run; wakes nodes, or
calls the instant lane, for jobs that nobody is up for; and answers jobs that nobody will.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from guardian.rounds import Rounds
from guardian.search import Search
from tlfif import aws, names, nodes, replies, waking
from tlfif.calling import Caller
from tlfif.environment import Fleet
from tlfif.log import log
from tlfif.queue import guarding
from tlfif.queue.guarding import Page, PendingReply, Reconciliation
from tlfif.queue.scripts import Call, run

# A router writes the replies it has made pending at once; after this long it has died, or its
# storage has.
PENDING_TOO_LONG_S = 10
RETRY_S = 3.0
# Of a run, for a search of the bucket: a node that is still stopping waits for the rest.
SEARCH_S = 10.0


@dataclass(frozen=True)
class Guardian:
    """One run; it ends at `give_up_at` of `time.monotonic()`.

    `token` names it as a holder of the right to wake.
    """

    caller: Caller
    ec2: Any
    s3: Any
    token: str
    give_up_at: float
    rounds: Rounds
    ttl_s: int = names.JOB_TTL_S

    @property
    def fleet(self) -> Fleet:
        """The stack's."""
        return self.caller.fleet

    @property
    def redis(self) -> "redis.Redis":
        """Its queue."""
        return self.caller.redis

    def run(self) -> Reconciliation:
        """Looks after nodes and money, reconciles nodes and jobs, then answers what is left over.

        Raises redis.RedisError; EC2 and S3 may fail: what they refuse now is there in a minute.
        """
        self.rounds.go(time.time())
        found, outcome = self._reconcile()
        # Nothing is swept while replies cannot be written: the stream has a bound, pending replies
        # have none.
        if self._answer_all("pending", self._pending) and self._answer_all("expired", self._sweep):
            self._search()
        # A node that is still stopping can be started soon: its job would not live through many
        # more minutes.
        again = (nodes.Outcome.STOPPING, nodes.Outcome.UNKNOWN)
        while outcome in again and self._left_s() > RETRY_S:
            time.sleep(RETRY_S)
            _, outcome = self._reconcile()
        return found

    def _left_s(self) -> float:
        return self.give_up_at - time.monotonic()

    def _reconcile(self) -> tuple[Reconciliation, nodes.Outcome | None]:
        """Starts what is wanted; of nodes that fell back after a start, others in this run."""
        found = self._compare()
        if self.fleet.gpu_wake == "never":  # there are no nodes, and EC2 is asked nothing
            return found, None
        if found.stop:
            self._stop_nodes()
        fallen = waking.fell_back(self.redis, self.fleet.stack, self.ec2, found.starts)
        if fallen:
            found = self._compare()
        if not found.wake:
            return found, None
        outcome, _ = waking.start(
            self.caller, self.token, found.wake, found.phases, self.ec2, fallen
        )
        return found, outcome

    def _compare(self) -> Reconciliation:
        """Compares jobs and workers, and calls the lane if that is wanted: it is there at once."""
        count, slots = self.fleet.gpu_count, self.fleet.gpu_slots
        caller = str(uuid.uuid4())
        asked = guarding.reconcile(self.token, count, slots, self.caller.policy, caller)
        found = run(self.redis, asked)
        if found.call:
            self.caller.call(caller)
        return found

    def _stop_nodes(self) -> None:
        """Stops a node that was still starting when somebody asked for the stop."""
        try:
            stopped = nodes.stop(self.ec2, self.fleet.stack)
        except aws.Unavailable as error:
            log("nodes not stopped", "ERROR", why=str(error))
        else:
            log("stop", nodes=stopped)

    def _search(self) -> None:
        give_up_at = min(self.give_up_at, time.monotonic() + SEARCH_S)
        Search(self.redis, self.s3, self.fleet.replies_bucket, give_up_at).run()

    def _pending(self, cursor: str) -> Call[Page]:
        return guarding.pending(cursor, older_than_s=PENDING_TOO_LONG_S)

    def _sweep(self, cursor: str) -> Call[Page]:
        return guarding.sweep(cursor, ttl_s=self.ttl_s)

    def _answer_all(self, what: str, page: Callable[[str], Call[Page]]) -> bool:
        """Answers page after page; whether all were answered."""
        cursor, more = "", True
        while more:
            cursor, pending = run(self.redis, page(cursor))
            if not self._answer(what, pending):
                return False
            more = cursor != ""
        return True

    def _answer(self, what: str, pending: list[PendingReply]) -> bool:
        if not pending:
            return self._left_s() > 0
        written, why = replies.write_all(
            self.s3, self.fleet.replies_bucket, pending, "guardian", self.give_up_at
        )
        if written:
            run(self.redis, guarding.clear([reply.id for reply in written]))
        log(what, "ERROR" if why else "INFO", jobs=len(pending), answered=len(written), why=why)
        return not why
