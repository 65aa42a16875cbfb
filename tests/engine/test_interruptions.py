"""An `up` that is interrupted, killed or refused in the middle, and the one after it.

What is stopped are processes as everywhere; what comes after them is forked, as in other tests.
"""

import asyncio
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.engine import Site, fork, lines, needs_engine, site
from support.leftovers import inventory

from local.engine.cli import QUIET
from recording.model import ACCOUNT_ID

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]

ENOUGH_ROLES = 4


async def _stopped_in_the_middle(here: Site, signal_: signal.Signals) -> None:
    """Runs `up` until some roles are there, and sends it a signal."""
    process = await asyncio.to_thread(here.workspace.start, "up", *QUIET, "--stack", here.stack)
    iam = here.moto.client("iam")
    with process:
        await asyncio.to_thread(_until_roles, iam, process)
        assert process.poll() is None, "it was over too soon"
        process.send_signal(signal_)
        await asyncio.to_thread(process.communicate)


def _until_roles(iam: Any, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and len(iam.list_roles()["Roles"]) < ENOUGH_ROLES:
        time.sleep(0.05)


@pytest.mark.story("RED-001")
async def test_after_ctrl_c_the_next_up_completes_the_stack(tmp_path: Path) -> None:
    async with site("dev", tmp_path, forked=False) as here:
        nothing = inventory(here.moto)
        await here.configure()
        await _stopped_in_the_middle(here, signal.SIGINT)
        assert not (await here.state())["deployment"].get("pending_operations")

        fork(here.workspace)
        await here.do("up", *QUIET)
        await here.do("destroy", *QUIET)
        assert inventory(here.moto) == nothing, "and nothing was made twice"


@pytest.mark.story("RED-001")
async def test_after_a_kill_the_next_up_completes_the_stack(tmp_path: Path) -> None:
    async with site("dev", tmp_path, forked=False) as here:
        nothing = inventory(here.moto)
        await here.configure()
        await _stopped_in_the_middle(here, signal.SIGKILL)
        await here.configure()

        fork(here.workspace)
        await here.do("up", *QUIET)
        await here.do("destroy", *QUIET)
        assert inventory(here.moto) == nothing, "and nothing was made twice"


@pytest.mark.story("RED-001")
async def test_a_refused_resource_is_named_and_the_next_up_completes_the_stack(
    tmp_path: Path,
) -> None:
    async with site("dev", tmp_path) as here:
        await here.configure()
        budgets = here.moto.client("budgets")
        foreign = {
            "BudgetName": "tl-fif-dev",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "1", "Unit": "USD"},
        }
        budgets.create_budget(AccountId=ACCOUNT_ID, Budget=foreign)

        done = await here.run("up", *QUIET)
        assert done.code
        assert lines(done, "error: ", "DuplicateRecordException")
        assert "Traceback" not in done.output

        budgets.delete_budget(AccountId=ACCOUNT_ID, BudgetName="tl-fif-dev")
        await here.do("up", *QUIET)
        await here.do("preview", "--expect-no-changes")
