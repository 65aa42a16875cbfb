"""The whole system while a part of it fails: a killed worker, S3 that refuses, no queue."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from support.calls import eventually
from support.system import NOBODYS_ID, calls, forgotten, one_final_reply
from support.users import LONG, POLL_S, WAIT_S, User

from gui import client as client_module
from gui.client import ApiError, Job
from local.aws.faults import Fault
from local.cloud import LocalCloud
from local.node.node import LocalNode
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.story("EC2-003")
@pytest.mark.parametrize("program", ["watcher", "model"])
async def test_a_job_whose_worker_is_killed_is_finished_by_the_next_one(
    cloud: LocalCloud,
    up: LocalNode,
    ada: User,
    record_testsuite_property: Callable[[str, object], None],
    program: str,
) -> None:
    job = await ada.infer(LONG, max_tokens=200)
    begun = await ada.begun(job)
    os.kill(up.pids[program], signal.SIGKILL)
    killed = time.monotonic()
    reply = await ada.final(job)
    record_testsuite_property(f"{program}_killed_to_done_s", time.monotonic() - killed)
    assert (reply["status"], reply["completion_tokens"], reply["attempt"]) == (
        "done",
        200,
        # The engine's failure is nobody's fault: its jobs keep their deliveries.
        begun["attempt"] + (program == "watcher"),
    )
    assert (reply["worker"] == begun["worker"]) == (program == "model")
    one_final_reply(cloud, job)
    await forgotten(cloud, job)


@pytest.mark.story("EC2-003")
async def test_a_job_ends_although_s3_refuses_its_replies_for_a_while(
    cloud: LocalCloud, up: LocalNode, ada: User
) -> None:
    began = time.time()
    slow_down = Fault(service="s3", operation="PutObject", status=503, code="SlowDown", times=None)

    async def refused_twice() -> bool:
        return sum(call.status == 503 for call in calls(cloud, "PutObject", began)) >= 2

    with cloud.endpoint.faults.injected(slow_down):
        job = await ada.infer()
        await eventually(refused_twice, WAIT_S)
        await asyncio.sleep(2)
        assert await ada.reply(job) is None
    assert (await ada.final(job))["status"] == "done"
    one_final_reply(cloud, job)
    await forgotten(cloud, job)


@pytest.mark.story("LAM-003")
async def test_a_queue_that_is_gone_is_a_503_within_a_second_and_serves_again_when_it_is_back(
    cloud: LocalCloud, up: LocalNode, ada: User, monkeypatch: pytest.MonkeyPatch,
    record_testsuite_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    running = await ada.infer(LONG, max_tokens=names.MAX_TOKENS)
    await ada.begun(running)
    await cloud.valkey.stop()
    began = time.monotonic()
    with pytest.raises(ApiError) as refused:
        await ada.infer()
    took_s = time.monotonic() - began
    record_testsuite_property("queue_down_503_s", took_s)
    assert (refused.value.status, refused.value.code) == (503, "queue_unavailable")
    assert took_s < 1
    assert refused.value.retry_after_s
    assert any(
        name.endswith("router") and '"RedisEnqueueFail":1' in line for name, line in cloud.logs
    )
    await cloud.valkey.start()
    next_call = await ada.infer()
    assert (await ada.final(next_call))["status"] == "done"
    await the_client_says_expired(ada, running, monkeypatch)


async def the_client_says_expired(user: User, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has lost its memory, and with it this job: nobody but the client can tell, once it
    is too late.
    """
    assert (await user.reply(job) or {})["status"] == "running"
    minutes = itertools.count(step=client_module.SILENCE_S + 1)
    later = SimpleNamespace(monotonic=lambda: float(next(minutes)), sleep=time.sleep)
    monkeypatch.setattr(client_module, "time", later)
    long_ago_ms = int((time.time() - client_module.GRACE_S - 2) * 1000)
    for lost in (job, Job(NOBODYS_ID, "queued", long_ago_ms, {})):
        replies = await user.ask(lambda lost=lost: list(user.client.follow(lost, every_s=POLL_S)))
        assert [reply["status"] for reply in replies] == ["expired"]
