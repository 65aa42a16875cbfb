"""A whole local node with the real model: boot, answers, crashes of its parts, and the stop it does
by itself.
"""

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.calls import eventually
from support.node_stack import Stack, alive, auto_stops, node_stack, until

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from tlfif import names
from tlfif.queue import accepting, scripts

pytestmark = pytest.mark.integration

LONG = "Write a long story about a lighthouse keeper and his cat."


@pytest_asyncio.fixture
async def stack(
    procs: Processes, moto: Moto, endpoint: Endpoint, valkey: Valkey
) -> AsyncIterator[Stack]:
    environment = {
        "TLFIF_SECONDS_PER_MINUTE": "2",
        "TLFIF_LEASE_RENEW_S": "0.2",
        "TLFIF_LEASE_IDLE_S": "1",
        "TLFIF_GRACE_S": "0.5",
    }
    async with node_stack(procs, moto, endpoint, valkey, environment=environment) as made:
        yield made


@pytest.mark.story("EC2-003", "EC2-004")
async def test_a_node_boots_answers_and_stops_itself(stack: Stack) -> None:
    assert stack.node.pids == {}
    job = stack.submit("What is the capital of France?", idle_minutes=1, max_tokens=24)
    await stack.start()
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)
    assert reply["text"].strip()
    assert 0 < reply["completion_tokens"] <= 24
    ended_at = time.time()
    assert set(stack.node.pids) == {"model", "watcher"}
    pids = list(stack.node.pids.values())

    await until(lambda: stack.node.pids == {})
    # One minute of the scaled clock, the drain, and EC2's own time.
    assert 2 <= time.time() - ended_at < 2 + 5
    assert not any(alive(pid) for pid in pids)
    (stop,) = [call for call in stack.endpoint.calls if call.operation == "StopInstances"]
    assert (stop.role_arn or "").endswith(":role/node")
    assert (stop.instance_arn or "").endswith(stack.node.instance_id)
    assert auto_stops(stack.moto) == 1
    assert scripts.run(stack.redis, accepting.status()).nodes == []
    (boot_ms,) = stack.redis.lrange(names.BOOTS, 0, -1)
    assert 0 < int(boot_ms) < 60_000
    steps = scripts.run(stack.redis, accepting.status()).last_boot
    assert steps is not None
    assert round(steps["ready"] - steps["started"]) == int(boot_ms)
    engine = ("started", "engine", "imported", "weights", "listening", "ready")
    reached = [steps[step] for step in engine]
    assert reached == sorted(reached)
    (ended,) = stack.events("job_ended")
    assert (ended["id"], ended["latency_ms"] > 0) == (job.id, True)


@pytest.mark.story("EC2-003")
async def test_a_watcher_killed_in_mid_generation_is_restarted_and_the_job_finished_once(
    stack: Stack,
) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=150)
    await until(lambda: stack.reply(job)["text"])
    first = stack.node.pids["watcher"]
    os.kill(first, signal.SIGKILL)
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 2)
    assert stack.node.pids["watcher"] != first
    assert len({line["boot"] for line in stack.events("started")}) == 2
    assert len(stack.redis.lrange(names.BOOTS, 0, -1)) == 1, "a restart is no boot"


@pytest.mark.story("EC2-003")
async def test_a_model_server_killed_in_mid_generation_is_restarted_and_the_job_finished(
    stack: Stack,
) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=150)
    await until(lambda: stack.reply(job)["text"])
    os.kill(stack.node.pids["model"], signal.SIGKILL)
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1), "not the job's fault"


@pytest.mark.story("EC2-003")
async def test_a_node_that_ec2_stops_hands_its_job_to_the_next_boot(stack: Stack) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=300)
    await until(lambda: stack.reply(job)["text"])
    await stack.endpoint.instances.stop([stack.node.instance_id])
    await until(lambda: stack.node.pids == {})
    assert len(stack.events("handed_back")) == 1
    (pending,) = stack.redis.xpending_range(names.STREAM, names.GROUP, "-", "+", 10)
    assert (pending["times_delivered"], stack.reply(job)["status"]) == (0, "running")
    await eventually(stack.is_stopped)
    await stack.start()
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)
