"""One run of the guardian at a time, however often Lambda calls it."""

import asyncio
import uuid

import pytest
import redis
from support.routes import metrics
from support.world import World

from guardian import guardian
from tlfif import names
from tlfif.queue import guarding, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("LAM-004")]


async def test_of_eight_runs_at_once_one_works(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare, began = guardian.Guardian._compare, []

    def slow(self: guardian.Guardian) -> guarding.Reconciliation:
        began.append(self.token)
        # Long enough for the others to come and go.
        asyncio.run(asyncio.sleep(1))
        return compare(self)

    monkeypatch.setattr(guardian.Guardian, "_compare", slow)
    await world.infer()
    await asyncio.gather(*(world.guard() for _ in range(8)))
    said = capsys.readouterr().out
    found = (len(began), said.count('"run skipped"'), metrics(said)[names.METRIC_QUEUE_DEPTH])
    assert found == (1, 7, 1)
    await world.guard()
    assert len(began) == 2, "the next minute's run begins"


async def test_a_run_that_died_holds_the_lease_for_a_minute_at_most(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scripts.run(world.queue, guarding.begin_run(names.GUARDIAN, "dead"))
    await world.guard()
    said = capsys.readouterr().out
    assert ('"run skipped"' in said, metrics(said)) == (True, {})
    left_s = world.queue.ttl(names.run_key(names.GUARDIAN))
    assert names.SCHEDULED_TIMEOUT_S < left_s < 60
    world.queue.delete(names.run_key(names.GUARDIAN))
    await world.guard()
    assert names.METRIC_QUEUE_DEPTH in metrics(capsys.readouterr().out)


async def test_a_run_that_fails_frees_the_lease_and_has_not_done_its_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: guardian.Guardian) -> guarding.Reconciliation:
        raise redis.ResponseError("WRONGTYPE")

    with monkeypatch.context() as patch:
        patch.setattr(guardian.Guardian, "_compare", fails)
        with pytest.raises(redis.ResponseError):
            await world.guard()
    assert not world.queue.exists(names.run_key(names.GUARDIAN), names.RUNS)
    await world.guard()
    assert world.queue.hexists(names.RUNS, names.GUARDIAN)


async def test_only_whose_lease_it_is_ends_it_and_a_repeated_call_keeps_it(world: World) -> None:
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    for token, granted in ((mine, True), (mine, True), (other, False)):
        assert scripts.run(world.queue, guarding.begin_run("guardian", token)) is granted
    scripts.run(world.queue, guarding.end_run("guardian", other, done=True))
    assert world.queue.get(names.run_key("guardian")) == mine
