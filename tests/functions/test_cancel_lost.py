"""DELETE /infer/{id} of a job that runs and that the queue has lost: told to whoever still has it,
and ended in any case. Nobody hears 200 `running`.
"""

import uuid
from collections.abc import Callable

import pytest
from support import lost
from support.lost import LOSSES, ending, start
from support.routes import documented
from support.world import Reply, World

from guardian import guardian
from local.aws.faults import Fault
from tlfif import names
from tlfif.queue import guarding, scripts, working
from tlfif.queue.working import ClaimedJob

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-003")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guardian gives a worker no time to write the reply of its own."""
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0)


async def delete(world: World, job: str, sub: str = "ada") -> Reply:
    return await world.send("DELETE", "/infer/{id}", job=job, sub=sub)


def told(answer: Reply) -> tuple[int, str]:
    documented("Cancelled", answer.body)
    return answer.status, answer.body["status"]


@pytest.mark.parametrize("lose", LOSSES)
async def test_whatever_of_a_running_job_is_lost_it_is_cancelled(
    world: World, lose: Callable[[World, ClaimedJob], None]
) -> None:
    [claimed] = start(world)
    lose(world, claimed)
    assert told(await delete(world, claimed.id)) in ((202, "cancelling"), (200, "cancelled"))
    assert world.queue.get(names.cancelled_key(claimed.id)) == "user", "its worker hears it"
    assert told(await delete(world, claimed.id)) in ((202, "cancelling"), (200, "cancelled"))
    # Its worker is lost too.
    world.queue.delete(names.job_key(claimed.id))
    scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=0))
    await world.guard()
    assert ending(world, claimed) == ("cancelled", "user")
    assert (world.reply(claimed.reply_key) or {})["text"] == "Once"
    assert told(await delete(world, claimed.id)) == (200, "cancelled")


async def test_a_worker_that_still_has_it_ends_it_and_nothing_is_left_to_do(world: World) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    assert told(await delete(world, claimed.id)) == (202, "cancelling")
    lost.write(world, claimed, "cancelled", "Once upon")
    lost.finish(world, claimed)
    assert not world.queue.exists(names.PENDING_REPLIES)
    assert told(await delete(world, claimed.id)) == (200, "cancelled")


@pytest.mark.parametrize("finished", [True, False])
async def test_an_answer_that_comes_meanwhile_stands(world: World, finished: bool) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    assert told(await delete(world, claimed.id)) == (202, "cancelling")
    lost.write(world, claimed, "done", "42")
    if finished:
        lost.finish(world, claimed)
    await world.guard()
    assert (world.reply(claimed.reply_key) or {})["text"] == "42"
    assert told(await delete(world, claimed.id)) == (200, "done")


async def test_an_ending_that_is_still_to_be_written_counts(world: World) -> None:
    [claimed] = start(world)
    world.queue.delete(names.job_key(claimed.id))
    scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=-1))
    assert told(await delete(world, claimed.id)) == (202, "cancelling")
    await world.guard()
    assert ending(world, claimed) == ("expired", "its worker was lost")


async def test_nobody_cancels_another_users_job_or_one_that_has_no_reply(world: World) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    before = world.queue.dbsize()
    assert (await delete(world, claimed.id, sub="bob")).status == 404
    assert (await delete(world, str(uuid.uuid4()))).status == 404
    assert world.queue.dbsize() == before, "and no mark is left"
    lost.write(world, claimed, "done")
    assert told(await delete(world, claimed.id)) == (200, "done")
    assert world.queue.dbsize() == before


async def test_while_the_reply_cannot_be_read_nothing_is_said_of_it(world: World) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    with world.endpoint.faults.injected(Fault("s3", "GetObject", status=503, code="SlowDown")):
        answer = await delete(world, claimed.id)
    assert (answer.status, answer.body["error"]) == (503, "storage_unavailable")


async def test_a_worker_whose_jobs_hash_expired_hears_of_the_cancellation(world: World) -> None:
    [claimed] = start(world)
    world.queue.delete(names.job_key(claimed.id))
    assert told(await delete(world, claimed.id)) == (202, "cancelling")
    leases = [(claimed.entry, claimed.id)]
    assert scripts.run(world.queue, working.renew("i-1:b1", leases)) == ["user"]
