"""Suspects run alone, everybody else together (EC2-003); and each pays its share of the time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.meter import Meter
from worker.turns import Turns

pytestmark = pytest.mark.story("EC2-003")


async def test_a_suspect_is_alone_and_others_wait_for_it() -> None:
    turns, inside = Turns(), list[str]()
    seen = set[tuple[str, ...]]()

    async def run(name: str, *, suspect: bool) -> bool:
        async with turns.taken(suspect) as turn:
            inside.append(name)
            for _ in range(3):
                seen.add(tuple(sorted(inside)))
                await asyncio.sleep(0)
            inside.remove(name)
        return turn.alone

    alone = await asyncio.gather(
        run("a", suspect=False),
        run("b", suspect=False),
        run("X", suspect=True),
        run("Y", suspect=True),
        run("c", suspect=False),
    )
    assert ("X",) in seen
    assert ("Y",) in seen
    assert not [each for each in seen if len(each) > 1 and {"X", "Y"} & set(each)]
    assert alone == [False, False, True, True, False]


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    turns = Turns()
    async with turns.taken(suspect=False):
        waiting = asyncio.create_task(turns.taken(suspect=True).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1), turns.taken(suspect=True) as turn:
        assert turn.alone


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20))
def test_shares_add_up_to_the_time_in_which_there_was_a_job(
    events: list[tuple[float, bool]],
) -> None:
    now, busy_s, shares = 0.0, 0.0, []
    meter = Meter(3600.0, clock=lambda: now)
    running = []
    for pause_s, comes in [*events, *([(1.0, False)] * 20)]:
        busy_s += pause_s if running else 0
        now += pause_s
        if comes:
            block = meter.running()
            shares.append(block.__enter__())
            running.append(block)
        elif running:
            running.pop(0).__exit__(None, None, None)
    assert sum(share.eur or 0 for share in shares) == pytest.approx(busy_s, abs=1e-6)


def test_a_price_that_nobody_knows_is_none() -> None:
    with Meter(None).running() as share:
        assert share.eur is None
