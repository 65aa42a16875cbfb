"""The lane's entry point, and the seconds that it tells the ledger of."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from support.lane_queue import FUNCTION, with_lane
from support.lanes import Site
from support.watchers import until
from support.world import LANE_ROLE, World

from cpu_worker import handler
from cpu_worker.contact import Contact
from cpu_worker.container import Used, since_process_began
from cpu_worker.failure import LaneFailure
from tlfif import names
from tlfif.queue import lane
from worker.host import Ended
from worker.queue import Queue, connect

pytestmark = pytest.mark.story("EC2-003")

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)


async def call(site: Site, monkeypatch: pytest.MonkeyPatch, event: Any) -> Any:
    monkeypatch.setattr(handler, "container", lambda: site.container)
    return await asyncio.to_thread(handler.handler, event, CONTEXT)


@pytest.mark.integration
@pytest.mark.parametrize("event", [{"token": "i-1"}, {}, None, [], "text", {"token": [1] * 1000}])
async def test_any_event_is_a_call(site: Site, monkeypatch: pytest.MonkeyPatch, event: Any):
    job = site.bench.submit("tokens=2")
    assert await call(site, monkeypatch, event) == {"outcome": "left"}
    assert (await site.final(job))["status"] == "done"


@pytest.mark.integration
async def test_a_call_that_could_not_work_fails(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.bench.submit("tokens=2")
    site.remove_weights()
    with pytest.raises(LaneFailure, match="make model"):
        await call(site, monkeypatch, {})
    # What its farewell could not tell is owed still, and no more grows.
    owed_s = site.container.used.owed()
    await asyncio.sleep(0.05)
    assert site.container.used.owed() == owed_s < 0.5


@pytest.mark.integration
async def test_the_successor_is_this_function_called_without_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    stack = with_lane(world, monkeypatch)
    for name, value in world.credentials(LANE_ROLE).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", FUNCTION)
    await asyncio.to_thread(handler.call_successor, "t1")
    assert stack.calls == [{"token": "t1"}]
    (made,) = world.endpoint.calls
    assert (made.operation, made.params["InvocationType"]) == ("Invoke", "Event")


def test_each_second_is_told_once():
    now = [100.0]
    used = Used(2.0, lambda: now[0])
    with used.running():
        now[0] += 3.0
        assert used.owed() == 5.0
        used.told(5.0)
        now[0] += 1.0
        assert used.owed() == 1.0
    # Frozen: nobody pays for it.
    now[0] += 600.0
    assert used.owed() == 1.0
    with used.running():
        now[0] += 0.5
        assert used.owed() == 1.5


def test_the_start_of_the_process_counts():
    assert 0 < since_process_began() < 24 * 3600
    assert handler._INIT_S > 0


@pytest.mark.integration
async def test_no_heartbeat_brings_back_a_lane_that_has_left(site: Site):
    async with connect("127.0.0.1", site.bench.valkey.port) as redis:
        for number in range(20):
            token = f"t{number}"
            queue = Queue(redis, lane.consumer_name(token))
            contact = Contact(queue, token, Used(0.0))
            assert await contact.enter(1.0) == "entered"
            beats = [asyncio.create_task(contact.beat("working", 0)) for _ in range(3)]
            assert await contact.may_leave()
            await asyncio.gather(*beats, contact.beat("working", 0))
            assert not site.bench.redis.exists(names.LANE)


@pytest.mark.integration
async def test_seconds_that_the_queue_did_not_take_are_told_later(site: Site):
    used = Used(0.0)
    async with connect("127.0.0.1", site.bench.valkey.port) as redis:
        contact = Contact(Queue(redis, lane.consumer_name("t1")), "t1", used)
        with used.running():
            await contact.enter(1.0)
            await site.bench.valkey.stop()
            await asyncio.sleep(0.2)
            await contact.beat("working", 0)
            assert used.owed() >= 0.2
            await site.bench.valkey.start()
            began = time.monotonic()
            await until(lambda: site.bench.redis.ping())
            await contact.beat("working", 0)
    told = site.bench.redis.hget(names.LANE_USE, lane.month())
    assert 0.2 <= float(told) <= 0.5 + time.monotonic() - began + 1.0
    assert used.owed() < float(told)


@pytest.mark.integration
async def test_an_answer_is_told_once(site: Site):
    async with connect("127.0.0.1", site.bench.valkey.port) as redis:
        contact = Contact(Queue(redis, lane.consumer_name("t1")), "t1", Used(0.0))
        await contact.enter(1.0)
        for work_ms in (5, 6, 7):
            contact.answered(Ended(5, True, None, work_ms))
        await asyncio.gather(*(contact.beat("working", 0) for _ in range(3)), contact.leave())
    assert sorted(site.bench.redis.lrange(names.LANE_WORKS, 0, -1)) == ["5", "6", "7"]
    assert not site.bench.redis.exists(names.LANE_FIRSTS)
