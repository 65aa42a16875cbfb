"""The whole system, driven over HTTP as users do: the program's own resources, functions, gateway,
node and model.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio
from jose import jwt
from support.calls import eventually
from support.clouds import pool_of
from support.family import descendants, until_gone
from support.users import LONG, POLL_S, WAIT_S, Reply, User, signed_in

from gui import client as client_module
from gui.client import FINAL, ApiError, Job
from local.aws.faults import Fault
from local.aws.records import Call
from local.cloud import LocalCloud
from local.node.node import LocalNode
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

# The `cloud` fixture's.
SLOTS = 4
NOBODYS_ID = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(loop_scope="session")
async def ada(cloud: LocalCloud) -> AsyncIterator[User]:
    async with signed_in(cloud) as user:
        yield user


@pytest_asyncio.fixture(loop_scope="session")
async def bob(cloud: LocalCloud) -> AsyncIterator[User]:
    async with signed_in(cloud) as user:
        yield user


@pytest_asyncio.fixture(loop_scope="session")
async def http(cloud: LocalCloud) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cloud.api_url) as client:
        yield client


@pytest.fixture
def node(cloud: LocalCloud) -> LocalNode:
    """The stack's only one, in whatever state it is."""
    (node,) = cloud.nodes.values()
    return node


@pytest_asyncio.fixture(loop_scope="session")
async def off(cloud: LocalCloud, node: LocalNode) -> LocalNode:
    """The node, stopped."""
    async with signed_in(cloud) as user:
        if await state(cloud) != "stopped":
            await user.ask(user.client.stop)
        await until_state(cloud, "stopped")
    return node


@pytest_asyncio.fixture(loop_scope="session")
async def up(cloud: LocalCloud, node: LocalNode) -> LocalNode:
    """The node, ready, and for thirty seconds in no mood to stop."""
    if await state(cloud) == "stopping":
        await until_state(cloud, "stopped")
    async with signed_in(cloud) as user:
        assert (await user.final(await user.infer()))["status"] == "done"
    return node


async def state(cloud: LocalCloud) -> str:
    """EC2's word for what the node does."""
    (instance_id,) = cloud.nodes
    return await cloud.endpoint.instances.state(instance_id)


async def until_state(cloud: LocalCloud, wanted: str) -> None:
    async def so() -> bool:
        return await state(cloud) == wanted

    await eventually(so, WAIT_S)


async def busy(ada: User) -> list[Job]:
    """Jobs without end in every slot of the node."""
    jobs = [await ada.infer(LONG, max_tokens=names.MAX_TOKENS) for _ in range(SLOTS)]
    for job in jobs:
        await ada.begun(job)
    return jobs


def calls(cloud: LocalCloud, operation: str, since: float = 0) -> list[Call]:
    return [
        call for call in cloud.endpoint.calls if call.operation == operation and call.time >= since
    ]


def history(cloud: LocalCloud, job: Job) -> list[Reply]:
    """Every body that a reply has had, oldest first; the `cloud` fixture has its bucket keep them."""
    s3, bucket = cloud.moto.client("s3"), cloud.output("replies_bucket")
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    own = [each for each in reversed(versions) if each["Key"].endswith(f"/{job.id}.json")]
    found = [
        s3.get_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"]) for each in own
    ]
    return [json.load(each["Body"]) for each in found]


def one_final_reply(cloud: LocalCloud, job: Job) -> Reply:
    """The final reply, after making sure that no other was ever written and that nothing followed
    it.
    """
    bodies = history(cloud, job)
    puts = [
        c
        for c in calls(cloud, "PutObject")
        if c.params["Key"].endswith(f"/{job.id}.json") and c.status == 200
    ]
    assert len(puts) == len(bodies)
    assert [body["status"] in FINAL for body in bodies] == [False] * (len(bodies) - 1) + [True]
    return bodies[-1]


async def forgotten(cloud: LocalCloud, *jobs: Job) -> None:
    """Returns when the queue holds nothing of these jobs any more."""
    with cloud.valkey.operator(decode_responses=True) as redis:

        async def so() -> bool:
            waiting = {fields["id"] for _, fields in redis.xrange(names.STREAM)}
            return not any(job.id in waiting or redis.exists(f"job:{job.id}") for job in jobs)

        await eventually(so)


# --- who is let in --------------------------------------------------------------------------------


@pytest.mark.story("API-002")
async def test_without_a_token_it_is_a_401_and_no_function_is_asked(
    cloud: LocalCloud, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for function in ("authorizer", "router"):
        monkeypatch.setattr(cloud.hosts[cloud.function(function).arn], "invoke", asked.append)
    answers = [await http.post("/infer", json={"prompt": "Hi"}) for _ in range(3)]
    assert [(each.status_code, each.json()["error"]) for each in answers] == [
        (401, "unauthorized")
    ] * 3
    assert min(each.elapsed for each in answers) < timedelta(milliseconds=150)
    assert asked == []


@pytest.mark.story("API-002", "LAM-002")
async def test_a_token_that_is_no_good_is_a_403(
    cloud: LocalCloud, ada: User, http: httpx.AsyncClient
) -> None:
    pool, now = pool_of(cloud), int(time.time())
    good = await http.get("/status", headers={"Authorization": pool.token()})
    assert good.status_code == 200, "a token that the test signs is as good as Cognito's"
    bad = {
        "garbage": "garbage",
        "expired": pool.token(iat=now - 3600, exp=now - 1),
        "an id token": pool.token(token_use="id", aud=pool.client_id, client_id=None),
        "tampered with": ada.token[:-8] + "AAAAAAAA",
    }
    for what, token in bad.items():
        answer = await http.get("/status", headers={"Authorization": token})
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), what


@pytest.mark.story("LAM-002")
async def test_a_prompt_of_7_kb_is_a_400_that_names_field_value_and_fix(
    ada: User, http: httpx.AsyncClient
) -> None:
    answer = await http.post(
        "/infer", headers={"Authorization": ada.token}, json={"prompt": "x" + "ä" * 3500}
    )
    body = answer.json()
    assert (answer.status_code, body["field"]) == (400, "prompt")
    assert body["value"].startswith('"x')
    assert "7001 bytes" in body["message"]
    assert "at most 6000" in body["message"]


@pytest.mark.story("API-001")
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PUT", "/infer"), ("GET", "/infer/a/b")]
)
async def test_an_unknown_route_is_a_404(
    ada: User, http: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers={"Authorization": ada.token})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


# --- the way of a job -----------------------------------------------------------------------------


@pytest.mark.story("LAM-004")
async def test_without_gpu_capacity_a_job_is_refused_and_leaves_nothing(
    cloud: LocalCloud, off: LocalNode, ada: User
) -> None:
    with cloud.valkey.operator(decode_responses=True) as redis:
        no_capacity = Fault(
            service="ec2",
            operation="StartInstances",
            status=500,
            code="InsufficientInstanceCapacity",
        )
        with cloud.endpoint.faults.injected(no_capacity), pytest.raises(ApiError) as refused:
            await ada.infer()
        assert (refused.value.status, refused.value.code) == (503, "no_capacity")
        assert refused.value.retry_after_s
        left = [
            key
            for key in redis.scan_iter()
            if key.startswith(("job:", f"rate:{sub(ada)}", names.WAKE_KEY))
        ]
        assert (left, redis.xlen(names.STREAM)) == ([], 0)
    assert off.pids == {}


def sub(user: User) -> str:
    return jwt.get_unverified_claims(user.token)["sub"]


@pytest.mark.story("LAM-003", "LAM-004", "LAM-005", "EC2-003")
async def test_a_cold_prompt_starts_the_node_and_the_next_one_is_queued(
    cloud: LocalCloud, off: LocalNode, ada: User
) -> None:
    assert off.pids == {}, "the node is off, and so are its processes"
    starting = await ada.infer()
    assert starting.answer.items() >= {"status": "starting", "eta": names.BOOT_ETA_S}.items()
    reply = await ada.final(starting)
    assert reply["status"] == "done"
    assert reply["text"]
    assert reply["completion_tokens"] == 4
    one_final_reply(cloud, starting)
    assert {program: alive(pid) for program, pid in off.pids.items()} == {
        "model": True,
        "watcher": True,
    }
    assert (await ada.status())["node"] == "ready"
    queued = await ada.infer()
    assert (queued.state, (await ada.final(queued))["status"]) == ("queued", "done")
    await forgotten(cloud, starting, queued)


def alive(pid: int) -> bool:
    return pid in descendants(os.getpid())


@pytest.mark.story("LAM-003")
async def test_a_second_user_can_neither_read_nor_cancel_the_first_ones_job(
    up: LocalNode, ada: User, bob: User, http: httpx.AsyncClient
) -> None:
    job = await ada.infer()
    await ada.final(job)
    for id_ in (job.id, NOBODYS_ID, f"../{job.id}", "%2e%2e%2fx"):
        for method in ("GET", "DELETE"):
            answer = await http.request(
                method, f"/infer/{id_}", headers={"Authorization": bob.token}
            )
            assert answer.status_code == 404, (method, id_)
    assert (await ada.reply(job) or {})["status"] == "done"


@pytest.mark.story("EC2-003")
async def test_queued_and_running_jobs_can_be_cancelled(
    cloud: LocalCloud,
    up: LocalNode,
    ada: User,
    bob: User,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    running = await busy(ada)
    waiting = await bob.infer()
    assert await bob.reply(waiting) is None
    assert await bob.cancel(waiting) == "cancelled"
    assert (await bob.final(waiting))["text"] == ""
    began = time.monotonic()
    assert await ada.cancel(running[0]) == "cancelling"
    assert (await ada.final(running[0]))["status"] == "cancelled"
    took_s = time.monotonic() - began
    record_testsuite_property("cancel_s", took_s)
    assert took_s < 1
    assert [await ada.cancel(job) for job in running[1:]] == ["cancelling"] * (SLOTS - 1)
    for job in running:
        assert (await ada.final(job))["reason"] == "user"
    for job in (waiting, *running):
        assert one_final_reply(cloud, job)["status"] == "cancelled"
    await forgotten(cloud, waiting, *running)


@pytest.mark.story("EC2-003")
async def test_eight_prompts_of_two_users_at_once_are_all_answered(
    cloud: LocalCloud, up: LocalNode, ada: User, bob: User
) -> None:
    users = (ada, bob) * 4
    jobs = await asyncio.gather(*(user.infer(max_tokens=16) for user in users))
    assert len({job.id for job in jobs}) == 8
    for user, job in zip(users, jobs, strict=True):
        assert (await user.final(job))["status"] == "done"
        one_final_reply(cloud, job)
    await forgotten(cloud, *jobs)


# --- what breaks ----------------------------------------------------------------------------------


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
        begun["attempt"] + 1,
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
    later = SimpleNamespace(time=lambda: time.time() + 310, sleep=time.sleep)
    monkeypatch.setattr(client_module, "time", later)
    for lost in (job, Job(NOBODYS_ID, "queued", job.expires_at, {})):
        replies = await user.ask(lambda lost=lost: list(user.client.follow(lost, every_s=POLL_S)))
        assert [reply["status"] for reply in replies] == ["expired"]


# --- the node's end -------------------------------------------------------------------------------


@pytest.mark.story("EC2-004")
async def test_stop_cancels_everything_and_stops_the_node_until_somebody_asks_again(
    cloud: LocalCloud, up: LocalNode, ada: User, bob: User
) -> None:
    jobs = await busy(ada)
    jobs.append(await bob.infer())
    processes = up.pids
    began = time.time()
    answer = await bob.ask(bob.client.stop)
    assert answer == {"status": "stopping", "jobs": SLOTS + 1, "nodes": 1}
    await until_state(cloud, "stopped")
    await until_gone(processes.values())
    assert up.pids == {}
    for job in jobs:
        final = one_final_reply(cloud, job)
        assert (final["status"], final["reason"]) == ("cancelled", "stopped")
    await forgotten(cloud, *jobs)
    assert calls(cloud, "StartInstances", began) == []
    again = await bob.infer()
    assert (again.state, (await bob.final(again))["status"]) == ("starting", "done")


@pytest.mark.story("EC2-004")
async def test_an_idle_node_stops_itself(
    cloud: LocalCloud,
    up: LocalNode,
    ada: User,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    began, processes, (instance_id,) = time.time(), up.pids, cloud.nodes
    assert all(alive(pid) for pid in processes.values())
    job = await ada.infer(idle_minutes=1)
    reply = await ada.final(job)
    await until_state(cloud, "stopped")
    (stop,) = calls(cloud, "StopInstances", began)
    assert stop.instance_arn is not None
    assert stop.instance_arn.endswith(f":instance/{instance_id}")
    assert stop.params["InstanceIds"] == [instance_id]
    rested_s = stop.time - reply["finished_at"] / 1000
    record_testsuite_property("rested_s", rested_s)
    assert 1 <= rested_s < 6, "a minute lasts a second here; the story allows five seconds more"
    (count,) = calls(cloud, "PutMetricData", began)
    assert count.params["Namespace"] == names.NAMESPACE_GPU
    assert (
        count.params["MetricData"][0].items()
        >= {"MetricName": names.METRIC_AUTO_STOPS, "Value": 1}.items()
    )
    assert (stop.status, count.status) == (200, 200)
    await until_gone(processes.values())
    assert up.pids == {}
