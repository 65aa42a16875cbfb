"""What the guardian does each minute: wake nodes for jobs nobody is up for, and answer jobs that
nobody will.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from tlfif import names, nodes, queue, replies, waking
from tlfif.environment import Fleet
from tlfif.log import log

# A router that owes a reply writes it at once; after this long it has died, or its storage has.
OWED_TOO_LONG_S = 10
RETRY_S = 3.0


@dataclass(frozen=True)
class Guardian:
    """One run. `token` names it as a holder of the right to wake; it ends at `give_up_at` of
    `time.monotonic()`.
    """

    fleet: Fleet
    redis: "redis.Redis"
    ec2: Any
    s3: Any
    token: str
    give_up_at: float
    ttl_s: int = names.JOB_TTL_S

    def run(self) -> queue.Rescue:
        """Raises redis.RedisError; EC2 and S3 may fail: what they refuse now is there in a minute."""
        found, outcome = self._mind_nodes()
        # Nothing is swept while replies cannot be written: the stream has a bound, what is owed has
        # none.
        if self._answer_all(
            "owed", lambda cursor: queue.owed(cursor, older_than_s=OWED_TOO_LONG_S)
        ):
            self._answer_all("expired", lambda cursor: queue.sweep(cursor, ttl_s=self.ttl_s))
        # A node that is still stopping can be started soon: its job would not live through many
        # more minutes.
        while (
            outcome in (nodes.Outcome.STOPPING, nodes.Outcome.UNKNOWN) and self._left_s() > RETRY_S
        ):
            time.sleep(RETRY_S)
            _, outcome = self._mind_nodes()
        return found

    def _left_s(self) -> float:
        return self.give_up_at - time.monotonic()

    def _mind_nodes(self) -> tuple[queue.Rescue, nodes.Outcome | None]:
        fleet = self.fleet
        found = queue.run(self.redis, queue.rescue(self.token, fleet.gpu_count, fleet.gpu_slots))
        if found.stop:
            self._stop_nodes()
        if not found.wake:
            return found, None
        outcome, _ = waking.start(
            self.redis, fleet.stack, self.token, found.wake, found.phases, self.ec2
        )
        return found, outcome

    def _stop_nodes(self) -> None:
        """A node that was still starting when somebody asked for the stop."""
        try:
            stopped = nodes.stop(self.ec2, self.fleet.stack)
        except nodes.Unavailable as error:
            log("nodes not stopped", "ERROR", why=str(error))
        else:
            log("stop", nodes=stopped)

    def _answer_all(self, what: str, page: Callable[[str], queue.Call[queue.Page]]) -> bool:
        """Answers page after page; whether all were answered."""
        cursor, more = "", True
        while more:
            cursor, owed = queue.run(self.redis, page(cursor))
            if not self._answer(what, owed):
                return False
            more = cursor != ""
        return True

    def _answer(self, what: str, owed: list[queue.Owed]) -> bool:
        if not owed:
            return self._left_s() > 0
        written, why = replies.write_all(
            self.s3, self.fleet.replies_bucket, owed, "guardian", self.give_up_at
        )
        if written:
            queue.run(self.redis, queue.settle([reply.id for reply in written]))
        log(what, "ERROR" if why else "INFO", jobs=len(owed), answered=len(written), why=why)
        return not why
