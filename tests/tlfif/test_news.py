"""What the guardian tells CloudWatch: counted where it happens, told once."""

import time

import pytest
import redis
from support.jobs import BOOT, NODE, accept, heartbeat, new_job, read

from tlfif import names
from tlfif.queue import accepting, guarding, rounds, scripts, watching, working

pytestmark = [pytest.mark.integration, pytest.mark.story("OPS-004")]


def news(client: "redis.Redis") -> watching.News:
    return scripts.run(client, watching.news())


def test_each_job_is_counted_once_by_how_it_ended(client: "redis.Redis") -> None:
    jobs = [new_job() for _ in range(6)]
    for job in jobs:
        accept(client, job)
    claimed = {each.id: each for each in read(client, count=4)}
    endings = [{"status": "done"}, {"status": "failed", "buried": "it broke"}]
    for job, ending in zip(jobs, endings, strict=False):
        ended = working.finish(claimed[job.id].entry, job.id, **ending)
        scripts.run(client, ended)
        scripts.run(client, ended)
    scripts.run(client, accepting.cancel(jobs[4].id, "ada"))
    client.delete(names.job_key(jobs[5].id))
    time.sleep(0.01)
    scripts.run(client, guarding.sweep(ttl_s=0))
    told = news(client)
    assert told.counts == {"done": 1, "failed": 1, "dead": 1, "cancelled": 1, "expired": 1}
    assert told.depth == 2
    assert news(client).counts == {}, "it is told once"


def test_the_oldest_job_is_the_one_that_nobody_works_on(client: "redis.Redis") -> None:
    assert news(client).oldest_s == 0
    accept(client, new_job())
    [claimed] = read(client)
    time.sleep(0.03)
    assert news(client).oldest_s == 0, "a worker has it"
    accept(client, new_job())
    time.sleep(0.03)
    assert 0.02 < news(client).oldest_s < 5
    back = working.hand_back(f"{NODE}:{BOOT}", claimed.entry, claimed.id, silent_ms=60_000)
    scripts.run(client, back)
    assert news(client).oldest_s >= 60


def test_nodes_are_counted_by_state_and_boots_told_with_their_steps(client: "redis.Redis") -> None:
    client.hset(names.STARTS, "i-2", 1)
    heartbeat(client, "loading")
    told = news(client)
    assert (told.ready, told.coming, told.boot) == (0, 2, {})
    steps = {"started": 1_000.0, "booting": 31_000.0, "loading": 32_000.0, "ready": 91_000.0}
    scripts.run(client, working.heartbeat(NODE, BOOT, "ready", 0, steps, boot_ms=90_000))
    told = news(client)
    assert (told.ready, told.coming, told.boot) == (1, 1, steps)
    failed = rounds.looked({NODE: '{"counted": 1}'}, {NODE: "it did not load"})
    scripts.run(client, failed)
    scripts.run(client, failed)
    assert news(client).counts == {"failed_boots": 1}


def test_money_is_told_as_get_status_tells_it(client: "redis.Redis") -> None:
    assert news(client).money == {}
    client.set(names.MONEY, '{"gpu_hours_left": 17.3, "spend_eur": 4.2}')
    assert news(client).money["gpu_hours_left"] == 17.3
