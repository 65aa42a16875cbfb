"""No job is lost, doubled or half answered, whatever is killed under it: seeded runs on real
processes, whose every reply is kept (EC2-003).

`make chaos SEED=7 JOBS=2000` runs a big one; a run that fails prints the command that repeats it.
"""

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest
from support.chaos.account import Account
from support.chaos.plan import BLOWS, KINDS, LANE_BLOWS, LANE_TIMES, make_plan
from support.chaos.run import Run
from support.chaos.stack import left_behind, running_stack

from guardian import guardian, search
from tlfif import names

JOBS, SEED, LANE = (os.environ.get(f"TLFIF_CHAOS_{name}") for name in ("JOBS", "SEED", "LANE"))
SMALL, SMALL_WITH_LANE = 60, 24
RUNS = (
    [(int(SEED or random.randrange(10**6)), int(JOBS), bool(LANE))]
    if JOBS
    else [(1, SMALL, False), (2, SMALL, False), (4, SMALL_WITH_LANE, True)]
)
# What is asked with them in this process, and not in the lane's.
SHORTENED = ("WAKE_TTL_S", "LANE_WAKE_TTL_S", "LANE_FAILURE_TTL_S", "LET_GO_S")
SHOWN_LINES = 12


@pytest.mark.story("EC2-003")
def test_a_seed_makes_the_same_plan_byte_for_byte() -> None:
    plans = [repr(make_plan(7, 300)) for _ in range(2)]
    assert plans[0] == plans[1] != repr(make_plan(8, 300))
    # Made on another machine, with another Python.
    assert make_plan(7, 300).digest == "aa399aa1afb2"


def test_every_plan_has_every_kind_of_job_and_blow() -> None:
    plan = make_plan(1, SMALL)
    assert {job.kind for job in plan.jobs} == {*KINDS, "plain"}
    assert {blow.kind for blow in plan.blows} == set(BLOWS)
    with_lane = make_plan(1, SMALL, lane=True)
    assert {blow.kind for blow in with_lane.blows} == {*BLOWS, *LANE_BLOWS}
    assert with_lane.jobs == plan.jobs
    assert len({job.id for job in plan.jobs}) == len(plan.jobs) == SMALL


@pytest.mark.integration
@pytest.mark.story("EC2-003")
@pytest.mark.parametrize(("seed", "jobs", "lane"), RUNS)
async def test_every_accepted_job_ends_once_as_it_should(
    seed: int,
    jobs: int,
    lane: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # A second for the guardian's minute; a worker that lives writes within a few.
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0.2)
    monkeypatch.setattr(names, "SILENT_S", 8)
    monkeypatch.setattr(search, "OLDEST_S", 100)
    if lane:
        for name in SHORTENED:
            monkeypatch.setattr(names, name, LANE_TIMES[name])
    plan = make_plan(seed, jobs, lane=lane)
    again = f"make chaos SEED={seed} JOBS={jobs}" + ("" if lane else " LANE=")
    with capfd.disabled():
        print(f"\nchaos: plan {plan.digest} of {again}", flush=True)
    # A small run takes less than a minute on a calm machine; one that hangs must say so.
    async with asyncio.timeout(None if JOBS else 240), running_stack(tmp_path, lane=lane) as stack:
        outcome = await Run(plan, stack).run()
        account = Account(plan, outcome, stack)
        with capfd.disabled():
            print(account, flush=True)
        shown = [f"{each.job}: {each.what}" for each in account.violations]
        for job in dict.fromkeys(each.job for each in account.violations if each.job):
            shown += ["", *stack.log_lines(job)[-SHOWN_LINES:]]
    assert not left_behind(stack)
    assert not shown, "\n".join([again, f"logs: {tmp_path}", *shown])
    await asyncio.to_thread(shutil.rmtree, tmp_path)
