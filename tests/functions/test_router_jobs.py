"""DELETE /infer/{id}, POST /stop and GET /status, on a real queue and the AWS endpoint."""

import json
import uuid
from typing import Any

import pytest
from support.routes import documented
from support.world import World

from tlfif import names
from tlfif.queue import accepting, rounds, scripts, working

pytestmark = pytest.mark.integration


async def test_cancelling_a_queued_job_answers_it(world: World) -> None:
    world.heartbeat()
    job = (await world.infer()).body["id"]
    answer = await world.send("DELETE", "/infer/{id}", job=job)
    documented("Cancelled", answer.body)
    reply = world.reply(names.reply_key("ada", job))
    assert reply is not None
    assert (reply["status"], reply["reason"], reply["text"]) == ("cancelled", "user", "")
    assert world.queue.exists(names.PENDING_REPLIES, names.job_key(job)) == 0
    again = await world.send("DELETE", "/infer/{id}", job=job)
    assert (again.status, again.body["status"]) == (200, "cancelled")


async def test_cancelling_a_running_job_tells_its_worker(world: World) -> None:
    world.heartbeat()
    job = (await world.infer()).body["id"]
    [claimed] = world.claim()
    answer = await world.send("DELETE", "/infer/{id}", job=job)
    assert (answer.status, answer.body["status"]) == (202, "cancelling")
    assert scripts.run(world.queue, working.renew("i-1:b1", [(claimed.entry, job)])) == ["user"]


async def test_cancelling_what_is_not_there_is_a_404(world: World) -> None:
    for job in (str(uuid.uuid4()), str(uuid.uuid1()), "..", "x" * 200):
        assert (await world.send("DELETE", "/infer/{id}", job=job)).status == 404


async def test_stop_cancels_answers_and_stops(world: World, node: str) -> None:
    running = (await world.infer()).body["id"]
    await world.state(node, "running")
    world.heartbeat(node=node)
    [claimed] = world.claim(f"{node}:b1")
    s3 = world.moto.client("s3")
    partial = json.dumps({"id": running, "status": "running", "text": "Once upon", "updated_at": 1})
    s3.put_object(Bucket="replies", Key=claimed.reply_key, Body=partial)
    queued = (await world.infer()).body["id"]
    answer = await world.send("POST", "/stop", sub="bob")
    assert (answer.status, answer.body) == (202, {"status": "stopping", "jobs": 2, "nodes": 1})
    documented("Stopping", answer.body)
    for job, text in ((running, "Once upon"), (queued, "")):
        reply = world.reply(names.reply_key("ada", job)) or {}
        assert (reply["status"], reply["reason"], reply["text"]) == ("cancelled", "stopped", text)
    assert (world.queue.xlen(names.STREAM), world.queue.exists(names.PENDING_REPLIES)) == (0, 0)
    await world.state(node, "stopped")
    assert (await world.send("POST", "/stop")).body == {"status": "stopping", "jobs": 0, "nodes": 0}


@pytest.mark.story("EC2-004")
async def test_stop_names_a_node_that_the_guardian_stopped_before_it(
    world: World, node: str
) -> None:
    await world.infer()
    await world.state(node, "running")
    world.endpoint.instances.delays.stopping_s = 1
    await world.endpoint.instances.stop([node])
    assert (await world.send("POST", "/stop")).body["nodes"] == 1


async def test_status_shows_everything(world: World, node: str) -> None:
    async def phase() -> Any:
        answer = await world.send("GET", "/status")
        assert answer.status == 200
        documented("Status", answer.body)
        return answer.body["node"]

    assert await phase() == "off"
    await world.infer()
    assert await phase() == "starting"
    for name in ("booting", "loading", "ready"):
        world.heartbeat(name)
        assert await phase() == name
    scripts.run(world.queue, accepting.stop())
    assert await phase() == "draining"
    reached = {"started": 1_000, "ready": 84_260, "kernel": 9_000, "imported": 40_000}
    scripts.run(world.queue, working.heartbeat("i-1", "b", "ready", 0, reached, 83_260))
    body = (await world.send("GET", "/status")).body
    documented("Status", body)
    assert list(body["last_boot"].items()) == [("kernel", 8.0), ("imported", 39.0), ("ready", 83.3)]
    assert (body["spend_eur"], body["money"], "guard" in body) == (None, None, False)
    told = {"degree": "open", "why": "", "projected_eur": 18.2}
    spent = {"spend_eur": 15.0, "gpu_hours_left": 10.0, "ledger": {}}
    world.queue.set(names.MONEY, json.dumps({**spent, **told}))
    scripts.run(world.queue, rounds.did("stopped", "it was silent", "i-1"))
    body = (await world.send("GET", "/status")).body
    assert (body["spend_eur"], body["cap_eur"], body["gpu_hours_left"], body["latch"]) == (
        15.0,
        20.0,
        10.0,
        None,
    )
    documented("Status", body)
    assert body["money"] == told
    assert body["guard"]["why"] == "it was silent"
    assert body["guard"]["at"].endswith("Z")
