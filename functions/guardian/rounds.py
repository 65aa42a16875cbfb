"""The guardian's look at nodes and money: what may no longer run is stopped, once a cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from guardian import watchdog
from guardian.closing import Closing
from guardian.money import Money
from guardian.watchdog import Limits, Seen, Verdict
from tlfif import aws, emf, names, nodes
from tlfif.environment import Guardian
from tlfif.log import log
from tlfif.money.deciding import Decision
from tlfif.nodes import Node
from tlfif.queue import rounds
from tlfif.queue.rounds import Look, Told
from tlfif.queue.scripts import run


@dataclass(frozen=True)
class Rounds:
    """One look; EC2 and S3 may fail, and what they refuse now is there in a minute."""

    redis: "redis.Redis"
    ec2: Any
    s3: Any
    told: Guardian
    money: Money

    def go(self, now: float) -> None:
        """Judges nodes and money, and acts on it. Raises redis.RedisError."""
        found = self._find()
        decision = self.money.keep(found, now)
        look = run(self.redis, rounds.look([node.id for node in found or ()]))
        # Also where EC2 does not say which nodes there are: queue, router and lane close, and what
        # this run finds to be woken a moment later is not.
        closed = self.closing.keep(found or [], look, decision, now)
        if found is not None:
            self._act(found, look, self._judge(found, look, now), closed)

    def unlatch(self, now: float) -> str:
        """Lifts the latch. Raises closing.NotLiftedError, aws.Unavailable, redis.RedisError."""
        found, decision, look = self._known(now)
        return self.closing.unlatch(found, look, decision, now)

    @property
    def closing(self) -> Closing:
        """What closes and opens."""
        return Closing(self.redis, self.ec2, self.s3, self.told.replies_bucket)

    def _known(self, now: float) -> tuple[list[Node], Decision | None, Look]:
        with aws.answering():
            found = [] if self._has_none else nodes.find(self.ec2, self.told.stack)
        decision = self.money.keep(found, now)
        return found, decision, run(self.redis, rounds.look([node.id for node in found]))

    def _find(self) -> list[Node] | None:
        return [] if self._has_none else nodes.look(self.ec2, self.told.stack)

    @property
    def _has_none(self) -> bool:
        """Whether the stack has no nodes at all: EC2 is asked nothing then."""
        return self.told.gpu_wake == "never"

    def _judge(self, found: Sequence[Node], look: Look, now: float) -> dict[str, Verdict]:
        told = self.told
        limits = Limits(told.boot_limit_s, told.lifetime_limit_s, told.seconds_per_minute)
        return {
            node.id: watchdog.judge(node, look.nodes[node.id], limits, now, look.stop_ago_s)
            for node in found
            if node.state not in nodes.GONE
        }

    def _act(
        self, found: Sequence[Node], look: Look, verdicts: Mapping[str, Verdict], closed: str
    ) -> None:
        """Stops what is to be stopped; what EC2 took is noted, and said once."""
        running = [node.id for node in found if node.state == "running"]
        wanted = {each: why for each in running if (why := closed or verdicts[each].stop)}
        told = nodes.stop_each(self.ec2, list(wanted))
        # One that EC2 would not stop is judged anew in a minute.
        stopped = {node: "" if code else wanted[node] for node, code in told.items()}
        self._note(verdicts, stopped)
        asked = {node: _asked_before(look.nodes[node], verdicts[node]) for node in told}
        new = [node for node, code in told.items() if not code and not asked[node]]
        for node in new:
            run(self.redis, rounds.did("stopped", wanted[node], node))
            log("node stopped", "ERROR", node=node, why=wanted[node])
        if closed and new:
            self._tell(new, closed)
        if refused := {node: code for node, code in told.items() if code}:
            log("nodes not stopped", "ERROR", codes=refused)

    def _tell(self, stopped: list[str], why: str) -> None:
        stops = {names.METRIC_BUDGET_STOPS: float(len(stopped))}
        emf.emit(names.NAMESPACE_COST, self.told.stack, stops, stopped=stopped, why=why)

    def _note(self, verdicts: Mapping[str, Verdict], stopped: Mapping[str, str]) -> None:
        """Also where there are no nodes any more: what was seen of them is forgotten."""
        failed = {node: each.failed for node, each in verdicts.items() if each.failed}
        seen = {node: each.seen for node, each in verdicts.items()}
        seen |= {node: replace(seen[node], stopped=why) for node, why in stopped.items()}
        texts = {node: each.text() for node, each in seen.items()}
        run(self.redis, rounds.looked(texts, failed))
        for node, why in failed.items():
            log("boot failed", "ERROR", node=node, why=why)

    def without_queue(self, now: float) -> None:
        """What can be done while the queue is away: whatever is latched by tag or document, or too
        old, is stopped.
        """
        found = self._find() or []
        closed = self.closing.without_queue(found, now)
        old_s = self.told.lifetime_limit_s
        wanted = [
            node.id
            for node in found
            if node.state == "running" and (closed or node.started_ago_s > old_s)
        ]
        if wanted:
            told = nodes.stop_each(self.ec2, wanted)
            log("nodes stopped, the queue is away", "ERROR", codes=told, why=closed or "too old")


def _asked_before(told: Told, verdict: Verdict) -> bool:
    """Whether the guardian had this life of the node stopped already."""
    before = Seen.parse(told.seen)
    return bool(before and before.stopped and before.launched == verdict.seen.launched)
