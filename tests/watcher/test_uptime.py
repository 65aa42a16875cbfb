"""A node whose wall clock is wrong when it boots: NTP sets it after the watcher has begun."""

import time
from types import SimpleNamespace

import pytest
from support.watchers import Bench, Machine

from tlfif import names
from watcher import instance
from watcher.instance import Uptime

pytestmark = pytest.mark.story("EC2-004")

STARTED_AT = 1_800_000_000.0
HOURS = 3600


class Clocks:
    """A machine 30 s after its kernel began, 20 s after EC2 was asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, off_s: float) -> None:
        self.now, self.off_s = 0.0, off_s
        clocks = SimpleNamespace(
            time=lambda: STARTED_AT + 50 + self.now + self.off_s,
            monotonic=lambda: 30 + self.now,
        )
        monkeypatch.setattr(instance, "time", clocks)


@pytest.mark.parametrize("off_s", [-9 * HOURS, -60, 0, 200, 9 * HOURS])
def test_a_wrong_clock_costs_what_ec2_took_to_start_and_a_jump_nothing(
    monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    clocks = Clocks(monkeypatch, off_s)
    up = Uptime(STARTED_AT, 0)
    assert up.seconds() == (50 if off_s == 0 else 30)
    before = up.epoch_ms()
    clocks.now, clocks.off_s = 10, 0
    assert up.epoch_ms() - before == 10_000
    assert abs(up.epoch_ms() / 1000 - STARTED_AT - 60) <= 20


def test_a_process_that_is_restarted_does_not_begin_the_lifetime_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch, -9 * HOURS)
    clocks.now = 3 * HOURS
    assert Uptime(STARTED_AT, 0).seconds() == 3 * HOURS + 30


@pytest.mark.integration
@pytest.mark.parametrize("off_s", [-9 * HOURS, 9 * HOURS])
async def test_a_node_with_a_wrong_clock_serves_and_measures_its_boot(
    bench: Bench, node_machine: Machine, off_s: float
) -> None:
    async with bench.watcher(started_at=time.time() + off_s, max_lifetime_hours=1):
        reply = await bench.final(bench.submit("tokens=2"))
    assert reply["status"] == "done"
    assert not node_machine.stops, "its lifetime has only begun"
    [boot_ms] = bench.redis.lrange(names.BOOTS, 0, -1)
    assert 0 < int(boot_ms) < 10_000
