"""The whole system, driven over HTTP as users do: the program's own resources, functions, gateway,
node and model.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from support.clouds import pool_of
from support.family import until_gone
from support.system import (
    NOBODYS_ID,
    SLOTS,
    alive,
    busy,
    calls,
    forgotten,
    one_final_reply,
    sub,
    until_off,
    until_state,
)  # fmt: skip
from support.users import User

from gui.client import ApiError
from local.aws.faults import Fault
from local.cloud import LocalCloud
from local.node.node import LocalNode
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

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
        "garbage": "garbage.garbage.garbage",
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


# --- the lane is off ------------------------------------------------------------------------------


async def test_without_the_instant_lane_nothing_of_it_is_there(
    cloud: LocalCloud, ada: User
) -> None:
    assert "lane" not in await ada.status()
    with pytest.raises(LookupError, match="no function 'cpu_worker'"):
        cloud.host("cpu_worker")
    assert "TLFIF_LANE_FUNCTION" not in cloud.function("router").environment


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
            if key.startswith((names.job_key(""), names.rate_key(sub(ada)), names.WAKE))
        ]
        assert (left, redis.xlen(names.STREAM)) == ([], 0)
    assert off.pids == {}


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
    await until_off(up)
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

    async def recorded() -> bool:
        return bool(calls(cloud, "StopInstances", began))

    # A call is recorded once it was answered, which may be later.
    await cloud.until(recorded, 5, "the stop was recorded")
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
    await until_off(up)
