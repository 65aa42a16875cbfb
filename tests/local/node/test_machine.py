"""A local node as a machine: it goes down in time and for certain, whatever its parts or EC2 do.

Its engine is a scripted one, so that it loads at once or never.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from support.calls import ClientOf, eventually
from support.node_stack import Stack, alive, auto_stops, node_stack, until

from local.aws.ec2 import POWERED_OFF
from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from recording.model import ROOT
from tlfif import names
from tlfif.queue import accepting, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-004")]

ENGINE = [sys.executable, "-m", "support.scripted_model", "--port", "{port}"]
NO_ENGINE = [sys.executable, "-c", "import time; time.sleep(1000)"]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gpu_image", ROOT / "tests"))),
    "TLFIF_SECONDS_PER_MINUTE": "0.5",
    "TLFIF_GRACE_S": "0.5",
    "TLFIF_STOP_PATIENCE_S": "2",
}
Start = Callable[..., Any]


@pytest_asyncio.fixture
async def start(
    procs: Processes, moto: Moto, endpoint: Endpoint, valkey: Valkey
) -> AsyncIterator[Start]:
    """Starts a stack's node with an engine, and what else is told the watcher."""
    async with contextlib.AsyncExitStack() as stacks:

        async def started(
            engine: list[str], watcher: list[str] | None = None, **told: str
        ) -> Stack:
            commands = {"model": engine, **({"watcher": watcher} if watcher else {})}
            stack = await stacks.enter_async_context(
                node_stack(
                    procs,
                    moto,
                    endpoint,
                    valkey,
                    environment={**ENVIRONMENT, **told},
                    commands=commands,
                )
            )
            await stack.start()
            return stack

        yield started


async def reason_of_stop(stack: Stack, client_of: ClientOf) -> dict[str, Any]:
    """What EC2 says of a node that is stopped."""
    await eventually(stack.is_stopped, timeout_s=40)
    ec2 = client_of("ec2")
    described = await asyncio.to_thread(
        ec2.describe_instances, InstanceIds=[stack.node.instance_id]
    )
    return described["Reservations"][0]["Instances"][0]["StateReason"]


async def test_a_node_whose_engine_never_loads_is_off_in_time_and_says_why(start: Start) -> None:
    begun = time.monotonic()
    stack = await start(NO_ENGINE, TLFIF_BOOT_ALLOWANCE_MINUTES=str(4 / 60))
    stack.submit("tokens=1")
    await eventually(stack.is_stopped, timeout_s=60)
    assert 4 < time.monotonic() - begun < 60, "its lifetime would be 120 s"
    failure = scripts.run(stack.redis, accepting.status()).failure
    assert failure is not None
    assert failure["code"] == "EngineNotReady"
    assert stack.node.instance_id in failure["message"]
    assert auto_stops(stack.moto) == 1


async def test_ec2_refuses_the_stop_and_the_node_is_off_all_the_same(
    start: Start, client_of: ClientOf
) -> None:
    stack = await start(ENGINE)
    await until(lambda: stack.node.pids)
    refused = Fault("ec2", "StopInstances", status=403, code="UnauthorizedOperation", times=None)
    with stack.endpoint.faults.injected(refused):
        await until(lambda: set(stack.node.pids) == {"model", "watcher"})
        pids = list(stack.node.pids.values())
        reason = await reason_of_stop(stack, client_of)
    assert reason["Code"] == POWERED_OFF
    assert not any(alive(pid) for pid in pids)
    assert len(stack.events("stop_failed")) >= 1
    assert auto_stops(stack.moto) == 1, "counted before the machine went, once"
    assert scripts.run(stack.redis, accepting.status()).nodes == [], "nobody counts on it"


async def test_a_supervisord_that_ends_takes_the_machine_along(
    start: Start, client_of: ClientOf
) -> None:
    stack = await start(ENGINE)
    await until(lambda: set(stack.node.pids) == {"model", "watcher"})
    pids = list(stack.node.pids.values())
    # It leads the session of its programs.
    os.kill(os.getsid(pids[0]), signal.SIGKILL)
    assert (await reason_of_stop(stack, client_of))["Code"] == POWERED_OFF
    await until(lambda: not any(alive(pid) for pid in pids), 5)
    await stack.start()
    await stack.ready()


async def test_a_watcher_that_is_killed_every_second_does_not_keep_the_machine_up(
    start: Start,
) -> None:
    begun = time.monotonic()
    # It would be idle for 15 s, and may be of no use for 6.
    stack = await start(
        ENGINE, TLFIF_SECONDS_PER_MINUTE="3", TLFIF_BOOT_ALLOWANCE_MINUTES=str(6 / 60)
    )
    killed = set[int]()
    while not await stack.is_stopped():
        assert time.monotonic() - begun < 60, "it stays up"
        pid = stack.node.pids.get("watcher")
        if pid is not None and pid not in killed:
            await asyncio.sleep(1)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        await asyncio.sleep(0.05)
    assert len(killed) >= 3
    assert time.monotonic() - begun > 5


@pytest.mark.story("EC2-003")
async def test_missed_answers_of_the_metadata_service_decide_nothing(
    start: Start, endpoint: Endpoint
) -> None:
    for path in ("latest/api/token", "latest/user-data"):
        endpoint.faults.add(Fault("imds", path, status=500, code="x"))
    endpoint.faults.add(Fault("imds", "latest/dynamic/instance-identity/document", reset=True))
    endpoint.faults.add(Fault("imds", "latest/meta-data/iam/security-credentials/", status=500,
                              code="x", times=2))  # fmt: skip
    stack = await start(ENGINE, TLFIF_SECONDS_PER_MINUTE="20")
    await stack.ready()
    reply = await stack.final(stack.submit("tokens=2", idle_minutes=1))
    assert reply["status"] == "done"
    assert len({line["boot"] for line in stack.events("started")}) == 1, "the process went on"
    assert len(stack.redis.lrange(names.BOOTS, 0, -1)) == 1
