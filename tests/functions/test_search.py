"""The guardian's search: replies that say `running` of jobs which the queue lost are ended, and
nothing is looked for while nothing was lost.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import lost
from support.lost import LOSSES, ending, start
from support.world import BUCKET, World

from guardian import guardian, search
from guardian.search import REASON, Search
from local.aws.faults import Fault
from tlfif import names, replies
from tlfif.queue import accepting, guarding, scripts
from tlfif.queue.working import ClaimedJob

pytestmark = [pytest.mark.integration, pytest.mark.story("RED-003")]


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is silent at once; a test whose worker lives says for how long."""
    monkeypatch.setattr(names, "SILENT_S", 0)


def look(world: World, **options: Any) -> None:
    """The search of one run, as far as it gets in time."""
    give_up_at = time.monotonic() + 10
    Search(
        world.queue, world.moto.client("s3"), BUCKET, **{"give_up_at": give_up_at, **options}
    ).run()


async def test_what_ran_when_the_memory_was_lost_ends_with_its_text(world: World) -> None:
    begun = start(world, 3)
    lost.write(world, begun[0], "done", "42")
    lost.wipe(world)
    for _ in range(2):
        await world.guard()
    assert [ending(world, each) for each in begun] == [("done", ""), *[("expired", REASON)] * 2]
    assert (world.reply(begun[1].reply_key) or {})["text"] == "Once"
    written = world.calls("PutObject")
    lost.a_day_later(world)
    await world.guard()
    assert world.calls("PutObject") == written, "nothing is ended twice"


@pytest.mark.parametrize("lose", LOSSES)
async def test_nothing_runs_for_ever_whatever_was_lost_of_it(
    world: World, lose: Callable[[World, ClaimedJob], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is lost as well, and the next search is a day later at the latest."""
    monkeypatch.setattr(guardian, "PENDING_TOO_LONG_S", 0)
    for _ in range(2):
        await world.guard()
    [claimed] = start(world)
    lose(world, claimed)
    world.queue.delete(names.job_key(claimed.id))
    await asyncio.sleep(0.002)
    scripts.run(world.queue, guarding.sweep(ttl_s=0, lost_s=-1))
    await world.guard()
    lost.a_day_later(world)
    await world.guard()
    assert ending(world, claimed)[0] == "expired"
    assert not world.queue.exists(names.PENDING_REPLIES)


async def test_an_ordinary_minute_asks_s3_nothing(world: World) -> None:
    """A new stack's bucket is listed once; then nothing, until a day has passed or the queue was
    lost.
    """
    for _ in range(2):
        await world.guard()
    assert world.calls("ListObjectsV2") == 1
    start(world)
    for _ in range(3):
        await world.guard()
    assert (world.calls("ListObjectsV2"), world.calls("GetObject")) == (1, 0)
    lost.a_day_later(world)
    for _ in range(2):
        await world.guard()
    assert world.calls("ListObjectsV2") == 2
    lost.wipe(world)
    for _ in range(3):
        await world.guard()
    assert world.calls("ListObjectsV2") == 3


async def test_jobs_that_the_queue_knows_are_its_own_business(world: World) -> None:
    lost.wipe(world)
    known, pending, cancelled = start(world, 3)
    for each in (pending, cancelled):
        world.queue.delete(names.job_key(each.id))
    scripts.run(world.queue, accepting.cancel(pending.id, "ada", runs=True))
    world.queue.set(names.cancelled_key(cancelled.id), "stopped")
    for _ in range(2):
        await world.guard()
    assert ending(world, known) == ("running", "")
    assert ending(world, pending) == ("running", ""), "in a few seconds"
    assert ending(world, cancelled) == ("cancelled", "stopped")


async def test_a_worker_that_lives_is_left_alone_until_it_falls_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, ended = start(world, 2)
    lost.wipe(world)
    await world.guard()
    monkeypatch.setattr(names, "SILENT_S", 3)
    for text in ("Once", "Once upon"):
        lost.write(world, dying, text=text)
        await world.guard()
        assert ending(world, dying) == ("running", "")
    assert world.calls("ListObjectsV2") == 2, "until it is known how it ends"
    lost.write(world, ended, "done")
    await asyncio.sleep(3.1)
    await world.guard()
    assert (ending(world, dying), ending(world, ended)) == (("expired", REASON), ("done", ""))
    await world.guard()
    assert world.calls("ListObjectsV2") == 3


def test_a_worker_that_writes_while_it_is_judged_keeps_its_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    scripts.run(world.queue, guarding.search())

    def writes_first(*args: Any) -> bool:
        lost.write(world, claimed, text="Once upon")
        return end_unchanged(*args)

    end_unchanged = replies.end_unchanged
    monkeypatch.setattr(replies, "end_unchanged", writes_first)
    look(world)
    assert ending(world, claimed) == ("running", "")
    monkeypatch.undo()
    monkeypatch.setattr(names, "SILENT_S", 0)
    look(world)
    assert ending(world, claimed) == ("expired", REASON)


def test_a_job_that_ends_while_it_is_judged_is_not_looked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [claimed] = start(world)
    scripts.run(world.queue, guarding.search())
    monkeypatch.setattr(names, "SILENT_S", 60)

    def ends_first(ids: list[str]) -> Any:
        lost.write(world, claimed, "done")
        lost.finish(world, claimed)
        return known(ids)

    known = guarding.known
    monkeypatch.setattr(guarding, "known", ends_first)
    look(world)
    assert scripts.run(world.queue, guarding.search()) is None


def test_a_search_goes_on_page_by_page_in_the_runs_that_follow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = [each for sub in ("ada", "bob") for each in start(world, 10, sub)]
    lost.wipe(world)
    scripts.run(world.queue, guarding.search())
    look(world, give_up_at=time.monotonic())
    assert {ending(world, each)[0] for each in begun} == {"running"}

    look_through, pages = Search._look_through, list[str]()

    def one_page(self: Search, cursor: str) -> str:
        pages.append(cursor)
        look_through(self, cursor)
        return ""

    monkeypatch.setattr(Search, "_look_through", one_page)
    for expected in (8, 16, 20):
        look(world, page_size=8)
        assert sum(ending(world, each)[0] == "expired" for each in begun) == expected
    assert pages == sorted(pages)
    assert scripts.run(world.queue, guarding.search()) is None


async def test_while_s3_fails_the_search_waits_where_it_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = start(world, 3)
    lost.wipe(world)
    await world.guard()
    for operation in ("ListObjectsV2", "GetObject", "PutObject"):
        with world.endpoint.faults.injected(
            Fault("s3", operation, status=503, code="SlowDown", times=None)
        ):
            await world.guard()
        assert '"search interrupted"' in capsys.readouterr().out
    await world.guard()
    assert {ending(world, each) for each in begun} == {("expired", REASON)}


async def test_a_restart_with_its_data_is_a_loss_of_what_came_last(world: World) -> None:
    """Of a job that was accepted in the last second before, the queue may know nothing."""
    for _ in range(2):
        await world.guard()
    [claimed] = start(world)
    world.queue.delete(names.STREAM, names.job_key(claimed.id))
    await world.guard()
    assert ending(world, claimed) == ("running", "")
    world.queue.hset(names.SEARCH, "server", "the one before")
    for _ in range(2):
        await world.guard()
    assert ending(world, claimed) == ("expired", REASON)


def test_what_is_no_reply_is_in_nobodys_way(world: World) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    for name, body in (("a", b"half a re"), ("b", b"{}"), ("c", b"")):
        key = names.reply_key("ada", name)
        world.moto.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    scripts.run(world.queue, guarding.search())
    look(world)
    assert ending(world, claimed) == ("expired", REASON)


def test_replies_of_long_ago_are_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [claimed] = start(world)
    lost.wipe(world)
    scripts.run(world.queue, guarding.search())
    monkeypatch.setattr(search, "OLDEST_S", -1)
    look(world)
    assert ending(world, claimed) == ("running", "")
