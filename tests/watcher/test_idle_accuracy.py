"""When real watchers stop their machines, by EC2's clock (bench/idle_stops.py has more)."""

from pathlib import Path

import pytest

from bench import idle_stops

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-004")]

# What the story allows; alone on a machine it is a fraction of a second.
ALLOWED_S = 5


async def test_nodes_stop_when_their_last_jobs_minutes_are_over(tmp_path: Path) -> None:
    errors = await idle_stops.measure(tmp_path, stops=3, at_once=3)
    assert len(errors) == 3
    assert all(0 <= error <= ALLOWED_S for error in errors), errors
