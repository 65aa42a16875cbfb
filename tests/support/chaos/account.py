"""What became of every job of a run, and what should not have."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.chaos import lane_account
from support.chaos.engine import ASKED, GENERATED
from support.chaos.plan import Plan, PlannedJob
from support.chaos.run import Outcome
from support.chaos.stack import Stack
from support.scripted_model import WORD

from tlfif import names, replies

# A job is asked again after its own failures and those of all: never without end.
ASKED_AT_MOST = 12
# A job is buried within this time of its final reply.
BURIAL_MS = 3000


@dataclass(frozen=True)
class Violation:
    """What is wrong with which job ('' = the run), as far as it can be seen from outside."""

    job: str
    what: str


class Account:
    """The sum of a run; `violations` is empty when all is well."""

    def __init__(self, plan: Plan, outcome: Outcome, stack: Stack) -> None:
        self._plan, self._outcome = plan, outcome
        stack.evidence.read()
        self._counts = stack.evidence.counts
        self._bodies = stack.endpoint.bodies
        self._lives = stack.lane.lives if stack.lane else []
        # Each of them ended a delivery, perhaps.
        outcome.deaths += [life.ended_ms for life in self._lives if life.over]
        outcome.deaths += [since for life in self._lives for since, _ in life.frozen]
        lane = lane_account.violations(self._lives, outcome.seen)
        self.violations = [
            *self._of_the_run(),
            *self._of_the_jobs(),
            *(Violation("", what) for what in lane),
        ]

    # --- the run

    def _of_the_run(self) -> Iterator[Violation]:
        outcome = self._outcome
        if outcome.stalled:
            yield Violation("", "nothing ended for a minute")
        if len(outcome.accepted) != len(self._plan.jobs):
            yield Violation("", f"{len(outcome.accepted)} of {len(self._plan.jobs)} accepted")
        for what, left in outcome.left.items():
            if left:
                yield Violation("", f"left in the end: {what} {left}")

    # --- each job

    def _of_the_jobs(self) -> Iterator[Violation]:
        for job in self._plan.jobs:
            if job.id in self._outcome.accepted:
                yield from (Violation(job.id, what) for what in self._wrong(job))

    def _wrong(self, job: PlannedJob) -> Iterator[str]:
        bodies = self._bodies.get(job.id, [])
        finals = [body for body in bodies if body["status"] in replies.FINAL]
        if not finals:
            if bodies or job.id not in self._outcome.wiped:
                yield f"lost: {job.kind}, {len(bodies)} bodies"
            return
        if len(finals) > 1 or finals[-1] is not bodies[-1]:
            yield f"double: {[body['status'] for body in bodies]}"
        final = finals[0]
        if final["status"] not in self._fates(job, final):
            yield f"{job.kind} ended {final['status']}: {_why(final)} ({job.prompt})"
        yield from self._wrong_text(job, final)
        if final.get("attempt", 0) > names.MAX_DELIVERIES + 1:
            yield f"{final['attempt']} deliveries"
        if (asked := self._counts[ASKED, str(job.number)]) > ASKED_AT_MOST:
            yield f"{job.kind} was asked {asked} times ({job.prompt})"
        yield from self._wrong_burial(job, final)

    def _wrong_burial(self, job: PlannedJob, final: dict[str, Any]) -> Iterator[str]:
        failed_by_itself = job.kind != "refused" and final["status"] == "failed"
        if job.id in self._outcome.dead:
            if not failed_by_itself:
                yield f"{job.kind} ended {final['status']}, and is in {names.DEAD_STREAM}"
        elif failed_by_itself and not self._may_be_forgotten(final):
            yield f"{job.kind} failed, and is not in {names.DEAD_STREAM}"

    def _may_be_forgotten(self, final: dict[str, Any]) -> bool:
        """Whether the queue forgot the job before it was buried, or its burial at once."""
        ended = final["finished_at"]
        wiped = final["id"] in self._outcome.wiped
        return wiped or any(0 <= wipe - ended < BURIAL_MS for wipe in self._outcome.wipes)

    def _fates(self, job: PlannedJob, final: dict[str, Any]) -> set[str]:
        fates = set(job.fates)
        lived = range(final["created_at"], final["finished_at"]) if "created_at" in final else ()
        if (
            job.faults + sum(death in lived for death in self._outcome.deaths)
            >= names.MAX_DELIVERIES
        ):
            # Each delivery failed, by the job or with its watcher.
            fates.add("failed")
        if job.id in self._outcome.stopped:
            fates.add("cancelled")
        elif self._outcome.cancels.get(job.id) == "cancelled" and job.id not in self._outcome.wiped:
            # No worker had it, and none may have had it since.
            fates = {"cancelled"}
        if job.id in self._outcome.wiped:
            fates.add("expired")
        return fates

    def _wrong_text(self, job: PlannedJob, final: dict[str, Any]) -> Iterator[str]:
        tokens, rest = divmod(len(final["text"]), len(WORD))
        if final["text"] != WORD * tokens or rest or tokens > job.tokens:
            yield f"{job.kind} ended {final['status']} with {final['text'][:80]!r}"
        elif final["status"] == "done":
            reason = "length" if job.kind == "short" else "stop"
            if (tokens, final.get("finish_reason")) != (job.tokens, reason):
                told = final.get("finish_reason")
                yield (
                    f"{job.kind} done with {tokens} of {job.tokens} tokens, finish_reason {told}"
                    f" ({job.prompt})"
                )

    # --- the sum

    def __str__(self) -> str:
        outcome, ends = self._outcome, self._ends()
        sum_of = " + ".join(f"{ends[each]} {each}" for each in replies.FINAL)
        wiped = Counter(self._end(job_id) for job_id in outcome.wiped)
        needed = sum(len(bodies[-1]["text"]) // len(WORD) for bodies in self._bodies.values())
        made = sum(n for (what, _), n in self._counts.items() if what == GENERATED)
        asked = [n for (what, _), n in self._counts.items() if what == ASKED]
        return "\n".join(
            [
                f"chaos: seed {self._plan.seed}, plan {self._plan.digest},"
                f" {outcome.seconds:.0f} s: {len(outcome.accepted)} accepted = {sum_of}"
                f" + {ends['lost']} lost + {ends['never seen']} wiped unseen;"
                f" {sum(self._finals(bodies) > 1 for bodies in self._bodies.values())}"
                " double finals",
                f"  wiped with the queue: {_listed(wiped)}",
                f"  blows: {_listed(outcome.struck)}",
                f"  {sum(map(len, self._bodies.values()))} bodies written; engine asked"
                f" {sum(asked)} times, at most {max(asked, default=0)} for a job;"
                f" {made} tokens made for {needed} kept ({made / max(1, needed):.3f})",
                *([lane_account.summary(self._lives), self._hosts()] if self._lives else []),
                f"  {len(self.violations)} violations",
            ]
        )

    def _hosts(self) -> str:
        """Who gave the answers."""
        finals = (bodies[-1] for bodies in self._bodies.values() if self._finals(bodies))
        by = Counter(body.get("engine") or "nobody" for body in finals if body["status"] == "done")
        return f"  answered by: {_listed(by)}"

    def _ends(self) -> Counter[str]:
        return Counter(self._end(job_id) for job_id in self._outcome.accepted)

    def _end(self, job_id: str) -> str:
        """The job's final status, or what it lacks."""
        bodies = self._bodies.get(job_id)
        if bodies and self._finals(bodies):
            return next(body["status"] for body in bodies if body["status"] in replies.FINAL)
        return "never seen" if job_id in self._outcome.wiped and not bodies else "lost"

    @staticmethod
    def _finals(bodies: list[dict[str, Any]]) -> int:
        return sum(body["status"] in replies.FINAL for body in bodies)


def _why(final: dict[str, Any]) -> str:
    return str(final.get("error") or final.get("reason") or "")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"
